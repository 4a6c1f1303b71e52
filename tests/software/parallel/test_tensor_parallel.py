"""Weights divided over the nodes of a die, and the choice between that and a divided batch."""

import pytest
import torch
from d1.compiler.ir import AllReduce, Graph
from d1.parallel.cost_model import estimated
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

#: Of sums in another order, as part of the largest element.
ORDER = 4e-6


class Perceptron(nn.Module):
    """Two layers beside a way by, and a layer that cannot be divided by four."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.last = nn.LayerNorm(16), nn.Linear(16, 3)
        self.wide, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.narrow(F.gelu(self.wide(self.norm(x)))))


def step(
    model: nn.Module, x: Tensor, y: Tensor, nodes: tuple[int, int], parallel: str
) -> tuple[list[Tensor], list[Graph]]:
    """Return a loss and the gradients of all parameters, and the graphs of a node."""
    torch._dynamo.reset()
    model.zero_grad()
    options = {"device": "golden", "preset": "tiny", "nodes": nodes, "parallel": parallel}
    run = torch.compile(
        lambda x, y: F.cross_entropy(model(x), y), backend="d1", options=options, dynamic=False
    )
    first = len(capture.programs)
    loss = run(x, y)
    loss.backward()
    graphs = [program.graph for program in capture.programs[first:]]
    return [loss.detach(), *(p.grad.clone() for p in model.parameters())], graphs


def sums(graph: Graph) -> list[AllReduce]:
    return [kernel for kernel in graph.kernels if isinstance(kernel, AllReduce)]


@pytest.fixture(scope="module")
def example() -> tuple[nn.Module, Tensor, Tensor, list[Tensor]]:
    """Return a model, a batch that four nodes cannot divide, and what one node makes of them."""
    torch.manual_seed(6)
    model = Perceptron()
    x, y = torch.randn(6, 16), torch.randint(3, (6,))
    return model, x, y, step(model, x, y, (1, 1), "data")[0]


@pytest.mark.parametrize("parallel", ["tensor", "auto"])
def test_a_perceptron_is_divided_by_columns_then_rows_with_one_sum_each_way(
    example: tuple[nn.Module, Tensor, Tensor, list[Tensor]],
    parallel: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, x, y, one = example
    four, (forward, backward) = step(model, x, y, (2, 2), parallel)
    for mine, theirs in zip(four, one, strict=True):
        assert (mine - theirs).abs().max() <= ORDER * theirs.abs().max().clamp(min=1e-6)
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
    example: tuple[nn.Module, Tensor, Tensor, list[Tensor]],
) -> None:
    model, x, y, _ = example
    _, (forward, _) = step(model, x, y, (2, 2), "tensor")
    estimate = estimated(forward)
    without = Graph(forward.params, kernels=[k for k in forward.kernels if k not in sums(forward)])
    assert estimated(without).sums == 0 < estimate.sums
    assert estimated(without).products == estimate.products > 0
    assert estimate.total == estimate.products + estimate.loops + estimate.sums
