from dataclasses import replace

import numpy as np
import pytest
from d1.compiler.schedule import BlockKind, Groups, Schedule
from d1_golden.numerics import BF16, FP32, Cfp8Config, Cfp8Format
from d1_golden.params import PRESETS

CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), Cfp8Config(Cfp8Format.CFP8_1_5_2, 15))


def schedule(**changes) -> Schedule:
    plain = Schedule(
        params=PRESETS["d1"],
        batch=1,
        register_tiles=8,
        memory_tiles=8,
        steps=16,
        register_group=1,
        memory_group=8,
        threads=4,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize("tiles", range(1, 20))
@pytest.mark.parametrize("size", [1, 3, 8])
def test_groups_cover_every_tile_once(tiles: int, size: int):
    covered = [
        group.first + tile
        for group in Groups.cover(tiles, size)
        for tile in range(group.count * group.size)
    ]
    assert covered == list(range(tiles))


@pytest.mark.parametrize("formats", [BF16, CFP8, FP32])
@pytest.mark.parametrize("steps", [1, 2, 3, 31, 32, 33, 64, 257, 1000])
@pytest.mark.parametrize("block", [(1, 8), (8, 1), (2, 4), (1, 1), (3, 2)])
@pytest.mark.parametrize("unroll", [2, 8, 1000])
def test_runs_make_up_all_vectors_within_reach_of_an_instruction(formats, steps, block, unroll):
    p, q = block
    wanted = schedule(formats=formats, steps=steps, unroll=unroll)
    head, body, repeats, tail = wanted.runs(BlockKind(p, q, q))
    assert head + body * repeats + tail == wanted.vectors
    assert wanted.tile.halves * (wanted.vectors - tail) + tail == steps
    assert body % 2 == 0
    assert body <= unroll
    longest = max(head, body)
    if formats == FP32:
        assert (longest + 1) * p * 4 <= 2048
        assert (longest + 1) * q <= 2048
    else:
        assert longest * q <= 256
        assert longest * p + p <= 2048
    assert repeats == 0 or head > 0


def computed(wanted: Schedule) -> np.ndarray:
    """Return how often each tile is computed: its place, its register and memory side."""
    tile = wanted.tile
    counts = np.zeros((wanted.batch, wanted.register_tiles, wanted.memory_tiles), int)
    places = np.full(counts.shape, -1)
    place = 0
    for product in range(wanted.batch):  # the order of `layout`
        for m in wanted.memory_groups:
            for first_m in range(m.first, m.first + m.count * m.size, m.size):
                for r in wanted.register_groups:
                    for first_r in range(r.first, r.first + r.count * r.size, r.size):
                        for i in range(first_r, first_r + r.size):
                            for j in range(first_m, first_m + m.size):
                                places[product, i, j] = place
                                place += 1
    by_place = {place: tile for tile, place in np.ndenumerate(places)}
    register_tile = wanted.vectors * tile.register_bytes
    for passes in wanted.passes:
        for p in passes:
            for block in range(p.count):
                for i in range(p.kind.p):
                    for j in range(p.kind.q):
                        offset = (block * p.kind.p + i) * p.kind.panel + j
                        of = by_place[p.result // tile.result_bytes + offset]
                        counts[of] += 1
                        # What it reads is what the place of its result asks for.
                        row = of[0] * wanted.register_tiles + of[1]
                        register = p.register - wanted.output_bytes
                        assert register // register_tile + block * p.kind.p + i == row
                        memory = p.memory - wanted.output_bytes - wanted.register_bytes
                        group, inside = divmod(memory, wanted.vectors * tile.memory_bytes)
                        column = group + inside // tile.memory_bytes + j
                        assert column == of[0] * wanted.memory_tiles + of[2]
    return counts


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("leads", [(), (2, 4, 6), (1, 1, 1, 1)])
@pytest.mark.parametrize(
    "tiles,block",
    [((8, 8), (1, 8)), ((1, 1), (1, 1)), ((5, 7), (2, 3)), ((3, 20), (1, 8)), ((9, 2), (4, 2))],
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("formats", [BF16, FP32])
def test_passes_compute_every_tile_once_from_its_own_operands(
    threads, leads, tiles, block, batch, formats
):
    wanted = schedule(
        batch=batch,
        register_tiles=tiles[0],
        memory_tiles=tiles[1],
        register_group=block[0],
        memory_group=block[1],
        threads=threads,
        leads=leads,
        formats=formats,
        steps=32,  # panels of at least a vector
    )
    assert (computed(wanted) == 1).all()
    assert 1 <= len(wanted.passes) <= threads


@pytest.mark.parametrize("tiles", [(8, 8), (16, 3), (7, 24)])
def test_shares_of_threads_differ_by_a_block_at_most(tiles):
    wanted = schedule(register_tiles=tiles[0], memory_tiles=tiles[1])
    shares = [sum(p.count * p.kind.p * p.kind.q for p in passes) for passes in wanted.passes]
    assert len(shares) == 4
    assert max(shares) - min(shares) <= 8


def test_a_lead_is_the_first_tiles_of_a_threads_first_block_and_the_others_come_last():
    wanted = schedule(leads=(2, 0, 6, 8))
    kinds = [[(p.kind.q, p.count) for p in passes] for passes in wanted.passes]
    assert kinds == [[(2, 1), (8, 1), (6, 1)], [(8, 2)], [(6, 1), (8, 1), (2, 1)], [(8, 2)]]


@pytest.mark.parametrize("threads", [0, 5])
def test_more_threads_than_there_are_are_refused(threads):
    with pytest.raises(ValueError, match=rf"threads must be in 1\.\.4, not {threads}"):
        schedule(threads=threads)


@pytest.mark.parametrize("unroll", [0, 3])
def test_an_odd_unroll_is_refused(unroll):
    with pytest.raises(ValueError, match=f"unroll must be even and at least 2, not {unroll}"):
        schedule(unroll=unroll)


def test_formats_of_no_unit_are_refused():
    with pytest.raises(ValueError, match="formats must be BF16, FP32 or two of CFP8, not None"):
        _ = schedule(formats=None).tile
