import numpy as np
import pytest
from d1.compiler.layout import pack_operand, unpack_result
from d1.compiler.schedule import Groups, Schedule

from testbench.nodes import FOUR_ROWS


@pytest.mark.parametrize("dtype,word_bytes", [(np.uint16, 8), (np.uint8, 8), (np.uint32, 4)])
@pytest.mark.parametrize("lines,k,size", [(16, 8, 1), (17, 9, 2), (1, 1, 3), (40, 33, 3)])
def test_every_lane_of_a_vector_holds_a_word_of_its_line(dtype, word_bytes, lines, k, size):
    lanes, batch = 4, 2
    codes = np.random.default_rng(1).integers(1, 200, (batch, lines, k)).astype(dtype)
    tiles = -(-lines // lanes)
    per_word = word_bytes // codes.itemsize
    vectors = -(-k // per_word)
    words = iter(pack_operand(codes, Groups.cover(tiles, size), lanes, word_bytes))
    for b in range(batch):
        for group in Groups.cover(tiles, size):
            for g in range(group.count):
                for vector in range(vectors):
                    for tile in range(group.size):
                        for lane in range(lanes):
                            line = (group.first + g * group.size + tile) * lanes + lane
                            expected = np.zeros(per_word, dtype)
                            if line < lines:
                                part = codes[b, line, vector * per_word :][:per_word]
                                expected[: len(part)] = part
                            assert next(words) == expected.view(f"<u{word_bytes}")[0]
    assert next(words, None) is None


@pytest.mark.parametrize("tiles,block", [((1, 1), (1, 1)), ((8, 8), (1, 8)), ((5, 7), (2, 3))])
def test_a_result_in_the_order_of_blocks_becomes_a_matrix(tiles, block):
    params, batch = FOUR_ROWS, 2
    schedule = Schedule(
        params=params,
        batch=batch,
        register_tiles=tiles[0],
        memory_tiles=tiles[1],
        steps=1,
        register_group=block[0],
        memory_group=block[1],
    )
    shape = (batch, tiles[0] * params.matrix_rows, tiles[1] * params.matrix_cols)
    matrix = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rows, columns = params.matrix_rows, params.matrix_cols
    stored = [
        matrix[b, r * rows : (r + 1) * rows, c * columns : (c + 1) * columns].reshape(-1)
        for b in range(batch)
        for m in schedule.memory_groups
        for first_c in range(m.first, m.first + m.count * m.size, m.size)
        for g in schedule.register_groups
        for first_r in range(g.first, g.first + g.count * g.size, g.size)
        for r in range(first_r, first_r + g.size)
        for c in range(first_c, first_c + m.size)
    ]
    result = np.concatenate(stored).view(np.uint8)
    assert len(result) == schedule.output_bytes
    assert np.array_equal(unpack_result(result, schedule), matrix)
