"""Weights divided over the nodes of a die, and the choice between that and a divided batch."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from d1.compiler.ir import AllReduce, Graph
from d1.parallel.cost_model import estimated
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]


class Perceptron(nn.Module):
    """Two layers beside a way by, and a layer that cannot be divided by four."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 3)
        self.wide, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.narrow(F.gelu(self.wide(self.norm(x)))))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def graphs_since(first: int) -> list[Graph]:
    """Return the graphs of a node that were compiled behind the first ones."""
    return [program.graph for program in capture.programs[first:]]


def sums(graph: Graph) -> list[AllReduce]:
    return [kernel for kernel in graph.kernels if isinstance(kernel, AllReduce)]


@pytest.fixture(scope="module")
def example(step: Step) -> tuple[nn.Module, Tensor, Tensor, list[Tensor]]:
    """Return a model, a batch that four nodes cannot divide, and what one node makes of them."""
    torch.manual_seed(6)
    model = Perceptron()
    x, y = torch.randn(6, 16), torch.randint(3, (6,))
    return model, x, y, step(model, cross_entropy, (x, y), (1, 1))


@pytest.mark.parametrize("parallel", ["tensor", "auto"])
def test_a_perceptron_is_divided_by_columns_then_rows_with_one_sum_each_way(
    example: tuple[nn.Module, Tensor, Tensor, list[Tensor]],
    parallel: str,
    step: Step,
    distance: Distance,
    order: float,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, x, y, one = example
    first = len(capture.programs)
    four = step(model, cross_entropy, (x, y), (2, 2), parallel=parallel)
    forward, backward = graphs_since(first)
    assert distance(four, one) < order
    assert len(sums(forward)) == len(sums(backward)) == 1
    # A node has a quarter of the wide layer's bias, and its part of the weights in tiles.
    assert not any(64 in tensor.shape for tensor in forward.tensors())
    told = capsys.readouterr().err
    if parallel == "auto":
        assert told.count("one node: about") == 2
        assert "data: not possible, dimension 0 of" in told
        assert told.count("chosen: tensor") == 2
    else:
        assert not told


def test_the_gpt_that_sorts_is_divided_by_weights(
    step: Step, distance: Distance, gpt_that_sorts: ModuleType
) -> None:
    torch.manual_seed(1)
    model = gpt_that_sorts.Sorter()
    tokens = gpt_that_sorts.sequences(2, torch.Generator().manual_seed(1))

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        return model(tokens)

    options = {"preset": "d1"}
    one = step(model, loss, (tokens,), (1, 1), **options)
    first = len(capture.programs)
    two = step(model, loss, (tokens,), (2, 1), parallel="tensor", **options)
    # A sum in another order may be rounded to BF16 in another way.
    assert distance(two, one) < 2**-8
    forward, backward = graphs_since(first)
    # Of each block one sum behind attention's or the perceptron's divided weights at least.
    assert (
        len(sums(forward)) >= gpt_that_sorts.LAYERS and len(sums(backward)) >= gpt_that_sorts.LAYERS
    )


def test_a_small_graph_stays_on_one_node_and_a_large_batch_is_divided(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {"device": "golden", "preset": "tiny", "nodes": (2, 2), "parallel": "auto"}
    run = torch.compile(lambda x: (x * 2).sum(0), backend="d1", options=options, dynamic=False)
    small, large = torch.ones(4, 2), torch.randn(256, 8)
    assert torch.equal(run(small), torch.full((2,), 8.0))
    assert "chosen: one node" in capsys.readouterr().err
    assert (run(large) - 2 * large.sum(0)).abs().max() < 1e-4
    assert "chosen: data" in capsys.readouterr().err


def test_the_estimate_counts_every_kernel_and_every_sum(
    example: tuple[nn.Module, Tensor, Tensor, list[Tensor]], step: Step
) -> None:
    model, x, y, _ = example
    first = len(capture.programs)
    step(model, cross_entropy, (x, y), (2, 2), parallel="tensor")
    forward, _ = graphs_since(first)
    estimate = estimated(forward)
    without = Graph(forward.params, kernels=[k for k in forward.kernels if k not in sums(forward)])
    assert estimated(without).sums == 0 < estimate.sums
    assert estimated(without).products == estimate.products > 0
    assert estimate.total == estimate.products + estimate.loops + estimate.sums
