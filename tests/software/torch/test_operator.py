import d1.torch
import numpy as np
import pytest
import torch
from d1_golden.numerics import matmul_reference
from d1_golden.params import PRESETS

TARGET = ("golden", "tiny")


def randn(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (2, 4, 5)), ((1, 1), (1, 1))]
)
def test_the_operator_keeps_the_rules_of_pytorch(dtype, shapes):
    a, b = (randn(n, *shape, dtype=dtype).requires_grad_() for n, shape in enumerate(shapes))
    torch.library.opcheck(torch.ops.d1.matmul.default, (a, b, *TARGET))


def test_float32_is_rounded_to_bf16_on_the_way_in():
    a, b = randn(1, 9, 13), randn(2, 13, 5)
    result = d1.torch.matmul(a, b, *TARGET)
    bits = [x.bfloat16().view(torch.uint16).numpy() for x in (a, b)]
    expected = matmul_reference(*bits, PRESETS["tiny"].dot_fraction_bits)
    assert np.array_equal(result.numpy().view(np.uint32), expected)


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((6, 1, 3, 4), (2, 4, 5))],
)
def test_gradients_are_those_of_pytorch_where_all_is_exact(shapes):
    generator = torch.Generator().manual_seed(3)
    operands = [torch.randint(-8, 8, shape, generator=generator).float() for shape in shapes]
    mine = [x.clone().requires_grad_() for x in operands]
    theirs = [x.clone().requires_grad_() for x in operands]
    result, exact = d1.torch.matmul(*mine, *TARGET), torch.matmul(*theirs)
    assert torch.equal(result, exact)
    weight = torch.randint(-8, 8, exact.shape, generator=generator).float()
    (result * weight).sum().backward()
    (exact * weight).sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        assert torch.equal(x.grad, y.grad)


def test_gradients_of_gradients_exist():
    a, b = (torch.eye(3).requires_grad_() for _ in range(2))
    (gradient,) = torch.autograd.grad(
        d1.torch.matmul(a, b, *TARGET).square().sum(), a, create_graph=True
    )
    gradient.sum().backward()
    exact = torch.eye(3).requires_grad_()
    (other,) = torch.autograd.grad((exact @ b.detach()).square().sum(), exact, create_graph=True)
    other.sum().backward()
    assert torch.equal(a.grad, exact.grad)


def test_a_gradient_nobody_wants_is_not_computed():
    a, b = randn(4, 3, 4), randn(5, 4, 5).requires_grad_()
    d1.torch.reset_statistics()
    d1.torch.matmul(a, b, *TARGET).sum().backward()
    assert d1.torch.statistics().products == 2


def test_a_check_compares_every_output_and_counts_work():
    d1.torch.reset_statistics()
    d1.torch.matmul(randn(6, 2, 3, 4), randn(7, 4, 5), *TARGET, check=True)
    assert d1.torch.statistics() == d1.torch.Statistics(
        products=1, macs=2 * 3 * 4 * 5, checked_outputs=2 * 3 * 5, differing_bits=0
    )


def test_a_check_counts_the_bits_in_which_a_wrong_result_differs(monkeypatch):
    right = d1.torch.operator.multiply

    def wrong(*operands):
        result = right(*operands)
        result.view(np.uint32)[0, 0] ^= 0b1011
        return result

    monkeypatch.setattr(d1.torch.operator, "multiply", wrong)
    d1.torch.reset_statistics()
    d1.torch.matmul(randn(8, 3, 4), randn(9, 4, 5), *TARGET, check=True)
    assert d1.torch.statistics().differing_bits == 3


@pytest.mark.parametrize(
    "a,b,error,message",
    [
        (torch.ones(2, 3).double(), torch.ones(3, 2), TypeError, "a must be of .*float64"),
        (torch.ones(2, 3), torch.ones(3, 2).int(), TypeError, "b must be of .*int32"),
        (torch.ones(3), torch.ones(3, 2), ValueError, "a must have two or more dimensions, not 1"),
        (torch.ones(2, 3), torch.ones(4, 2), ValueError, r"not be of shapes \(2, 3\) and \(4, 2\)"),
        (torch.ones(0, 3), torch.ones(3, 2), ValueError, r"a must not be empty.*\(0, 3\)"),
        (torch.ones(2, 0), torch.ones(0, 2), ValueError, r"a must not be empty.*\(2, 0\)"),
    ],
)
def test_bad_operands_are_refused(a, b, error, message):
    with pytest.raises(error, match=message):
        d1.torch.matmul(a, b, *TARGET)


def test_an_unknown_device_or_preset_is_refused():
    with pytest.raises(ValueError, match="device must be one of board, golden, rtl, not 'gpu'"):
        d1.torch.matmul(torch.ones(2, 2), torch.ones(2, 2), "gpu")
    with pytest.raises(ValueError, match="preset must be one of d1, fpga, tiny, not 'huge'"):
        d1.torch.matmul(torch.ones(2, 2), torch.ones(2, 2), "golden", "huge")
