"""Graphs whose products multiply CFP8, against the same rounding in numpy and PyTorch.

Where operands are rounded to nearest even, bits are compared; where they are rounded
stochastically, the two neighbours and the mean.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import d1.torch
import numpy as np
import pytest
import torch
from d1.compiler.ir import Pack, Product
from d1.torch import capture
from d1.torch.explain import explained
from d1_golden.numerics import Cfp8Config, Cfp8Format, matmul_reference
from d1_golden.numerics.convert import (
    bf16_to_fp32_array,
    cfp8_to_bf16_array,
    fp32_to_cfp8_array,
)
from d1_golden.params import PRESETS
from d1_golden.params import preset as node_preset
from torch import Tensor, nn
from torch.nn import functional as F

from testbench.nodes import FOUR_ROWS

EXAMPLES = Path(__file__).parents[3] / "software" / "examples"
VALUES, GRADIENTS = Cfp8Format.CFP8_1_4_3, Cfp8Format.CFP8_1_5_2


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(PRESETS, FOUR_ROWS.name, FOUR_ROWS)
    before = d1.torch.settings()
    torch._dynamo.reset()
    d1.torch.reset_statistics()
    yield
    torch._dynamo.reset()
    d1.torch.configure(**vars(before))


def compiled(function: Callable, preset: str = "tiny", **options) -> Callable:
    options = {"device": "golden", "preset": preset, "precision": "cfp8"} | options
    return torch.compile(function, backend="d1", options=options, dynamic=False)


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def chosen(values: Tensor, split: Cfp8Format) -> Cfp8Config:
    """Return the format of least range in which all values are, by real arithmetic."""
    greatest = float(values[values.isfinite()].abs().max())
    for bias in reversed(range(64)):
        config = Cfp8Config(split, bias)
        if greatest <= config.float_format.largest:
            return config
    return Cfp8Config(split, 0)


def rounded(values: Tensor, split: Cfp8Format = VALUES) -> np.ndarray:
    """Return the BF16 codes of the CFP8 nearest to values."""
    config = chosen(values, split)
    codes = fp32_to_cfp8_array(values.detach().contiguous().numpy().view(np.uint32), config)
    return cfp8_to_bf16_array(codes, config)


def product(a: Tensor, b: Tensor, preset: str) -> Tensor:
    """Return the product of matrices in CFP8, in the order in which the node sums up."""
    bits = matmul_reference(rounded(a), rounded(b), node_preset(preset).dot_fraction_bits)
    return torch.from_numpy(bits.view(np.float32))


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.int32), b.contiguous().view(torch.int32))


SHAPES = [(7, 13, 9), (16, 8, 16), (33, 70, 37), (1, 5, 3), (9, 4, 5), (2, 1, 2), (17, 100, 4)]


@pytest.mark.parametrize("preset", ["tiny", FOUR_ROWS.name, "d1"])
def test_products_have_the_bits_of_operands_rounded_with_biases_from_the_data(preset):
    for seed, (m, k, n) in enumerate(SHAPES):
        a, b = numbers(seed, (m, k), (k, n))
        a, b = a * 2.0 ** (3 * seed), b * 2.0 ** (-7 * seed)
        assert same_bits(compiled(torch.matmul, preset)(a, b), product(a, b, preset))


@pytest.mark.parametrize("preset", ["tiny", FOUR_ROWS.name, "d1"])
def test_operands_may_lie_in_memory_in_any_way(preset):
    a, b, c, d = numbers(20, (11, 6), (11, 18), (5, 12), (3, 9, 12))

    def function(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, ...]:
        return a.T @ b, c[:, 3:] @ b[:9, ::2], torch.relu(c) @ d.transpose(1, 2)

    first, second, third = compiled(function, preset)(a, b, c, d)
    assert same_bits(first, product(a.T, b, preset))
    assert same_bits(second, product(c[:, 3:], b[:9, ::2], preset))
    # One bias is that of a whole batch.
    scale = chosen(d, VALUES)
    codes = fp32_to_cfp8_array(d.numpy().view(np.uint32), scale)
    bits = node_preset(preset).dot_fraction_bits
    for part, result in zip(cfp8_to_bf16_array(codes, scale), third, strict=True):
        expected = matmul_reference(rounded(c.relu()), part.T, bits)
        assert same_bits(result, torch.from_numpy(expected.view(np.float32)))


def test_a_convolution_has_the_bits_of_its_windows_in_cfp8():
    image, filters = numbers(21, (2, 3, 6, 5), (4, 3, 3, 3))
    result = compiled(lambda x, w: F.conv2d(x, w, padding=1), FOUR_ROWS.name)(image, filters)
    # Channels come first in a window.
    config = chosen(image, VALUES)
    codes = fp32_to_cfp8_array(image.numpy().view(np.uint32), config)
    image = torch.from_numpy(bf16_to_fp32_array(cfp8_to_bf16_array(codes, config)).view(np.float32))
    met = F.unfold(image, 3, padding=1).transpose(1, 2).reshape(-1, 27)
    left = (met.numpy().view(np.uint32) >> 16).astype(np.uint16)
    bits = matmul_reference(
        left, rounded(filters.reshape(4, 27).T), node_preset(FOUR_ROWS.name).dot_fraction_bits
    )
    expected = torch.from_numpy(bits.view(np.float32)).reshape(2, 6, 5, 4).permute(0, 3, 1, 2)
    assert same_bits(result, expected)


def test_the_greatest_of_any_size_is_not_clamped_within_the_biases_there_are():
    run, one = compiled(torch.matmul), torch.ones(1, 1)
    for exponent in range(-46, 15, 3):
        for mantissa in (1.0, 1.875, 1.876, 1.9999999):
            x = torch.full((1, 1), mantissa * 2.0**exponent)
            nearest = 2.0 ** (exponent + 1) if mantissa > 1.9375 else 1.875 * 2.0**exponent
            assert run(x, one).item() == (x.item() if mantissa == 1 else nearest)


def test_zeros_infinities_and_nans_are_what_the_format_makes_of_them():
    identity = torch.eye(4)
    x = torch.tensor([[0.0, -0.0, 3.0, -7.0]])
    run = compiled(torch.matmul)
    assert run(torch.zeros(1, 4), identity).tolist() == [[0.0] * 4]
    assert run(x, identity).tolist() == x.tolist()
    # The greatest number of all is 1.875 x 2^15; a NaN does not count when the bias is chosen.
    most = 1.875 * 2.0**15
    infinite = torch.tensor([[math.inf, 0.0, 1.0, -math.inf]])
    assert run(infinite, identity).tolist() == [[most, 0.0, 1.0, -most]]
    unknown = torch.tensor([[math.nan, 1.0, 0.0, -1.0]])
    assert run(unknown, identity).tolist() == [[1.875, 1.0, 0.0, -1.0]]


class Drawn:
    """Gradients of a product with the identity: what stochastic rounding makes of them."""

    def __init__(self, preset: str) -> None:
        self.weight = torch.eye(6)
        self.run = compiled(lambda x, w: x @ w, preset)

    def __call__(self, gradient: Tensor) -> Tensor:
        x = torch.zeros(len(gradient), 6, requires_grad=True)
        self.run(x, self.weight).backward(gradient)
        assert x.grad is not None
        return x.grad


@pytest.mark.parametrize("preset", ["tiny", "d1"])
def test_gradients_are_rounded_to_a_neighbour_and_right_in_the_mean(preset):
    (gradient,) = numbers(22, (7, 6))
    gradient = gradient * 0.003
    config = chosen(gradient, GRADIENTS)
    grid = torch.from_numpy(config.float_format.decode(np.arange(128))).float()
    at = torch.searchsorted(grid, gradient.abs(), right=True)
    below, above = grid[at - 1], grid[at.clamp(max=127)]
    draw = Drawn(preset)
    torch.manual_seed(0)
    runs = torch.stack([draw(gradient) for _ in range(400)])
    size = runs * gradient.sign()
    assert ((size == below) | (size == above)).all()
    assert (size == below).any() and (size == above).any()
    # A number is up with the probability of its fraction: four and a half deviations.
    up = (gradient.abs() - below) / (above - below)
    found = (size == above).float().mean(0)
    assert ((found - up).abs() < 4.5 * (up * (1 - up) / 400).sqrt() + 1e-6).all()
    # Neighbours are drawn independently of each other.
    centred = (size == above).float() - up
    pairs = (centred[:, :, 1:] * centred[:, :, :-1]).mean()
    assert abs(pairs.item()) < 0.25 * 5 / math.sqrt(400 * 35)


def test_a_seed_repeats_what_is_drawn_and_another_one_does_not():
    (gradient,) = numbers(23, (9, 6))
    draw = Drawn("tiny")
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(draw(gradient))
    assert same_bits(results[0], results[1])
    assert not same_bits(results[0], results[2])


def test_gradients_are_1_5_2_and_stochastic_and_everything_else_1_4_3_and_nearest():
    layer = nn.Linear(6, 5)
    x = torch.randn(4, 6, requires_grad=True)
    torch.relu(compiled(layer)(x)).sum().backward()
    forward, backward = capture.programs[-2:]

    def packs(program) -> list[Pack]:
        return [k for k in program.graph.kernels if isinstance(k, Pack)]

    assert [pack.stochastic for pack in packs(forward)] == [None, None]
    # A gradient meets the weight, and the input; it is rounded for each, with other numbers.
    drawn = [pack.stochastic for pack in packs(backward)]
    streams = {tuple(d.stream.contents.tolist()) for d in drawn if d is not None}
    assert (len(drawn), len(streams), drawn.count(None)) == (4, 2, 2)
    for program in (forward, backward):
        for kernel in program.graph.kernels:
            assert not isinstance(kernel, Product) or kernel.formats is not None
    # Behind a stochastic rounding numbers are rounded to nearest even again.
    a, b = numbers(24, (5, 7), (7, 3))
    assert torch.equal(
        compiled(torch.matmul, precision="bf16")(a, b),
        compiled(torch.matmul, precision="bf16", device="rtl")(a, b),
    )


def test_a_product_that_does_not_fit_in_sram_has_the_bits_of_one_that_does():
    a, b = numbers(25, (40, 300), (300, 40))
    result = compiled(torch.matmul)(a, b)
    assert len(capture.programs[-1].parts) > 1
    assert same_bits(result, product(a, b, "tiny"))


def test_products_that_depend_on_data_are_in_cfp8_too():
    def function(x: Tensor, w: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda: x @ w, lambda: (x + 1) @ w)

    x, w = numbers(26, (5, 6), (6, 4))
    run = compiled(function)
    for operand in (x.abs(), -x.abs()):
        taken = operand if operand.sum() > 0 else operand + 1
        assert same_bits(run(operand, w), product(taken, w, "tiny"))


class Small(nn.Module):
    """Convolution, attention and a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv2d(1, 4, 3, padding=1)
        self.first, self.second = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.filters(x).flatten(2).transpose(1, 2).reshape(len(x), -1, 8)
        x = x + F.scaled_dot_product_attention(x, x, x, is_causal=True)
        return self.second(F.gelu(self.first(x))).mean(1)


def test_steps_on_the_rtl_have_the_bits_of_the_golden_node():
    torch.manual_seed(27)
    model, x = Small(), torch.randn(2, 1, 4, 4)
    run = compiled(model, device="rtl", check=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(run(x), torch.tensor([0, 2]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = d1.torch.statistics()
    assert losses[1] < losses[0]
    assert found.checked_outputs > 500
    assert found.differing_bits == 0


def test_the_product_itself_takes_no_more_cycles_than_in_bf16():
    a, b = numbers(28, (64, 256), (256, 64))
    cycles = {}
    for precision in ("bf16", "cfp8"):
        with explained("rtl") as reports:
            compiled(torch.matmul, "d1", precision=precision)(a, b)
        (report,) = reports
        cycles[precision] = next(k.simulated for k in report.kernels if k.kind == "product")
    print(cycles, report)
    assert cycles["cfp8"] <= cycles["bf16"]


def test_digits_are_learned_in_cfp8(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    d1.torch.configure(precision="cfp8")
    assert importlib.import_module("digits_mlp").main(2) >= 0.8
