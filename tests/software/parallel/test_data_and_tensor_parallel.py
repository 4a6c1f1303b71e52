"""Batches divided over rows of nodes, and weights over the columns of a row."""

from collections.abc import Callable

import d1.torch
import pytest
import torch
from d1.compiler.ir import AllReduce, Graph
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

Compile = Callable[..., Callable[..., Tensor]]
Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]
BOTH = {"parallel": "data x tensor"}


class Perceptron(nn.Module):
    """Two layers beside a way by, positions that depend on the place in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 3)
        self.wide, self.narrow = nn.Linear(16, 48), nn.Linear(48, 16)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[0])[:, None] * torch.arange(48) * 0.01
        return self.last(x + self.narrow(F.gelu(self.wide(self.norm(x)) + places)))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def along(graph: Graph) -> list[tuple[int, int]]:
    """Return the columns and rows of the sums over nodes."""
    return [kernel.nodes for kernel in graph.kernels if isinstance(kernel, AllReduce)]


@pytest.mark.parametrize("device, nodes", [("golden", (3, 2)), ("rtl", (2, 2))])
def test_a_step_of_nodes_that_divide_batch_and_weights_is_that_of_one(
    device: str, nodes: tuple[int, int], step: Step, distance: Distance, order: float
) -> None:
    torch.manual_seed(6)
    model, x = Perceptron(), torch.randn(6, 16)
    y = torch.tensor([0, 1, 2, -100, 1, 2])  # one that does not count
    one = step(model, cross_entropy, (x, y), (1, 1))
    first = len(capture.programs)
    many = step(model, cross_entropy, (x, y), nodes, device=device, check=True, **BOTH)
    assert distance(many, one) < order
    assert d1.torch.statistics().differing_bits == 0
    columns, rows = nodes
    forward, backward = (program.graph for program in capture.programs[first:])
    # Behind the wide layer one sum over a row; of the batch, sums over columns.
    assert along(forward).count((columns, 1)) == 1 and set(along(forward)[1:]) == {(1, rows)}
    assert set(along(backward)) == {(columns, 1), (1, rows)}
    assert any(tensor.shape == (6 // rows, 48 // columns) for tensor in forward.tensors())


def test_results_are_put_together_from_rows_and_columns(compiled: Compile) -> None:
    torch.manual_seed(7)
    wide = nn.Sequential(nn.Linear(16, 48), nn.ReLU())
    x = torch.randn(4, 16)
    with torch.no_grad():
        one = compiled(wide, (1, 1))(x)
        assert torch.equal(compiled(wide, (2, 2), **BOTH)(x), one)
    assert d1.torch.statistics().mesh_cycles > 0


def test_nodes_in_one_row_or_column_are_refused(compiled: Compile) -> None:
    with pytest.warns(UserWarning, match="one node: 4 x 1 nodes have one side alone"):
        result = compiled(lambda x: x * 2, (4, 1), **BOTH)(torch.ones(4, 4))
    assert torch.equal(result, torch.full((4, 4), 2.0))
