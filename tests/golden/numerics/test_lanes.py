"""Integer lanes, masks and reductions against numpy."""

import numpy as np
import pytest
from d1_golden.numerics import fp32, lanes
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from numba import njit

SEED = 20250301
PAIRS = 1_000_000
CORNERS = np.concatenate(
    [
        np.array([0, 1, 2, 31, 32, 33, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000], np.uint32),
        np.array([0x80000001, 0xFFFFFFFE, 0xFFFFFFFF], np.uint32),
        fp32_corners(),
    ]
)
NAN = 0x7FC00000


def signed(words: np.ndarray) -> np.ndarray:
    return words.view(np.int32)


#: What numpy has for each operation of two words.
ORACLES = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "shift_left": lambda a, b: a << b % 32,
    "shift_right": lambda a, b: a >> b % 32,
    "shift_right_signed": lambda a, b: signed(a) >> signed(b % 32),
    "minimum": lambda a, b: np.minimum(signed(a), signed(b)),
    "maximum": lambda a, b: np.maximum(signed(a), signed(b)),
    "minimum_unsigned": np.minimum,
    "maximum_unsigned": np.maximum,
}
RELATIONS = {
    "equal": np.equal,
    "less": lambda a, b: signed(a) < signed(b),
    "less_unsigned": np.less,
}


@pytest.fixture(scope="module")
def pairs() -> np.ndarray:
    """All pairs of corners, random pairs, and neighbours."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    grid = np.array(np.meshgrid(CORNERS, CORNERS)).reshape(2, -1)
    words = rng.integers(0, 1 << 32, (2, PAIRS), np.uint32)
    words[1, ::2] = words[0, ::2] + rng.integers(-1, 2, PAIRS // 2).astype(np.uint32)
    return np.concatenate([grid, words], axis=1)


@pytest.mark.parametrize("name", ORACLES)
def test_an_operation_of_two_words_agrees_with_numpy(name: str, pairs: np.ndarray) -> None:
    a, b = pairs
    out = np.empty_like(a)
    assert lanes.of_two(getattr(lanes, name))(a, b, out) is out
    assert np.array_equal(out, ORACLES[name](a, b).view(np.uint32))


@pytest.mark.parametrize("name", RELATIONS)
def test_bit_n_of_a_mask_is_the_relation_in_lane_n(name: str, pairs: np.ndarray) -> None:
    compare = lanes.compare(getattr(lanes, name))
    a, b = (words[:100_000].reshape(-1, 16) for words in pairs)
    masks = [int(compare(*rows)) for rows in zip(a, b, strict=True)]
    weights = 1 << np.arange(16)
    assert np.array_equal(masks, (RELATIONS[name](a, b) * weights).sum(axis=1))


def test_a_mask_has_no_bits_above_the_lanes() -> None:
    compare = lanes.compare(lanes.equal)
    for count in (1, 4, 8, 16, 64):
        same = np.ones(count, np.uint32)
        assert compare(same, same) == (1 << count) - 1


def tree(vectors: np.ndarray) -> np.ndarray:
    """Return sums of FP32 rows as the host adds them, pairs of neighbours first."""
    values = vectors.view(np.float32)
    with np.errstate(all="ignore"):
        while values.shape[1] > 1:
            values = values[:, 0::2] + values[:, 1::2]
    bits = values[:, 0].view(np.uint32)
    return np.where(bits & 0x7FFFFFFF > 0x7F800000, np.uint32(NAN), bits)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_the_sum_of_numbers_is_that_of_a_tree_with_neighbours_first(count: int) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, count])
    near = fma_operands(rng, 50_000 * count, FmaKind.NEAR)[2].reshape(-1, count)
    close = rng.standard_normal((50_000, count)).astype(np.float32).view(np.uint32)
    special = rng.choice(CORNERS, (50_000, count))
    reduce = lanes.reduction(fp32.add)
    for vectors in (near, special, close):
        sums = np.empty_like(vectors)
        for row, out in zip(vectors, sums, strict=True):
            assert reduce(row, out) is out
        assert (sums == sums[:, :1]).all(), "every lane must have the result"
        assert np.array_equal(sums[:, 0], tree(vectors))
    chain = np.cumsum(close.view(np.float32), axis=1)[:, -1].view(np.uint32)
    assert (chain != sums[:, 0]).mean() > 0.1, "another order must give other sums"


@pytest.mark.parametrize("count", [4, 8, 16])
def test_integer_reductions_agree_with_numpy(count: int) -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, count, 1])
    any_words = rng.integers(0, 1 << 32, (5_000, count), np.uint32)
    vectors = np.concatenate([any_words, rng.choice(CORNERS, (5_000, count))])
    oracles = {
        lanes.add: vectors.sum(axis=1, dtype=np.uint32),
        lanes.minimum: signed(vectors).min(axis=1).view(np.uint32),
        lanes.maximum: signed(vectors).max(axis=1).view(np.uint32),
        lanes.minimum_unsigned: vectors.min(axis=1),
        lanes.maximum_unsigned: vectors.max(axis=1),
    }
    for operation, expected in oracles.items():
        reduce = lanes.reduction(operation)
        results = np.array([reduce(row, np.empty_like(row)) for row in vectors])
        assert np.array_equal(results, np.repeat(expected[:, None], count, axis=1))


def test_a_reduction_combines_the_lower_lane_first() -> None:
    @njit
    def digits(a, b):
        return np.uint32(a * 2 + b) if a < b else np.uint32(0)

    row = np.array([1, 2, 3, 20], np.uint32)
    # (1 . 2) . (3 . 20): 4 . 26 = 34.
    assert lanes.reduction(digits)(row, np.empty_like(row)).tolist() == [34] * 4


def test_least_and_greatest_number_leave_nans_out_until_there_is_nothing_else() -> None:
    nan, one, two = 0xFF800001, 0x3F800000, 0x40000000
    least, greatest = lanes.reduction(fp32.minimum), lanes.reduction(fp32.maximum)
    for row, expected in (
        ([nan, two, one, nan], (one, two)),
        ([nan, nan, nan, nan], (NAN, NAN)),
        ([0, 1 << 31, 0, 1 << 31], (1 << 31, 0)),
    ):
        words = np.array(row, np.uint32)
        assert least(words, np.empty_like(words)).tolist() == [expected[0]] * 4
        assert greatest(words, np.empty_like(words)).tolist() == [expected[1]] * 4
