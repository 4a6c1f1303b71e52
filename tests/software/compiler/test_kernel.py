"""Generated programs, run on the golden node with schedules of every kind."""

from dataclasses import replace

import d1
import numpy as np
import pytest
from d1.compiler.choice import choose_schedule, instructions, spread
from d1.compiler.kernel import generate, pass_table
from d1.compiler.layout import unpack_result
from d1.compiler.schedule import Schedule
from d1.compiler.tile import OperandFormats, Tile
from d1.device import Device
from d1.launch import launch, operand_image
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import BF16, FP32, Cfp8Config, Cfp8Format, matmul_reference
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.fp32 import fma_array
from d1_golden.params import PRESETS
from numpy.typing import NDArray

from testbench.nodes import SHAPES

PARAMS = PRESETS["tiny"]
CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_5_2, 20), Cfp8Config(Cfp8Format.CFP8_1_4_3, 7))
FORMATS = pytest.mark.parametrize("formats", [BF16, CFP8, FP32], ids=["bf16", "cfp8", "fp32"])
MATRIX_BLOCKS = Tile(PARAMS, BF16).block_sizes()
GUARD = np.full(64, 0xA5, np.uint8)


@pytest.fixture(scope="module")
def device() -> Device:
    return d1.open("golden", "tiny")


def schedule(formats: OperandFormats, steps: int, p: int, q: int, **changes) -> Schedule:
    plain = Schedule(
        params=PARAMS,
        batch=1,
        register_tiles=5,
        memory_tiles=7,
        steps=steps,
        register_group=p,
        memory_group=q,
        formats=formats,
        threads=PARAMS.threads,
        leads=spread(PARAMS.threads, q),
    )
    return replace(plain, **changes)


def operands(wanted: Schedule, seed: int) -> tuple[NDArray, NDArray]:
    """Return finite codes for both sides, with as many terms as there are steps."""
    rng = np.random.default_rng(seed)
    tile = wanted.tile

    def side(tiles: int, lines: int) -> NDArray:
        shape = (wanted.batch, tiles * lines, tile.terms * wanted.steps)
        if isinstance(wanted.formats, tuple):
            return rng.integers(0, 256, shape, dtype=np.uint8)
        bits = rng.standard_normal(shape).astype(np.float32).view(np.uint32)
        return bits if tile.in_lanes else (bits >> 16).astype(np.uint16)

    return (
        side(wanted.register_tiles, tile.register_lines),
        side(wanted.memory_tiles, tile.memory_lines),
    )


def expected(wanted: Schedule, sides: tuple[NDArray, NDArray]) -> NDArray[np.uint32]:
    """Return the sums of the exact order."""
    if wanted.tile.in_lanes:
        register, memory = (side.transpose(2, 0, 1) for side in sides)
        sums = np.zeros((*sides[0].shape[:2], sides[1].shape[1]), np.uint32)
        for a, b in zip(register, memory, strict=True):
            sums = fma_array(a[:, :, None], b[:, None, :], sums)
        return sums
    if isinstance(wanted.formats, tuple):
        left, right = wanted.formats
        sides = (cfp8_to_bf16_array(sides[0], left), cfp8_to_bf16_array(sides[1], right))
    fraction_bits = PARAMS.dot_fraction_bits
    return np.stack([matmul_reference(a, b.T, fraction_bits) for a, b in zip(*sides, strict=True)])


def run(
    device: Device,
    wanted: Schedule,
    sides: tuple[NDArray, NDArray],
    start: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint32]:
    """Run a schedule between guards that must stay, on a result that is `start` or rubbish."""
    rubbish = np.full(wanted.output_bytes, 0x5A, np.uint8)
    with device.data.scratch(len(GUARD)) as before:
        base = before + len(GUARD)
        image = operand_image(wanted, sides)
        behind = base + wanted.output_bytes + len(image)
        for address in (before, behind):
            device.write(address, GUARD)
        device.write(base, rubbish if start is None else start)
        result = launch(device, wanted, sides)
        assert np.array_equal(device.read(before, len(GUARD)), GUARD)
        assert np.array_equal(device.read(base + wanted.output_bytes, len(image)), image)
        assert np.array_equal(device.read(behind, len(GUARD)), GUARD)
    return unpack_result(result, wanted).view(np.uint32)


@pytest.mark.parametrize("formats", [BF16, CFP8], ids=["bf16", "cfp8"])
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 131])
@pytest.mark.parametrize("block", MATRIX_BLOCKS)
def test_every_block_gives_the_bits_of_the_exact_order(device, formats, steps, block):
    wanted = schedule(formats, steps, *block)
    sides = operands(wanted, seed=steps)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@pytest.mark.parametrize("steps", [1, 2, 5, 131])
@pytest.mark.parametrize("block", Tile(PARAMS, FP32).block_sizes())
def test_every_block_of_fp32_gives_the_bits_of_the_exact_order(device, steps, block):
    wanted = schedule(FP32, steps, *block)
    sides = operands(wanted, seed=steps)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@FORMATS
@pytest.mark.parametrize("threads", range(1, PARAMS.threads + 1))
@pytest.mark.parametrize("leads", [(), (3, 2, 1), (1, 4), (0, 0, 0, 2)])
@pytest.mark.parametrize("unroll", [2, 6])
def test_the_bits_do_not_depend_on_how_threads_divide_the_work(
    device, formats, threads, leads, unroll
):
    wanted = schedule(formats, 19, 2, 4, threads=threads, leads=leads, unroll=unroll)
    sides = operands(wanted, seed=3)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@FORMATS
@pytest.mark.parametrize("block", [(1, 7), (2, 3), (5, 1)])
def test_a_sum_is_continued_as_if_it_had_not_been_cut(device, formats, block):
    whole = schedule(formats, 22, *block)
    sides = operands(whole, seed=1)
    cut = 8 * whole.tile.terms
    first = run(device, replace(whole, steps=8), tuple(s[:, :, :cut] for s in sides))
    stored = device.read(device.data.base + len(GUARD), whole.output_bytes)
    second = run(
        device,
        replace(whole, steps=14, accumulate=True),
        tuple(s[:, :, cut:] for s in sides),
        start=stored,
    )
    assert np.array_equal(second, expected(whole, sides))
    assert not np.array_equal(first, second)


@FORMATS
def test_a_batch_is_one_product_after_the_other(device, formats):
    wanted = schedule(formats, 9, 2, 3, batch=4)
    sides = operands(wanted, seed=2)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


def test_blocks_that_are_too_few_leave_threads_without_work(device):
    wanted = schedule(BF16, 9, 8, 1, register_tiles=8, memory_tiles=2)
    assert len(wanted.passes) == 2
    sides = operands(wanted, seed=4)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@FORMATS
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tiles,steps", [((8, 8), 16), ((4, 2), 16), ((3, 5), 100), ((20, 9), 7)])
def test_the_estimate_of_instructions_is_near_the_truth(preset, tiles, steps, formats):
    device = d1.device.shared_device("golden", preset)
    wanted, _ = choose_schedule(PRESETS[preset], 1, *tiles, steps, formats)
    before = device.counters()[CounterRegister.INSTRUCTIONS]
    launch(device, wanted, operands_of(wanted))
    executed = device.counters()[CounterRegister.INSTRUCTIONS] - before
    assert 0.9 <= instructions(wanted) / executed <= 1.1


def operands_of(wanted: Schedule) -> tuple[NDArray, NDArray]:
    """Return zeros for both sides."""
    tile = wanted.tile
    kind = np.uint8 if tile.halves == 2 else np.uint32 if tile.in_lanes else np.uint16
    terms = tile.terms * wanted.steps
    return (
        np.zeros((wanted.batch, wanted.register_tiles * tile.register_lines, terms), kind),
        np.zeros((wanted.batch, wanted.memory_tiles * tile.memory_lines, terms), kind),
    )


@pytest.mark.parametrize("params", SHAPES, ids=lambda p: p.name)
@FORMATS
@pytest.mark.parametrize("block", [(p, 8 // p) for p in (1, 2, 4, 8)])
def test_the_longest_programs_fit_a_quarter_of_sram(params, formats, block):
    wanted = schedule(formats, 100_001, *block, accumulate=True, batch=3)
    wanted = replace(
        wanted,
        params=params,
        register_tiles=1001,
        memory_tiles=1003,
        threads=params.threads,
        leads=spread(params.threads, block[1]),
        unroll=32,
    )
    assert len(generate(wanted)) <= params.sram_bytes // 4


def test_the_table_begins_with_where_each_threads_passes_are_and_ends_each_list_with_zeros():
    wanted = schedule(BF16, 9, 2, 3)
    words = pass_table(wanted)
    assert 4 * len(words) == wanted.table_bytes
    for thread, passes in enumerate(wanted.passes):
        first = (words[thread] - wanted.table) // 4
        for number, p in enumerate(passes):
            of_pass = words[first + 5 * number :][:5].tolist()
            assert of_pass[1:4] == [p.result, p.register, p.memory]
            assert of_pass[0] == 4 * (wanted.kinds.index(p.kind) + 1)
        assert not words[first + 5 * len(passes) :][:5].any()
