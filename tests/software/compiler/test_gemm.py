"""Generated programs, run on the golden node with schedules of every kind."""

from dataclasses import replace

import d1
import numpy as np
import pytest
from d1.compiler.gemm import generate
from d1.compiler.layout import pack_operand, unpack_result
from d1.compiler.schedule import Schedule, choose_schedule
from d1.device import Device
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import Cfp8Config, Cfp8Format, matmul_reference
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.params import PRESETS
from numpy.typing import NDArray

PARAMS = PRESETS["tiny"]
FORMATS = (Cfp8Config(Cfp8Format.CFP8_1_5_2, 20), Cfp8Config(Cfp8Format.CFP8_1_4_3, 7))


@pytest.fixture(scope="module")
def device() -> Device:
    return d1.open("golden", "tiny")


def schedule(steps: int, p: int, q: int, **changes) -> Schedule:
    plain = Schedule(
        params=PARAMS,
        batch=1,
        register_tiles=5,
        memory_tiles=7,
        steps=steps,
        register_group=p,
        memory_group=q,
    )
    return replace(plain, **changes)


def operands(wanted: Schedule, seed: int) -> list[NDArray]:
    """Return finite codes for both sides, with as many terms as there are steps."""
    rng = np.random.default_rng(seed)
    lines = (wanted.register_tiles, wanted.memory_tiles)
    shapes = [(wanted.batch, tiles * PARAMS.matrix_rows, 4 * wanted.steps) for tiles in lines]
    if wanted.formats:
        return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
    return [
        (rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        for shape in shapes
    ]


def expected(wanted: Schedule, sides: list[NDArray]) -> NDArray[np.uint32]:
    if wanted.formats:
        sides = [cfp8_to_bf16_array(s, f) for s, f in zip(sides, wanted.formats, strict=True)]
    fraction_bits = PARAMS.dot_fraction_bits
    return np.stack([matmul_reference(a, b.T, fraction_bits) for a, b in zip(*sides, strict=True)])


def run(
    device: Device, wanted: Schedule, sides: list[NDArray], start: NDArray | None = None
) -> NDArray[np.uint32]:
    """Run a schedule between guards that must stay, on a result that is `start` or rubbish."""
    groups = (wanted.register_groups, wanted.memory_groups)
    packed = [
        pack_operand(side, group, PARAMS.matrix_rows)
        for side, group in zip(sides, groups, strict=True)
    ]
    result = np.full(wanted.output_bytes, 0x5A, np.uint8) if start is None else start
    guard = np.full(64, 0xA5, np.uint8)
    data = np.concatenate([result, *(p.view(np.uint8) for p in packed)])
    base = device.data.base + len(guard)
    outputs = device.call(
        generate(wanted),
        base,
        inputs=[(base - len(guard), np.concatenate([guard, data, guard]))],
        outputs=[
            (base - 64, 64),
            (base, len(result)),
            (base + len(result), len(data) + 64 - len(result)),
        ],
        max_cycles=1_000_000,
    )
    assert np.array_equal(outputs[0], guard)
    assert np.array_equal(outputs[2], np.concatenate([data[len(result) :], guard]))
    return unpack_result(outputs[1], wanted).view(np.uint32)


@pytest.mark.parametrize("formats", [None, FORMATS])
@pytest.mark.parametrize("steps", [1, 2, 5, 8, 131])
@pytest.mark.parametrize("block", [(p, q) for p in range(1, 9) for q in range(1, 8 // p + 1)])
def test_every_block_gives_the_bits_of_the_exact_order(device, formats, steps, block):
    wanted = schedule(steps, *block, formats=formats)
    sides = operands(wanted, seed=steps)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@pytest.mark.parametrize("formats", [None, FORMATS])
@pytest.mark.parametrize("block", [(1, 7), (2, 3), (5, 1)])
def test_a_sum_is_continued_as_if_it_had_not_been_cut(device, formats, block):
    whole = schedule(22, *block, formats=formats)
    sides = operands(whole, seed=1)
    first = run(device, schedule(8, *block, formats=formats), [s[:, :, :32] for s in sides])
    stored = device.read(device.data.base + 64, whole.output_bytes)
    second = run(
        device,
        schedule(14, *block, formats=formats, accumulate=True),
        [s[:, :, 32:] for s in sides],
        start=stored,
    )
    assert np.array_equal(second, expected(whole, sides))
    assert not np.array_equal(first, second)


def test_a_batch_is_one_product_after_the_other(device):
    wanted = schedule(9, 2, 3, batch=4)
    sides = operands(wanted, seed=2)
    assert np.array_equal(run(device, wanted, sides), expected(wanted, sides))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("tiles,steps", [((8, 8), 16), ((4, 2), 16), ((3, 5), 100), ((20, 9), 7)])
def test_the_estimate_of_instructions_is_near_the_truth(preset, tiles, steps):
    device = d1.device.shared_device("golden", preset)
    wanted, _ = choose_schedule(PRESETS[preset], 1, *tiles, steps)
    before = device.counters()[CounterRegister.INSTRUCTIONS]
    device.call(generate(wanted), device.data.base, max_cycles=100_000)
    executed = device.counters()[CounterRegister.INSTRUCTIONS] - before
    assert 0.9 <= wanted.instructions / executed <= 1.1


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("formats", [None, FORMATS])
@pytest.mark.parametrize("block", [(p, 8 // p) for p in (1, 2, 4, 8)])
def test_the_longest_programs_fit_a_quarter_of_sram(preset, formats, block):
    wanted = schedule(100_001, *block, formats=formats, accumulate=True, batch=3)
    wanted = replace(wanted, params=PRESETS[preset], register_tiles=1001, memory_tiles=1003)
    assert len(generate(wanted)) <= PRESETS[preset].sram_bytes // 4
