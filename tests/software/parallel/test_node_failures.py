"""One of several nodes that fails: what is said of it, and that all of them go on."""

from collections.abc import Callable

import d1
import d1.torch
import pytest
import torch
from d1.compiler.ir import AllReduce, Loops, Product
from d1.parallel.shared_group import shared_group
from d1.torch import capture
from d1_golden.csr import Cause
from d1_golden.params import LINE_BYTES
from torch import Tensor

Compile = Callable[..., Callable[..., Tensor]]
BreakProgram = Callable[..., None]
NODES = (2, 2)


def loss(x: Tensor, weight: Tensor) -> Tensor:
    scores = torch.relu(x @ weight)
    return scores.square().mean()


@pytest.mark.parametrize("device", ["golden", "rtl"])
@pytest.mark.parametrize(
    "parallel, stage, kind, line",
    [("data", 0, Product, 1), ("data", 0, AllReduce, 2), ("pipeline", 1, Loops, 2)],
)
def test_a_fault_names_node_kernel_and_line_and_the_next_call_is_right(
    parallel: str,
    stage: int,
    kind: type,
    line: int,
    device: str,
    compiled: Compile,
    break_program: BreakProgram,
) -> None:
    mesh = shared_group(device, "tiny", NODES).mesh
    mesh.reset()
    model = compiled(loss, NODES, device=device, parallel=parallel)
    operands = torch.ones(8, 12), torch.ones(12, 20)
    expected = model(*operands)
    part = capture.programs[-1].parts[stage]
    number = next(n for n, k in enumerate(part.kernels) if isinstance(k.kernel, kind))
    # The first line that is of the kernel alone; the table says where its code begins.
    entry = int(part.image[part.began[number] - 2])
    break_program(mesh.node(2, 1), at=-(-entry // LINE_BYTES) * LINE_BYTES)
    with pytest.raises(d1.KernelFault, match=r"must end with ecall.* node \(2, 1\)") as fault:
        model(*operands)
    assert fault.value.cause == Cause.HARDWARE_ERROR
    assert fault.value.where.startswith(f"in kernel {number + 1} of {len(part.kernels)}, ")
    assert f"({__file__}:{loss.__code__.co_firstlineno + line})" in fault.value.where
    assert torch.equal(model(*operands), expected)
