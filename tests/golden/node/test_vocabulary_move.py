"""The move instructions of golden against numpy's reshape, transpose and roll."""

import numpy as np
import pytest
from d1_golden.node import vocabulary_move as moves

from testbench.nodes import SHAPES

SEED = 23
ROUNDS = 50
ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF

DTYPE = {"b8": np.uint8, "b16": np.uint16, "b32": np.uint32}


@pytest.fixture(params=SHAPES, ids=lambda params: params.name)
def params(request):
    return request.param


@pytest.fixture
def rng():
    print(f"seed {SEED}")
    return np.random.default_rng(SEED)


def vector(params, rng):
    """Return a random row as in `NodeState.vector`."""
    return rng.integers(0, ALL_ONES, params.vector_bytes // 8, np.uint64, endpoint=True)


def tile_shape(params, size):
    """Return rows and columns of the block that fills a vector in elements of `size`."""
    if size == "b32":
        return {16: (4, 4), 8: (2, 4), 4: (2, 2)}[params.fp32_lanes]
    return params.matrix_rows, {"b16": 4, "b8": 8}[size]


def result_of(function, *operands):
    """Return the vector that a function makes, which must be its last argument."""
    scratch = np.full_like(operands[0], 0x5A5A_5A5A_5A5A_5A5A)
    result = function(*operands, scratch)
    assert np.shares_memory(result, scratch)
    return result


@pytest.mark.parametrize("size", ["b8", "b16"])
def test_transposing_makes_an_operand_tile_of_its_transpose_and_back(params, rng, size):
    rows, columns = tile_shape(params, size)
    for _ in range(ROUNDS):
        tile = vector(params, rng)
        block = tile.view(DTYPE[size]).reshape(rows, columns).T.copy().reshape(-1).view(np.uint64)
        assert np.array_equal(result_of(getattr(moves, f"vtrans_{size}"), block), tile)
        assert np.array_equal(result_of(getattr(moves, f"vtransi_{size}"), tile), block)


def test_a_block_of_words_is_transposed(params, rng):
    rows, columns = tile_shape(params, "b32")
    assert moves.block_rows(params.fp32_lanes) == rows
    for _ in range(ROUNDS):
        block = vector(params, rng)
        expected = block.view(np.uint32).reshape(rows, columns).T.reshape(-1)
        assert np.array_equal(result_of(moves.vtrans_b32, block).view(np.uint32), expected)


def test_transposing_words_again_undoes_it_twice_where_the_block_is_not_square(params, rng):
    rows, columns = tile_shape(params, "b32")
    block = again = vector(params, rng)
    for _ in range(2 if rows == columns else 3):
        again = result_of(moves.vtrans_b32, again).copy()
    assert np.array_equal(again, block)


@pytest.mark.parametrize("size", DTYPE)
def test_padding_keeps_the_first_rows_and_columns(params, rng, size):
    rows, columns = tile_shape(params, size)
    for rows_kept in (*range(rows + 2), 255):
        for columns_kept in (*range(columns + 2), 255):
            block = vector(params, rng)
            expected = np.zeros((rows, columns), DTYPE[size])
            kept = np.s_[:rows_kept, :columns_kept]
            expected[kept] = block.view(DTYPE[size]).reshape(rows, columns)[kept]
            scalar = np.uint64(0xABCD_0000 | columns_kept << 8 | rows_kept)
            result = result_of(getattr(moves, f"vpad_{size}"), block, scalar)
            assert np.array_equal(result.view(DTYPE[size]), expected.reshape(-1))


def test_shuffling_takes_the_index_modulo_the_lanes(params, rng):
    for _ in range(ROUNDS):
        source, index = vector(params, rng), vector(params, rng)
        places = index.view(np.uint32) % params.fp32_lanes
        result = result_of(moves.vshuf, source, index)
        assert np.array_equal(result.view(np.uint32), source.view(np.uint32)[places])


def test_sliding_moves_a_window_over_two_vectors(params, rng):
    for distance in range(params.fp32_lanes + 1):
        first, second = vector(params, rng), vector(params, rng)
        both = np.concatenate([first, second]).view(np.uint32)
        expected = np.roll(both, -distance)[: params.fp32_lanes]
        result = result_of(moves.vslide, first, second, np.uint64(distance))
        assert np.array_equal(result.view(np.uint32), expected)


def test_a_scalar_or_a_lane_goes_to_every_lane_and_a_lane_to_a_scalar(params, rng):
    for lane in range(params.fp32_lanes):
        source = vector(params, rng)
        words = source.view(np.uint32)
        everywhere = np.repeat(words[lane], params.fp32_lanes)
        result = result_of(moves.vbc_l, source, np.uint64(lane))
        assert np.array_equal(result.view(np.uint32), everywhere)
        scalar = np.uint64(0xFFFF_0000_0000_0000 | int(words[lane]))
        scratch = np.zeros_like(source)
        assert np.array_equal(moves.vbc_x(scalar, scratch).view(np.uint32), everywhere)
        signed = int(words.view(np.int32)[lane])
        assert moves.vmv_x_v(source, np.uint64(lane)) == signed & ALL_ONES


def test_selecting_takes_each_lane_by_its_bit_of_the_mask(params, rng):
    for _ in range(ROUNDS):
        first, second = vector(params, rng), vector(params, rng)
        bits = rng.integers(0, 2, params.fp32_lanes).astype(bool)
        mask = np.uint64(sum(1 << n for n in np.flatnonzero(bits)))
        expected = np.where(bits, first.view(np.uint32), second.view(np.uint32))
        result = result_of(moves.vsel, first, second, mask)
        assert np.array_equal(result.view(np.uint32), expected)


def test_masks_combine_as_sets_of_lanes(params, rng):
    lanes = range(params.fp32_lanes)
    for _ in range(ROUNDS):
        p, q = ({n for n in lanes if rng.random() < 0.5} for _ in range(2))
        p_mask, q_mask = (np.uint64(sum(1 << n for n in members)) for members in (p, q))
        expected = {"mand": p & q, "mor": p | q, "mxor": p ^ q, "mandn": p - q}
        for name, members in expected.items():
            assert getattr(moves, name)(p_mask, q_mask) == sum(1 << n for n in members), name


def test_a_mask_has_the_low_bits_of_a_scalar(params):
    lanes = params.fp32_lanes
    assert moves.vmv_m_x(np.uint64(ALL_ONES), lanes) == (1 << lanes) - 1
    assert moves.vmv_m_x(np.uint64(1 << lanes), lanes) == 0
    assert moves.vmv_m_x(np.uint64(0b1010), np.uint64(lanes)) == 0b1010
    assert moves.vmv_x_m(np.uint64(0b1001)) == 0b1001
