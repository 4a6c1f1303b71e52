"""Kernels that fail: what is said, and that the device goes on."""

from collections.abc import Callable, Iterator
from unittest.mock import patch

import d1
import d1.torch
import d1.torch.eager
import pytest
import torch
from d1.compiler import executable
from d1.device import Device, shared_device
from d1.torch import capture
from d1_golden.csr import Cause
from d1_golden.params import LINE_BYTES
from torch import Tensor

BreakProgram = Callable[..., None]


@pytest.fixture(params=["golden", "rtl"])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    before = d1.torch.settings()
    d1.torch.configure(device=request.param, preset="tiny")
    torch._dynamo.reset()
    node = shared_device(request.param, "tiny")
    node.reset()
    yield node
    node.reset()
    d1.torch.configure(**vars(before))


def test_a_broken_program_is_a_fault_and_the_next_call_is_right(
    device: Device, break_program: BreakProgram
) -> None:
    model = torch.compile(lambda a, b: torch.relu(a @ b + 1), backend="d1", dynamic=False)
    operands = torch.ones(8, 12), torch.ones(12, 20)
    expected = model(*operands)
    break_program(device)
    with pytest.raises(d1.KernelFault, match="must end with ecall") as fault:
        model(*operands)
    assert fault.value.cause == Cause.HARDWARE_ERROR
    assert fault.value.where == "before its first kernel"
    assert torch.equal(model(*operands), expected)


def scores(a: Tensor, b: Tensor) -> Tensor:
    product = a @ b
    return product.softmax(0)


def test_a_fault_names_the_kernel_its_operators_and_the_lines_they_are_from(
    device: Device, break_program: BreakProgram
) -> None:
    model = torch.compile(scores, backend="d1", dynamic=False)
    operands = torch.ones(8, 12), torch.ones(12, 20)
    expected = model(*operands)
    (part,) = capture.programs[-1].parts
    line = scores.__code__.co_firstlineno
    for number, (operator, source) in enumerate(
        [("aten.mm.default", line + 1), ("aten.amax.default", line + 2)]
    ):
        # The first line that is of the kernel alone; the table says where its code begins.
        entry = int(part.image[part.began[number] - 2])
        break_program(device, at=-(-entry // LINE_BYTES) * LINE_BYTES)
        with pytest.raises(d1.KernelFault) as fault:
            model(*operands)
        where = f"in kernel {number + 1} of {len(part.kernels)}, "
        assert fault.value.where.startswith(where)
        assert f"of {operator} ({__file__}:{source})" in str(fault.value)
        assert torch.equal(model(*operands), expected)


def test_a_kernel_that_does_not_end_is_named_and_the_next_call_is_right(device: Device) -> None:
    def count(x: Tensor) -> Tensor:
        return torch.while_loop(lambda x: x < 8, lambda x: (x + 1,), (x,))[0]

    model = torch.compile(count, backend="d1", dynamic=False)
    assert model(torch.tensor(0.0)).item() == 8
    with pytest.raises(d1.CycleLimitError, match=r"must stop within .* while_loop"):
        with patch.object(executable, "cycle_limit", lambda _: 20_000):
            model(torch.tensor(-1e9))
    assert model(torch.tensor(5.0)).item() == 8


def test_an_operator_of_the_eager_device_that_fails_changes_nothing(
    device: Device, break_program: BreakProgram
) -> None:
    a = torch.full((5, 7), 2.0, device="d1")
    a * a  # is loaded, first of all
    break_program(device)
    with pytest.raises(d1.KernelFault):
        a.mul_(a)
    assert a.tolist() == torch.full((5, 7), 2.0).tolist()
    assert a.mul_(a).tolist() == torch.full((5, 7), 4.0).tolist()


def test_a_failed_backward_leaves_the_gradients_and_can_be_done_again(
    device: Device, break_program: BreakProgram
) -> None:
    layer = torch.nn.Linear(6, 5)
    with torch.no_grad():
        layer.weight.fill_(0.5)
    model = torch.compile(layer, backend="d1", dynamic=False)
    x = torch.ones(4, 6)
    model(x).sum().backward()
    expected = layer.weight.grad
    layer.weight.grad = None
    loss = model(x).sum()
    break_program(device)
    with pytest.raises(d1.KernelFault):
        model(x)
    assert layer.weight.grad is None
    loss.backward()
    assert expected is not None and torch.equal(layer.weight.grad, expected)
