"""Operators one by one: results and gradients on the golden node against PyTorch on the CPU.

Operands are normal random numbers of odd shapes. Products are computed in FP32, so that what is
compared is not the rounding of operands; tolerances are parts of the largest result:

- FP32: some units in the last place, and those of sums in another order
- BF16: operands of products rounded to 8 bits
"""

import copy
import warnings
from collections.abc import Callable

import d1.torch
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

FP32, BF16 = 5e-6, 1e-2
OPTIONS = {"device": "golden", "preset": "tiny", "precision": "fp32"}


def compiled(function: Callable, **options) -> Callable:
    return torch.compile(function, backend="d1", options=OPTIONS | options, dynamic=False)


def distance(mine: Tensor, theirs: Tensor) -> float:
    """Return the greatest difference as a part of the largest number."""
    assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
    if not theirs.numel():
        return 0.0
    scale = max(1.0, theirs.detach().double().abs().max().item())
    return (mine.detach().double() - theirs.detach().double()).abs().max().item() / scale


def random(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def compare(function: Callable, operands: list[Tensor], tolerance: float, **options) -> None:
    """Assert that results and gradients are PyTorch's, and that nothing was left to it."""
    mine = [x.clone().requires_grad_() for x in operands]
    theirs = [x.clone().requires_grad_() for x in operands]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, expected = compiled(function, **options)(*mine), function(*theirs)
        assert distance(result, expected) <= tolerance
        (weights,) = random(99, tuple(expected.shape))
        (result * weights).sum().backward()
        (expected * weights).sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        assert distance(x.grad, y.grad) <= tolerance


CASES = {
    "convolution with a border": (
        lambda x, w, b: F.conv2d(x, w, b, padding=1),
        [(2, 3, 5, 6), (4, 3, 3, 3), (4,)],
    ),
    "convolution by steps, dilated, with relu": (
        lambda x, w, b: F.conv2d(x, w, b, padding=(1, 2), stride=2, dilation=(2, 1)).relu(),
        [(2, 3, 9, 7), (4, 3, 3, 3), (4,)],
    ),
    "convolution in groups": (
        lambda x, w: F.conv2d(x, w, groups=2, stride=(2, 3)),
        [(2, 4, 7, 7), (6, 2, 2, 3)],
    ),
    "convolution of each channel": (
        lambda x, w: F.conv2d(x, w, groups=5, padding=1),
        [(1, 5, 4, 3), (5, 1, 3, 3)],
    ),
    "convolution of one channel by one filter": (
        lambda x, w, b: F.conv1d(x, w, b, padding=3),
        [(1, 1, 5), (1, 1, 3), (1,)],
    ),
    "convolution of one element": (F.conv2d, [(1, 1, 1, 1), (1, 1, 1, 1)]),
    "convolution by windows of one element": (F.conv2d, [(2, 3, 4, 5), (7, 3, 1, 1)]),
    "transposed convolution": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1, output_padding=1),
        [(2, 3, 4, 5), (3, 4, 3, 3), (4,)],
    ),
    "two convolutions, channels last in between": (
        lambda x, a, b: F.conv2d(F.max_pool2d(F.conv2d(x, a).relu(), 2), b).sum((2, 3)),
        [(2, 1, 8, 7), (5, 1, 3, 3), (3, 5, 2, 2)],
    ),
    "greatest of windows": (lambda x: F.max_pool2d(x, 2), [(2, 3, 5, 6)]),
    "greatest of windows that overlap, dilated, rounded up": (
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1, dilation=2, ceil_mode=True),
        [(2, 3, 9, 8)],
    ),
    "greatest of windows with a border that none reaches": (
        lambda x: F.max_pool2d(x, 3, stride=5, padding=1),
        [(1, 2, 6, 9)],
    ),
    "greatest of windows along a line": (lambda x: F.max_pool1d(x, 3, stride=1), [(2, 3, 9)]),
    "mean of windows": (lambda x: F.avg_pool2d(x, 2), [(2, 3, 5, 6)]),
    "mean of windows without their border": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        [(2, 3, 8, 7)],
    ),
    "mean of windows with their border": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        [(2, 3, 8, 7)],
    ),
    "mean of windows along a line": (
        lambda x: F.avg_pool1d(x, 3, stride=2, padding=1),
        [(2, 3, 8)],
    ),
    "mean of windows of one size": (lambda x: F.adaptive_avg_pool2d(x, (2, 1)), [(2, 3, 8, 7)]),
    "mean of windows of two sizes": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), [(2, 3, 8, 7)]),
    "mean of windows of two sizes along three dimensions": (
        lambda x: F.adaptive_avg_pool3d(x, (3, 2, 1)),
        [(2, 3, 4, 3, 2)],
    ),
    "batch norm": (
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
        [(4, 3, 5, 2), (3,), (3,)],
    ),
    "group norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [(2, 4, 5, 3), (4,), (4,)]),
    "sine and cosine": (lambda x: (20 * x).sin() + (7 * x).cos(), [(5, 31)]),
    "rounding": (
        lambda x: x * (3 * x).floor() + (5 * x).ceil() * (x.round() - (4 * x).trunc()),
        [(7, 13)],
    ),
    "logarithms and powers": (
        lambda x, y: x.abs().log1p() + (x / 4).expm1() + (x.abs() + 0.1) ** y + x**-2,
        [(5, 9), (5, 9)],
    ),
}


#: Operators as parts of graphs, where their types matter to what follows.
OF_INTEGERS = {
    "relu": lambda x, n: x.gather(1, (n - 2).relu()),
    "power of which the exponent is real": lambda x, n: x * (n**2.0) + n**3,
    "sign": lambda x, n: x * (n - 1).sign(),
    "sum of real numbers": lambda x, n: x.cumsum(0, dtype=torch.int64) * n,
    "choice between truth values": lambda x, n: torch.where(x > 0, n > 1, n == 0).sum(1),
    "most frequent": lambda x, n: x.gather(0, n.mode(0).indices[None] % 2) * n.mode(0).values,
    "place of a number": lambda x, n: (
        torch.searchsorted(x[0].sort().values, 0.5)
        - torch.searchsorted(n[1].sort().values, 2, right=True, out_int32=True)
        + torch.bucketize(1.5, n[0].sort().values)
    ),
    "constants": lambda x, n: x[:, torch.tensor([2, 0])] * torch.tensor([[0.5], [2.0], [3.0]]),
}


@pytest.mark.parametrize("case", OF_INTEGERS)
def test_integers_in_a_graph_have_the_type_that_pytorch_gives_them(case):
    generator = torch.Generator().manual_seed(4)
    x = 3 * torch.randn((3, 4), generator=generator)
    n = torch.randint(0, 4, (3, 4), generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compiled(OF_INTEGERS[case])(x, n)
    assert distance(result, OF_INTEGERS[case](x, n)) <= FP32


def test_the_gradient_of_a_cumulative_product_with_zeros_is_pytorchs():
    x = torch.tensor([[2.0, 0, 3, 0, 5], [1, 2, 0, 3, 4], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]])
    compare(lambda x: x.cumprod(1), [x], FP32)


def test_elements_are_repeated_as_often_as_other_elements_tell():
    counts = torch.tensor([0, 1, 2, 3])

    def function(x: Tensor) -> Tensor:
        return torch.repeat_interleave(x, counts, dim=0, output_size=6)

    compare(function, random(3, (4, 3)), FP32)


def test_a_histogram_of_nothing_has_nothing_in_its_bins():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # There is nothing to compute on the node.
        result = compiled(lambda x: torch.histc(x, 3))(torch.ones(5, 0))
    assert torch.equal(result, torch.zeros(3))


def test_elements_are_brought_to_where_a_mask_is_true():
    mask = torch.tensor([[True, False, False, True], [False, True, True, False]])
    compare(lambda x, y: x.masked_scatter(mask, y), random(5, (2, 4), (3, 2)), FP32)


@pytest.mark.parametrize("case", CASES)
def test_results_and_gradients_are_those_of_pytorch(case):
    function, shapes = CASES[case]
    compare(function, random(1, *shapes), FP32)


def test_convolutions_run_in_the_matrix_unit_to_the_precision_of_bf16():
    def function(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(x, w, b, stride=2, padding=1)

    operands = random(2, (3, 5, 9, 7), (18, 5, 3, 3), (18,))
    compare(function, operands, BF16, precision="bf16", preset="d1")
    exact = function(*operands)
    with torch.no_grad():
        result = compiled(function, precision="bf16")(*operands)
    assert distance(result, exact) > 1e-5


def test_a_batch_norm_keeps_running_statistics_and_uses_them_in_evaluation():
    mine = nn.BatchNorm2d(3)
    theirs = copy.deepcopy(mine)
    run = compiled(mine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in random(3, *[(4, 3, 5, 2)] * 2):
            assert distance(run(x), theirs(x)) <= FP32
        mine.eval(), theirs.eval()
        assert distance(run(x), theirs(x)) <= FP32
    for name, value in theirs.state_dict().items():
        assert distance(mine.state_dict()[name], value) <= FP32
    assert mine.num_batches_tracked == 2


# Random numbers.


def random_words(seed: np.ndarray, number: int, count: int) -> np.ndarray:
    """Return the first word of Threefry-2x32 for counters 0, 1, ..., as its paper defines it."""
    key = [int(seed[0]), int(seed[1])]
    key.append(key[0] ^ key[1] ^ 0x1BD11BDA)
    results = []
    for element in range(count):
        a, b = element + key[0], number + key[1]
        for turn in range(20):
            a = (a + b) % 2**32
            r = (13, 15, 26, 6, 17, 29, 16, 24)[turn % 8]
            b = (b << r | b % 2**32 >> 32 - r) % 2**32 ^ a
            if turn % 4 == 3:
                group = turn // 4 + 1
                a, b = a + key[group % 3], b + key[(group + 1) % 3] + group
        results.append(a % 2**32)
    return np.array(results, np.uint32)


def test_random_words_have_the_known_answers():
    # The first of Random123's known answers for threefry2x32 with 20 rounds.
    assert random_words(np.zeros(2, np.uint32), 0, 1)[0] == 0x6B200159


def test_dropout_draws_from_counters_and_a_key_of_the_host():
    function = compiled(lambda x: (F.dropout(x, 0.3), F.dropout(x, 0.3)))
    x = torch.ones(7, 13)
    torch.manual_seed(4)
    results = function(x)
    torch.manual_seed(4)
    key = torch.randint(-(1 << 31), 1 << 31, (2,)).numpy().astype(np.uint32)
    for number, result in enumerate(results):
        kept = random_words(key, number, x.numel()) >> 8 >= np.ceil(0.3 * 2**24)
        expected = np.where(kept, np.float32(1 / 0.7), 0).reshape(7, 13)
        assert np.array_equal(result.numpy(), expected)
    assert not torch.equal(*results)
    torch.manual_seed(4)
    assert all(torch.equal(a, b) for a, b in zip(function(x), results, strict=True))
    assert not torch.equal(function(x)[0], results[0])


def test_the_rtl_draws_the_bits_of_the_golden_node():
    d1.torch.reset_statistics()
    torch.manual_seed(5)
    compiled(lambda x: F.dropout(x, 0.5), device="rtl", check=True)(torch.ones(3, 11))
    statistics = d1.torch.statistics()
    assert statistics.differing_bits == 0 and statistics.checked_outputs >= 3 * 11


def test_gradients_of_dropout_pass_where_it_let_pass():
    x = torch.ones(5, 33, requires_grad=True)
    result = compiled(lambda x: F.dropout(2 * x, 0.5))(x)
    result.sum().backward()
    assert torch.equal(x.grad, result.detach())
    assert 40 < (result == 0).sum() < 125


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_dropout_may_keep_all_or_nothing(part):
    x = torch.ones(9)
    assert torch.equal(compiled(lambda x: F.dropout(x, part))(x), x * (1 - part))


def test_random_numbers_have_their_distributions():
    torch.manual_seed(6)
    x = torch.full((64, 65), 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uniform, normal, chosen, part = compiled(
            lambda x: (
                torch.rand_like(x),
                torch.randn(64, 65),
                torch.bernoulli(x),
                torch.bernoulli(x, 0.7),
            )
        )(x)
    count = x.numel()
    # Five standard deviations of each estimate; chi square of 16 parts below what 1 of 10 000 has.
    assert abs(uniform.mean() - 0.5) < 5 * (1 / 12 / count) ** 0.5
    parts = torch.histc(uniform, 16, 0, 1)
    assert ((parts - count / 16).square() / (count / 16)).sum() < 44
    pairs = torch.corrcoef(torch.stack([uniform.flatten()[:-1], uniform.flatten()[1:]]))
    assert abs(pairs[0, 1]) < 5 / count**0.5
    assert abs(normal.mean()) < 5 / count**0.5
    assert abs(normal.var() - 1) < 5 * (2 / count) ** 0.5
    assert abs(normal.abs().gt(1.96).float().mean() - 0.05) < 5 * (0.05 * 0.95 / count) ** 0.5
    for drawn, probability in ((chosen, 0.2), (part, 0.7)):
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        deviation = (probability * (1 - probability) / count) ** 0.5
        assert abs(drawn.mean() - probability) < 5 * deviation


def test_quotients_are_rounded_exactly():
    """Where a quotient in FP32 is a whole number or next to one, and integers of all sizes."""
    generator = torch.Generator().manual_seed(7)
    real = torch.arange(1, 200).float().reshape(1, -1), torch.arange(-20, 21).float().reshape(-1, 1)
    some = torch.randint(-(2**31), 2**31, (4, 50), generator=generator)
    other = torch.randint(1, 2**31, (4, 50), generator=generator) >> torch.arange(50) % 31
    other = other.clamp(min=1) * (-1) ** torch.arange(50)

    def rounded(a: Tensor, b: Tensor) -> list[Tensor]:
        modes = [torch.div(a, b, rounding_mode=mode) for mode in ("floor", "trunc")]
        return [*modes, a // b, a % b, torch.fmod(a, b)]

    def function(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> list[Tensor]:
        return [*rounded(a, b), *rounded(c, d), c % 7, c // -3]

    operands = (real[0], real[1] + (real[1] == 0), some, other)
    for mine, theirs in zip(compiled(function)(*operands), function(*operands), strict=True):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)
