"""`d1.matmul` against the exact order (bits) and against float64 (tolerance)."""

import d1
import ml_dtypes
import numpy as np
import pytest
import torch
from d1 import Cfp8Array, Cfp8Config, Cfp8Format
from d1.backends import open_link
from d1.device import Device, shared_device
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import matmul_reference
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.fp32 import fma_array
from d1_golden.params import PRESETS
from numpy.typing import NDArray

from testbench.nodes import FOUR_ROWS

BF16 = ml_dtypes.bfloat16
SHAPES = [
    (1, 1, 1),
    (2, 2, 4),
    (8, 8, 4),
    (5, 7, 9),
    (16, 64, 1),
    (1, 40, 33),
    (40, 1, 33),
    (64, 10, 64),
    (33, 65, 130),
    (9, 11, 700),
]


def normal(rng: np.random.Generator, *shape: int) -> NDArray:
    return rng.standard_normal(shape).astype(BF16)


def any_codes(rng: np.random.Generator, *shape: int) -> NDArray:
    """Return all kinds of numbers, with NaN and Inf seldom enough to leave finite results."""
    codes = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    special = (codes & 0x7F80 == 0x7F80) & (rng.random(shape) < 0.97)
    return np.where(special, codes & 0x8000, codes).astype(np.uint16).view(BF16)


def expected_bits(a: NDArray, b: NDArray, preset: str) -> NDArray[np.uint32]:
    fraction_bits = PRESETS[preset].dot_fraction_bits
    return matmul_reference(a.view(np.uint16), b.view(np.uint16), fraction_bits)


def assert_same_bits(result: NDArray, expected: NDArray[np.uint32]) -> None:
    assert result.dtype == np.float32
    assert np.array_equal(result.view(np.uint32), expected)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("numbers", [normal, any_codes])
def test_any_shape_has_the_bits_of_the_exact_order(preset, shape, numbers):
    m, n, k = shape
    rng = np.random.default_rng(m * n + k)
    a, b = numbers(rng, m, k), numbers(rng, k, n)
    result = d1.matmul(a, b, device="golden", preset=preset)
    assert_same_bits(result, expected_bits(a, b, preset))


@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_near_those_of_float64(shape):
    m, n, k = shape
    rng = np.random.default_rng(m + n + k)
    a, b = normal(rng, m, k), normal(rng, k, n)
    result = d1.matmul(a, b, device="golden", preset="d1")
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    # Each of the k / 4 steps rounds and cuts a few units of 2^-24 of the largest partial sum.
    bound = (np.abs(a64) @ np.abs(b64)) * (k / 4 + 1) * 2.0**-22
    assert (np.abs(result - a64 @ b64) <= bound).all()


@pytest.mark.parametrize("seed", range(20))
def test_random_shapes_have_the_bits_of_the_exact_order(seed):
    rng = np.random.default_rng(seed)
    m, n, k = (int(size) for size in rng.integers(1, 90, 3))
    params = (PRESETS["tiny"], FOUR_ROWS, PRESETS["d1"])[seed % 3]
    print(f"{seed=} {m=} {n=} {k=} {params.name=}")
    a, b = any_codes(rng, m, k), any_codes(rng, k, n)
    with Device(open_link("golden", params), params, "golden") as device:
        result = d1.matmul(a, b, device=device)
    bits = (a.view(np.uint16), b.view(np.uint16))
    assert_same_bits(result, matmul_reference(*bits, params.dot_fraction_bits))


@pytest.mark.parametrize(
    "shape", [(150, 130, 60), (7, 5, 9001), (260, 250, 8), (1, 9000, 6), (60, 60, 800)]
)
def test_what_does_not_fit_sram_is_cut_without_changing_a_bit(shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = any_codes(rng, m, k), any_codes(rng, k, n)
    device = shared_device("golden", "tiny")
    assert 2 * (m + n) * k + 4 * m * n > device.data.size
    assert_same_bits(d1.matmul(a, b, device=device), expected_bits(a, b, "tiny"))


@pytest.mark.parametrize("bias", [0, 7, 31, 63])
@pytest.mark.parametrize("formats", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("shape", [(5, 9, 8), (17, 3, 13), (3, 17, 4), (2, 2, 1), (9, 9, 8005)])
def test_cfp8_has_the_bits_of_the_exact_order(bias, formats, shape):
    m, n, k = shape
    rng = np.random.default_rng(bias + k)
    preset = "tiny" if k > 1000 else "fpga"
    configs = [
        Cfp8Config(Cfp8Format(f), b) for f, b in zip(formats, (bias, 63 - bias), strict=True)
    ]
    a = Cfp8Array(rng.integers(0, 256, (m, k), dtype=np.uint8), configs[0])
    b = Cfp8Array(rng.integers(0, 256, (k, n), dtype=np.uint8), configs[1])
    result = d1.matmul(a, b, device="golden", preset=preset)
    wide = [cfp8_to_bf16_array(x.codes, x.config) for x in (a, b)]
    assert_same_bits(result, matmul_reference(*wide, PRESETS[preset].dot_fraction_bits))


def fp32_sums(a: NDArray, b: NDArray) -> NDArray[np.uint32]:
    """Return the bits of the product in the exact order: a fused multiply-add a term."""
    sums = np.zeros((a.shape[0], b.shape[1]), np.uint32)
    for term in range(a.shape[1]):
        sums = fma_array(a[:, [term]].view(np.uint32), b[[term]].view(np.uint32), sums)
    return sums


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", SHAPES)
def test_fp32_of_any_shape_has_the_bits_of_the_exact_order(preset, shape):
    m, n, k = shape
    rng = np.random.default_rng(m * n + k)
    bits = [rng.integers(0, 1 << 32, s, dtype=np.uint32) for s in ((m, k), (k, n))]
    # NaN and Inf seldom enough to leave finite results.
    a, b = (
        np.where((x & 0x7F80_0000 == 0x7F80_0000) & (rng.random(x.shape) < 0.9), 0, x)
        .astype(np.uint32)
        .view(np.float32)
        for x in bits
    )
    assert_same_bits(d1.sgemm(a, b, device="golden", preset=preset), fp32_sums(a, b))


@pytest.mark.parametrize("shape", [(130, 70, 90), (7, 5, 5001), (60, 60, 400)])
def test_fp32_that_does_not_fit_sram_is_cut_without_changing_a_bit(shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
    device = shared_device("golden", "tiny")
    assert 4 * ((m + n) * k + m * n) > device.data.size
    assert_same_bits(d1.sgemm(a, b, device=device), fp32_sums(a, b))


def test_fp32_takes_batches_vectors_and_tensors():
    generator = torch.Generator().manual_seed(12)
    a = torch.randint(-8, 8, (3, 4, 5), generator=generator).float()
    b = torch.randint(-8, 8, (5,), generator=generator).float()
    result = d1.sgemm(a, b, device="golden", preset="tiny")
    assert torch.equal(result, a @ b)


@pytest.mark.parametrize(
    "value,message",
    [
        (np.ones((2, 2), np.float64), r"a must be of float32 \(numpy or torch\), not float64"),
        (np.ones((2, 2), BF16), "a must be of float32 .*, not bfloat16"),
        (torch.ones(2, 2, requires_grad=True), "a must be on the cpu and not require grad"),
        ([[1.0]], "a must be of float32 .*, not a list"),
    ],
)
def test_what_is_not_fp32_already_is_refused_by_sgemm(value, message):
    with pytest.raises(TypeError, match=message):
        d1.sgemm(value, np.ones((2, 2), np.float32), device="golden", preset="tiny")


def test_an_empty_operand_is_refused_by_sgemm():
    with pytest.raises(ValueError, match=r"b must not be empty, not of shape \(2, 0\)"):
        d1.sgemm(
            np.ones((2, 2), np.float32),
            np.ones((2, 0), np.float32),
            device="golden",
            preset="tiny",
        )


@pytest.mark.parametrize(
    "a_shape,b_shape",
    [
        ((3, 4, 5), (3, 5, 6)),
        ((3, 4, 5), (5, 6)),
        ((4, 5), (3, 5, 6)),
        ((2, 1, 4, 5), (3, 5, 6)),
        ((5,), (5,)),
        ((5,), (5, 6)),
        ((4, 5), (5,)),
        ((5,), (3, 5, 6)),
        ((3, 4, 5), (5,)),
        ((200, 9, 10), (200, 10, 11)),
    ],
)
def test_batches_and_vectors_are_treated_as_by_numpy(a_shape, b_shape):
    rng = np.random.default_rng(5)
    a, b = (rng.integers(-8, 8, shape).astype(BF16) for shape in (a_shape, b_shape))
    result = d1.matmul(a, b, device="golden", preset="tiny")
    exact = np.matmul(a.astype(np.float32), b.astype(np.float32))
    assert result.shape == exact.shape
    assert np.array_equal(result, exact)


def test_strided_operands_are_read_as_they_are_shown():
    rng = np.random.default_rng(6)
    a, b = normal(rng, 40, 30), normal(rng, 50, 30)
    result = d1.matmul(a[::2, ::-1], b.T[::-1, 1:], device="golden", preset="fpga")
    expected = expected_bits(
        np.ascontiguousarray(a[::2, ::-1]), np.ascontiguousarray(b.T[::-1, 1:]), "fpga"
    )
    assert_same_bits(result, expected)


def test_torch_tensors_give_a_torch_tensor_of_the_same_bits():
    generator = torch.Generator().manual_seed(7)
    a, b = (torch.randn(9, 9, generator=generator).bfloat16() for _ in range(2))
    result = d1.matmul(a, b, device="golden", preset="tiny")
    assert isinstance(result, torch.Tensor)
    bits = [x.view(torch.uint16).numpy() for x in (a, b)]
    assert_same_bits(result.numpy(), matmul_reference(*bits, PRESETS["tiny"].dot_fraction_bits))


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,))])
def test_tensors_that_require_grad_take_part_in_autograd(shapes):
    generator = torch.Generator().manual_seed(8)
    a, b = (
        torch.randint(-4, 4, shape, generator=generator).bfloat16().requires_grad_()
        for shape in shapes
    )
    d1.matmul(a, b, device="golden", preset="tiny").sum().backward()
    other = [x.detach().float().requires_grad_() for x in (a, b)]
    torch.matmul(*other).sum().backward()
    for x, y in zip((a, b), other, strict=True):
        assert x.grad.dtype == torch.bfloat16
        assert torch.equal(x.grad.float(), y.grad)


def test_grad_with_a_device_of_ones_own_is_refused():
    a = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    with pytest.raises(TypeError, match="device must be a name where a tensor requires grad"):
        d1.matmul(a, a, device=shared_device("golden", "tiny"))


@pytest.mark.parametrize(
    "value,found",
    [
        (np.ones((2, 2), np.float32), "float32"),
        (np.ones((2, 2), np.int64), "int64"),
        (torch.ones(2, 2), "torch.float32"),
        ([[1.0]], "a list"),
    ],
)
def test_another_type_is_refused_by_name(value, found):
    good = np.ones((2, 2), BF16)
    message = rf"must be of bfloat16 \(numpy with ml_dtypes, or torch\) or a Cfp8Array, not {found}"
    with pytest.raises(TypeError, match="a " + message):
        d1.matmul(value, good, device="golden", preset="tiny")
    with pytest.raises(TypeError, match="b " + message):
        d1.matmul(good, value, device="golden", preset="tiny")


def test_bf16_with_cfp8_is_refused():
    eight = Cfp8Array(np.ones((2, 2), np.uint8), Cfp8Config(Cfp8Format.CFP8_1_4_3, 7))
    with pytest.raises(TypeError, match="both be of bfloat16 or both CFP8, not CFP8 and bfloat16"):
        d1.matmul(eight, np.ones((2, 2), BF16), device="golden", preset="tiny")


@pytest.mark.parametrize(
    "a_shape,b_shape,message",
    [
        ((2, 3), (4, 5), r"summed over, not be of shapes \(2, 3\) and \(4, 5\)"),
        ((2, 3, 4), (3, 4, 5), r"must broadcast, not be \(2,\) and \(3,\)"),
        ((), (2,), r"at least one dimension, not shapes \(\), \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_both(a_shape, b_shape, message):
    with pytest.raises(ValueError, match=message):
        d1.matmul(np.ones(a_shape, BF16), np.ones(b_shape, BF16), device="golden", preset="tiny")


@pytest.mark.parametrize("shapes", [((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0))])
def test_empty_operands_are_refused(shapes):
    a, b = (np.ones(shape, BF16) for shape in shapes)
    with pytest.raises(ValueError, match=r"must not be empty, not of shape \("):
        d1.matmul(a, b, device="golden", preset="tiny")


def test_an_unknown_device_or_preset_is_refused():
    a = np.ones((2, 2), BF16)
    with pytest.raises(ValueError, match="device must be one of board, golden, rtl, not 'gpu'"):
        d1.matmul(a, a, device="gpu")
    with pytest.raises(ValueError, match="preset must be one of d1, fpga, tiny, not 'big'"):
        d1.matmul(a, a, device="golden", preset="big")


def test_data_that_is_in_use_leaves_less_room_and_in_the_end_overflows():
    device = d1.open("golden", "tiny")
    a = normal(np.random.default_rng(9), 40, 40)
    with device.data.scratch(device.data.free - 1024):
        assert_same_bits(d1.matmul(a, a, device=device), expected_bits(a, a, "tiny"))
    with (
        device.data.scratch(device.data.free - 64),
        pytest.raises(d1.SramOverflowError, match="one step of one tile must fit in the 64 bytes"),
    ):
        d1.matmul(a, a, device=device)


def test_a_device_that_failed_is_usable_again():
    device = d1.open("golden", "tiny")
    with pytest.raises(d1.CycleLimitError):
        device.call(b"\x6f\x00\x00\x00", max_cycles=100)
    a = normal(np.random.default_rng(10), 8, 8)
    assert_same_bits(d1.matmul(a, a, device=device), expected_bits(a, a, "tiny"))


def test_the_64_cube_takes_1024_matrix_steps_and_at_most_as_many_and_a_half_beside():
    device = shared_device("golden", "d1")
    a = normal(np.random.default_rng(11), 64, 64)
    before = device.counters()
    d1.matmul(a, a, device=device)
    after = device.counters()
    assert after[CounterRegister.MATRIX_STEPS] - before[CounterRegister.MATRIX_STEPS] == 1024
    assert after[CounterRegister.INSTRUCTIONS] - before[CounterRegister.INSTRUCTIONS] <= 2560


def test_cfp8_arrays_round_to_nearest_and_convert_back_exactly():
    config = Cfp8Config(Cfp8Format.CFP8_1_4_3, 7)
    array = Cfp8Array.from_float([[1.0, 1.0625, -480.0, 1e9]], config)
    assert array.shape == (1, 4)
    assert array.to_float().tolist() == [[1.0, 1.0, -480.0, 480.0]]


def test_cfp8_codes_of_another_type_are_refused():
    config = Cfp8Config(Cfp8Format.CFP8_1_4_3, 7)
    with pytest.raises(TypeError, match="codes must be a numpy array of uint8, not float32"):
        Cfp8Array(np.ones(2, np.float32), config)
    with pytest.raises(TypeError, match="config must be a Cfp8Config, not 7"):
        Cfp8Array(np.ones(2, np.uint8), 7)
