"""Graphs with branches and loops on many nodes: every node runs them as a whole."""

from collections.abc import Callable

import d1.torch
import pytest
import torch
from d1.compiler.ir import AllReduce, Choice, Repeat
from d1.torch import capture
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

Compile = Callable[..., Callable[..., Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]

BATCH = torch.randn(4, 6, generator=torch.Generator().manual_seed(7))


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Return rows by a number that a branch and Newton's method make of all of them."""
    total = (x * x).sum()
    start = torch.cond(
        total > 10, lambda t, s: (s @ s).sum() * t, lambda t, s: s.sum() * t, (total, scale)
    )
    root, _ = while_loop(
        lambda guess, n: n < 12,
        lambda guess, n: (0.5 * (guess + total / guess), n + 1),
        (start, torch.zeros((), dtype=torch.int64)),
    )
    return x / root


@pytest.mark.parametrize(
    "device, parallel", [("golden", "data"), ("rtl", "data"), ("rtl", "pipeline")]
)
def test_branches_and_loops_on_sums_over_the_batch(
    device: str, parallel: str, compiled: Compile, distance: Distance, order: float
) -> None:
    options = {"device": device, "parallel": parallel, "precision": "fp32", "check": True}
    run = compiled(scaled, (2, 1), **options)
    for x in (BATCH, BATCH / 10):
        scale = torch.full((3, 3), 0.1)
        assert distance([run(x, scale)], [scaled(x, scale)]) < order
    statistics = d1.torch.statistics()
    assert statistics.mesh_cycles > 0 and statistics.differing_bits == 0
    kernels = capture.programs[-1].graph.kernels
    assert any(isinstance(kernel, Choice) for kernel in kernels)
    assert any(isinstance(kernel, Repeat) for kernel in kernels)
    assert parallel == "pipeline" or any(isinstance(kernel, AllReduce) for kernel in kernels)


def doubled(x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, lambda a: a * 2, lambda a: a - 1, (x,))


def test_a_branch_gets_the_whole_batch_from_the_host_but_not_from_other_nodes(
    compiled: Compile,
) -> None:
    assert torch.equal(compiled(doubled, (2, 1))(BATCH), doubled(BATCH))
    assert d1.torch.statistics().mesh_cycles > 0
    with pytest.warns(UserWarning, match="one node: .* is divided, and needed otherwise"):
        result = compiled(lambda x: doubled(x * 2), (2, 1))(BATCH)
    assert torch.equal(result, doubled(BATCH * 2))
