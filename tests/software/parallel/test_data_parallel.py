"""Batches divided over the nodes of a die, gradients summed up between them.

What a node sums up over its part of a batch and what nodes sum up between them is rounded to FP32
in another order than on one node; nothing else differs.
"""

from collections.abc import Callable

import d1.torch
import pytest
import torch
from d1.compiler.ir import AllReduce
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

Compile = Callable[..., Callable[..., Tensor]]
Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.norm, self.parts, self.last = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.norm(self.table(tokens))
        query, key, value = (
            part.view(*tokens.shape, 2, 4).transpose(1, 2) for part in self.parts(x).split(8, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.last(mixed.transpose(1, 2).reshape(*tokens.shape, 8))


def classifier() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.LayerNorm(10), nn.Linear(10, 3))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


@pytest.mark.parametrize("device", ["golden", "rtl"])
def test_loss_and_gradients_of_four_nodes_are_those_of_one_but_for_the_order_of_sums(
    device: str, step: Step, distance: Distance, order: float
) -> None:
    model, x = classifier(), torch.randn(8, 6)
    y = torch.tensor([0, 1, 2, -100, 1, 1, 0, 2])  # one that does not count
    one = step(model, cross_entropy, (x, y), (1, 1))
    d1.torch.reset_statistics()
    four = step(model, cross_entropy, (x, y), (2, 2), device=device, check=True)
    assert distance(four, one) < order
    statistics = d1.torch.statistics()
    assert statistics.mesh_cycles > 0 and statistics.differing_bits == 0
    assert (statistics.checked_outputs > 0) == (device == "rtl")


def test_attention_and_tables_are_divided_by_sequences(
    step: Step, distance: Distance, order: float
) -> None:
    torch.manual_seed(3)
    model = Attention()
    tokens = torch.randint(5, (4, 3))

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        return F.cross_entropy(model(tokens).reshape(-1, 5), tokens.reshape(-1))

    one = step(model, loss, (tokens,), (1, 1))
    first = len(capture.programs)
    assert distance(step(model, loss, (tokens,), (2, 1)), one) < order
    forward, backward = capture.programs[first:]
    assert any(isinstance(kernel, AllReduce) for kernel in backward.graph.kernels)
    # Nothing but the loss and the number of its terms is summed up before the gradients are.
    sums = [k for k in forward.graph.kernels if isinstance(k, AllReduce)]
    assert sum(source.rows for kernel in sums for source in kernel.sources) <= 2


@pytest.mark.parametrize("what", ["images", "dropout"])
def test_images_are_divided_and_random_numbers_are_those_of_one_node(
    what: str, step: Step, distance: Distance, order: float
) -> None:
    torch.manual_seed(5)
    if what == "images":
        layers = (nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        model, x = nn.Sequential(*layers, nn.Linear(27, 3)), torch.randn(4, 1, 6, 6)
    else:
        model, x = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5)), torch.randn(4, 6)
    y = torch.tensor([0, 2, 1, 1])
    results = []
    for nodes in ((1, 1), (2, 1)):
        torch.manual_seed(7)
        results.append(step(model, cross_entropy, (x, y), nodes))
    assert distance(results[1], results[0]) < order
    assert d1.torch.statistics().mesh_cycles > 0


def test_rows_that_nothing_is_summed_over_have_the_bits_of_one_node(compiled: Compile) -> None:
    model, x = classifier(), torch.randn(8, 6)
    with torch.no_grad():
        one, four = (compiled(model, nodes)(x) for nodes in ((1, 1), (2, 2)))
    assert torch.equal(one, four)


def test_statistics_of_a_batch_are_those_of_all_nodes(
    compiled: Compile, distance: Distance, order: float
) -> None:
    torch.manual_seed(4)
    x = torch.randn(8, 6)

    def normed(x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.amax(0) - x.amin(0)) * torch.arange(8)[:, None]

    assert distance([compiled(normed, (2, 2))(x)], [normed(x)]) < order


def test_what_cannot_be_divided_runs_on_one_node_and_says_why(compiled: Compile) -> None:
    x = torch.randn(6, 6)
    with pytest.warns(UserWarning, match="one node: dimension 0 .* no multiple of 4"):
        result = compiled(lambda x: x * 2, (2, 2))(x)
    assert torch.equal(result, x * 2)
    with pytest.warns(UserWarning, match="one node: no dimension divides"):
        result = compiled(lambda x: x[1:] - x[:-1], (2, 1))(x)
    assert torch.equal(result, x[1:] - x[:-1])


def test_a_rectangle_without_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="nodes must be columns and rows"):
        d1.torch.configure(nodes=(0, 2))
