"""Masks, lanes, moves and vector memory of Xd1 against restatements in plain numpy."""

from collections.abc import Callable

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.isa import INSTRUCTION_BY_NAME, INSTRUCTIONS, Unit, encode
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode

from testbench.nodes import SHAPES

SEED = 23
DATA = 0x1000
CORNERS = (0, 1, 31, 32, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFF, 0x3F80_0000,
           0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0x0000_0001, 0x8000_0000)  # fmt: skip
Lanes = np.ndarray


@pytest.fixture(params=SHAPES, ids=lambda p: p.name)
def node(request: pytest.FixtureRequest) -> GoldenNode:
    node = GoldenNode(request.param)
    rng = np.random.default_rng(SEED)
    node.v[:] = rng.integers(0, 256, node.v.shape)
    words = node.v.view(np.uint32)
    corners = rng.random(words.shape) < 0.3
    words[corners] = rng.choice(np.array(CORNERS, np.uint32), int(corners.sum()))
    node.m[:] = rng.integers(0, 1 << node.params.fp32_lanes, 8, np.uint64)
    return node


def run(execute, node: GoldenNode, text: str) -> None:
    execute(f"li a2, {DATA}\n{text}\necall", node=node)
    assert node.status is ThreadStatus.HALTED


def bits(mask: int, lanes: int) -> np.ndarray:
    """Return a mask register as one bool a lane."""
    return np.array([mask >> n & 1 for n in range(lanes)], bool)


def f32(lanes: Lanes) -> np.ndarray:
    return lanes.view(np.float32)


def i32(lanes: Lanes) -> np.ndarray:
    return lanes.view(np.int32)


def u32(values: np.ndarray) -> Lanes:
    """Return FP32 or integers as words; every NaN is the canonical one."""
    if values.dtype == np.float32:
        return np.where(np.isnan(values), np.uint32(0x7FC0_0000), values.view(np.uint32))
    return values.astype(np.int64).astype(np.uint32)


def tree(lanes: np.ndarray, operation: Callable) -> np.ndarray:
    """Return a reduction: neighbours first, then pairs of neighbours, in every lane."""
    while len(lanes) > 1:
        lanes = operation(lanes[0::2], lanes[1::2])
    return lanes[0]


def _least(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the lesser number; -0 is less than +0."""
    zeros = (a == 0) & (b == 0)
    return np.where(zeros, np.where(np.signbit(a), a, b), np.fmin(a, b))


def _greatest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    zeros = (a == 0) & (b == 0)
    return np.where(zeros, np.where(np.signbit(a), b, a), np.fmax(a, b))


def _to_i32(a: Lanes) -> np.ndarray:
    wide = np.rint(f32(a).astype(np.float64))
    wide = np.where(np.isnan(wide), 2.0**31, wide)
    return np.clip(wide, -(2.0**31), 2.0**31 - 1)


#: Two registers to one; results as FP32 or integers of any width.
TWO: dict[str, Callable[[Lanes, Lanes], np.ndarray]] = {
    "vadd.i32": lambda a, b: a.astype(np.int64) + b,
    "vsub.i32": lambda a, b: a.astype(np.int64) - b,
    "vmul.i32": lambda a, b: a.astype(np.uint64) * b,
    "vand.i32": lambda a, b: a & b,
    "vor.i32": lambda a, b: a | b,
    "vxor.i32": lambda a, b: a ^ b,
    "vsll.i32": lambda a, b: a.astype(np.uint64) << (b % 32).astype(np.uint64),
    "vsrl.i32": lambda a, b: a // 2 ** (b % 32).astype(np.int64),
    "vsra.i32": lambda a, b: i32(a).astype(np.int64) // 2 ** (b % 32).astype(np.int64),
    "vmin.i32": lambda a, b: np.minimum(i32(a), i32(b)),
    "vmax.i32": lambda a, b: np.maximum(i32(a), i32(b)),
    "vminu.i32": np.minimum,
    "vmaxu.i32": np.maximum,
    "vshuf": lambda a, b: a[b % len(a)],
}
#: Two registers to a mask.
COMPARES: dict[str, Callable[[Lanes, Lanes], np.ndarray]] = {
    "vfeq.f32": lambda a, b: f32(a) == f32(b),
    "vflt.f32": lambda a, b: f32(a) < f32(b),
    "vfle.f32": lambda a, b: f32(a) <= f32(b),
    "vseq.i32": lambda a, b: a == b,
    "vslt.i32": lambda a, b: i32(a) < i32(b),
    "vsltu.i32": lambda a, b: a < b,
}


def _block(lanes: Lanes) -> np.ndarray:
    """Return the FP32 block of a register: as many columns as rows, or twice as many."""
    return lanes.reshape({4: (2, 2), 8: (2, 4), 16: (4, 4)}[len(lanes)])


def _words(values: np.ndarray) -> Lanes:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint32)


#: One register to one.
ONE: dict[str, Callable[[Lanes], np.ndarray]] = {
    "vfredsum.f32": lambda a: np.repeat(tree(f32(a), np.add), len(a)),
    "vfredmin.f32": lambda a: np.repeat(tree(f32(a), _least), len(a)),
    "vfredmax.f32": lambda a: np.repeat(tree(f32(a), _greatest), len(a)),
    "vcvt.i32.f32": _to_i32,
    "vcvt.f32.i32": lambda a: i32(a).astype(np.float32),
    "vredsum.i32": lambda a: np.full(len(a), int(a.sum(dtype=np.uint64)) % 2**32),
    "vredmin.i32": lambda a: np.full(len(a), i32(a).min()),
    "vredmax.i32": lambda a: np.full(len(a), i32(a).max()),
    "vredminu.i32": lambda a: np.full(len(a), a.min()),
    "vredmaxu.i32": lambda a: np.full(len(a), a.max()),
    "vtrans.b8": lambda a: _words(a.view(np.uint8).reshape(8, -1).T),
    "vtrans.b16": lambda a: _words(a.view(np.uint16).reshape(4, -1).T),
    "vtrans.b32": lambda a: _words(_block(a).T),
    "vtransi.b8": lambda a: _words(a.view(np.uint8).reshape(-1, 8).T),
    "vtransi.b16": lambda a: _words(a.view(np.uint16).reshape(-1, 4).T),
}
#: The FP32 functions that are not exact, with what they approximate and their error in last bits.
APPROXIMATE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "vfrcp.f32": (lambda a: 1 / a, 1.0),
    "vfrsqrt.f32": (lambda a: 1 / np.sqrt(a), 1.0),
    "vfexp2.f32": (np.exp2, 1.0),
}
MASKS: dict[str, Callable[[int, int], int]] = {
    "mand": lambda a, b: a & b,
    "mor": lambda a, b: a | b,
    "mxor": lambda a, b: a ^ b,
    "mandn": lambda a, b: a & ~b,
}
MEMORY = {"vldb", "vld.m", "vst.m", "vgather", "vgather.m", "vscatter", "vscatter.m"}
#: Rows that have a test of their own below.
DIRECTED = {"vsel", "vmv.m.x", "vmv.x.m", "vbc.x", "vbc.l", "vmv.x.v", "vslide", "vpad.b8",
            "vpad.b16", "vpad.b32", *MEMORY}  # fmt: skip


def test_every_row_of_lanes_moves_and_vector_memory_is_tested_here_or_with_the_matrix() -> None:
    units = (Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER,
             Unit.VECTOR_SIMD, Unit.VECTOR_MOVE)  # fmt: skip
    elsewhere = {"vld", "vst", *(f"vf{op}.f32" for op in ("add", "sub", "mul", "madd", "nmadd",
                 "min", "max"))}  # fmt: skip
    here = {*TWO, *COMPARES, *ONE, *APPROXIMATE, *MASKS, *DIRECTED}
    assert here | elsewhere == {row.name for row in INSTRUCTIONS if row.unit in units}


@pytest.mark.parametrize("name", TWO)
def test_two_registers_are_combined_lane_by_lane(execute, node, name: str) -> None:
    for first, second, destination in ((4, 5, 6), (7, 8, 7), (10, 9, 9), (11, 11, 12)):
        a, b = (node.v[n].view(np.uint32).copy() for n in (first, second))
        before = node.v.copy()
        run(execute, node, f"{name} v{destination}, v{first}, v{second}")
        assert node.v[destination].view(np.uint32).tolist() == u32(TWO[name](a, b)).tolist()
        others = np.delete(node.v, destination, axis=0)
        assert np.array_equal(others, np.delete(before, destination, axis=0))


@pytest.mark.parametrize("name", COMPARES)
def test_a_compare_sets_the_bits_of_its_lanes_and_clears_the_others(
    execute, node, name: str
) -> None:
    lanes = node.params.fp32_lanes
    # Operands that are equal, or differ, in about half of the lanes.
    node.v[4].view(np.uint32)[::2] = node.v[5].view(np.uint32)[::2]
    for n in range(8):
        first, second = 4 + n, 5 + n
        a, b = (node.v[r].view(np.uint32) for r in (first, second))
        expected, others = COMPARES[name](a, b), np.delete(node.m, n)
        node.m[n] = ~np.uint64(0) >> np.uint64(64 - lanes)
        run(execute, node, f"{name} m{n}, v{first}, v{second}")
        assert bits(int(node.m[n]), 64).tolist() == [*expected.tolist(), *[False] * (64 - lanes)]
        assert np.array_equal(np.delete(node.m, n), others)


@pytest.mark.parametrize("name", ONE)
def test_one_register_makes_another(execute, node, name: str) -> None:
    rng = np.random.default_rng(SEED)
    lanes = node.params.fp32_lanes
    for n in (1, 2, 3, 4):  # numbers whose sums do not overflow
        f32(node.v[n].view(np.uint32))[:] = rng.normal(0, 100, lanes).astype(np.float32)
    f32(node.v[2].view(np.uint32))[:2] = (-0.0, 0.0)
    f32(node.v[3].view(np.uint32))[1::2] = (np.arange(lanes // 2) + 0.5) * 2.0**22
    for source, destination in ((1, 20), (2, 20), (3, 3), (4, 4), (5, 20), (6, 6), (7, 21)):
        before = node.v.copy()
        with np.errstate(invalid="ignore", over="ignore"):
            expected = u32(ONE[name](node.v[source].view(np.uint32).copy()))
        run(execute, node, f"{name} v{destination}, v{source}")
        assert node.v[destination].view(np.uint32).tolist() == expected.tolist()
        others = np.delete(node.v, destination, axis=0)
        assert np.array_equal(others, np.delete(before, destination, axis=0))


@pytest.mark.parametrize("name", APPROXIMATE)
def test_approximations_are_within_their_error(execute, node, name: str) -> None:
    rng = np.random.default_rng(SEED)
    function, ulps = APPROXIMATE[name]
    lanes = node.params.fp32_lanes
    for _ in range(8):
        x = np.exp2(rng.uniform(-20, 6.9, lanes)).astype(np.float32)
        if name != "vfrsqrt.f32":
            x *= rng.choice(np.array([-1, 1], np.float32), lanes)
        node.v[4] = x.view(np.uint8)
        run(execute, node, f"{name} v5, v4")
        exact = function(x.astype(np.float64))
        error = np.abs(node.v[5].view(np.float32) - exact)
        assert (error <= ulps * np.spacing(np.abs(exact).astype(np.float32))).all()


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_combined_bit_by_bit(execute, node, name: str) -> None:
    for first, second, destination in ((1, 2, 3), (4, 5, 4), (6, 7, 7), (0, 0, 1)):
        expected = node.m.tolist()
        expected[destination] = MASKS[name](expected[first], expected[second])
        run(execute, node, f"{name} m{destination}, m{first}, m{second}")
        assert node.m.tolist() == expected


def test_masks_move_to_and_from_scalar_registers(execute, node) -> None:
    lanes, value = node.params.fp32_lanes, 0xFEDC_BA98_7654_3210
    before = node.m.tolist()
    run(execute, node, f"li a3, {value}\nvmv.m.x m5, a3\nvmv.x.m a4, m5\nvmv.x.m a5, m2")
    assert node.x[14] == node.m[5] == value % (1 << lanes)
    assert node.x[15] == before[2]
    assert np.delete(node.m, 5).tolist() == before[:5] + before[6:]


def test_select_takes_each_lane_from_the_register_that_the_mask_says(execute, node) -> None:
    lanes = node.params.fp32_lanes
    for first, second, destination in ((4, 5, 6), (7, 8, 7), (10, 9, 9)):
        a, b = (node.v[n].view(np.uint32).copy() for n in (first, second))
        expected = np.where(bits(int(node.m[6]), lanes), a, b)
        run(execute, node, f"vsel v{destination}, v{first}, v{second}, m6")
        assert np.array_equal(node.v[destination].view(np.uint32), expected)


def test_a_scalar_or_a_lane_is_broadcast(execute, node) -> None:
    source = node.v[4].view(np.uint32).copy()
    run(execute, node, "li a3, 0x123456789abcdef0\nvbc.x v5, a3")
    assert (node.v[5].view(np.uint32) == 0x9ABC_DEF0).all()
    for lane in range(node.params.fp32_lanes):
        run(execute, node, f"vbc.l v5, v4, {lane}\nvmv.x.v a3, v4, {lane}")
        assert (node.v[5].view(np.uint32) == source[lane]).all()
        assert int(node.x[13]) == int(source[lane].view(np.int32)) % (1 << 64)
    run(execute, node, "vbc.l v4, v4, 1")
    assert (node.v[4].view(np.uint32) == source[1]).all()


def test_a_slide_takes_a_window_of_two_registers(execute, node) -> None:
    lanes = node.params.fp32_lanes
    both = np.concatenate([node.v[4], node.v[5]]).view(np.uint32)
    for n in range(lanes + 1):
        run(execute, node, f"vslide v6, v4, v5, {n}")
        assert np.array_equal(node.v[6].view(np.uint32), both[n : n + lanes])


@pytest.mark.parametrize("width", [8, 16, 32])
def test_padding_keeps_the_first_rows_and_columns(execute, node, width: int) -> None:
    lanes = node.params.fp32_lanes
    columns = {8: 8, 16: 4, 32: {4: 2, 8: 4, 16: 4}[lanes]}[width]
    kind = {8: np.uint8, 16: np.uint16, 32: np.uint32}[width]
    rng = np.random.default_rng(SEED)
    cases = [(0, 0), (255, 255), (1, 255), (255, 1), *rng.integers(0, 9, (12, 2)).tolist()]
    for rows_kept, columns_kept in cases:
        tile = node.v[4].view(kind).reshape(-1, columns).copy()
        tile[rows_kept:], tile[:, columns_kept:] = 0, 0
        above = int(rng.integers(0, 1 << 40)) << 16  # is ignored
        scalar = above | columns_kept << 8 | rows_kept
        run(execute, node, f"li a3, {scalar}\nvpad.b{width} v5, v4, a3")
        assert np.array_equal(node.v[5].view(kind), tile.reshape(-1))


def test_one_word_is_loaded_into_every_lane(execute, node) -> None:
    words = np.random.default_rng(SEED).integers(0, 1 << 32, 64, np.uint32)
    node.memory[DATA : DATA + 256] = words.view(np.uint8)
    run(execute, node, "vldb v4, 4(a2)\naddi a3, a2, 128\nvldb v5, -4(a3)")
    assert (node.v[4].view(np.uint32) == words[1]).all()
    assert (node.v[5].view(np.uint32) == words[31]).all()


def test_masked_loads_and_stores_touch_the_lanes_in_the_mask(execute, node) -> None:
    lanes, size = node.params.fp32_lanes, node.params.vector_bytes
    words = np.random.default_rng(SEED).integers(0, 1 << 32, lanes, np.uint32)
    node.m[1], node.m[2] = 0, (1 << lanes) - 1
    for mask in range(4):
        node.memory[DATA : DATA + size] = words.view(np.uint8)
        kept, stored = node.v[4].view(np.uint32).copy(), node.v[5].view(np.uint32).copy()
        chosen = bits(int(node.m[mask]), lanes)
        run(execute, node, f"vld.m v4, (a2), m{mask}\nvst.m v5, (a2), m{mask}")
        assert np.array_equal(node.v[4].view(np.uint32), np.where(chosen, words, kept))
        memory = node.memory[DATA : DATA + size].view(np.uint32)
        assert np.array_equal(memory, np.where(chosen, stored, words))


def _offsets(node: GoldenNode, register: int, rng: np.random.Generator) -> np.ndarray:
    """Put byte offsets of words in the first 256 bytes in a register, some of them twice."""
    offsets = 4 * rng.integers(0, 64, node.params.fp32_lanes)
    offsets[-1] = offsets[0]
    node.v[register] = offsets.astype(np.uint32).view(np.uint8)
    return offsets


def test_gathers_read_the_words_at_the_lanes_offsets(execute, node) -> None:
    rng = np.random.default_rng(SEED)
    words = rng.integers(0, 1 << 32, 64, np.uint32)
    node.memory[DATA : DATA + 256] = words.view(np.uint8)
    for destination in (4, 5):  # v5 has the offsets
        offsets = _offsets(node, 5, rng)
        run(execute, node, f"vgather v{destination}, (a2), v5")
        assert np.array_equal(node.v[destination].view(np.uint32), words[offsets // 4])
        offsets = _offsets(node, 5, rng)
        kept = node.v[destination].view(np.uint32).copy()
        chosen = bits(int(node.m[3]), node.params.fp32_lanes)
        run(execute, node, f"vgather.m v{destination}, (a2), v5, m3")
        expected = np.where(chosen, words[offsets // 4], kept)
        assert np.array_equal(node.v[destination].view(np.uint32), expected)


@pytest.mark.parametrize("name", ["vscatter", "vscatter.m"])
def test_scatters_write_the_words_at_the_lanes_offsets_the_highest_lane_last(
    execute, node, name: str
) -> None:
    rng = np.random.default_rng(SEED)
    lanes = node.params.fp32_lanes
    for _ in range(4):
        memory = rng.integers(0, 1 << 32, 64, np.uint32)
        node.memory[DATA : DATA + 256] = memory.view(np.uint8)
        offsets = _offsets(node, 5, rng)
        node.m[3] = rng.integers(0, 1 << lanes)
        mask = ", m3" if name.endswith(".m") else ""
        chosen = bits(int(node.m[3]), lanes) if mask else np.ones(lanes, bool)
        for lane in np.flatnonzero(chosen):
            memory[offsets[lane] // 4] = node.v[4].view(np.uint32)[lane]
        run(execute, node, f"{name} v4, (a2), v5{mask}")
        assert np.array_equal(node.memory[DATA : DATA + 256].view(np.uint32), memory)


def test_an_offset_is_unsigned_and_the_sum_has_64_bits(execute, node) -> None:
    node.memory[DATA : DATA + 4] = (1, 2, 3, 4)
    node.v[5].view(np.uint32)[:] = 0xFFFF_FFFC
    run(execute, node, f"li a3, {DATA - 0xFFFF_FFFC}\nvgather v4, (a3), v5")
    assert (node.v[4].view(np.uint32) == 0x0403_0201).all()


@pytest.mark.parametrize("name", ["vgather", "vgather.m", "vscatter", "vscatter.m"])
@pytest.mark.parametrize("fault", ["misaligned", "outside"])
def test_a_bad_lane_stops_the_thread_and_nothing_is_done(
    execute, node, name: str, fault: str
) -> None:
    lanes, sram = node.params.fp32_lanes, node.params.sram_bytes
    offsets = 4 * np.arange(lanes, dtype=np.uint32)
    offsets[1], offsets[3] = (2, 1) if fault == "misaligned" else (sram - DATA, sram)
    node.v[5], node.m[3] = offsets.view(np.uint8), (1 << lanes) - 1 - 2
    masked = name.endswith(".m")
    before = node.v.copy(), node.memory[DATA:].copy()
    execute(f"li a2, {DATA}\n{name} v4, (a2), v5{', m3' if masked else ''}\necall", node=node)
    assert node.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.VECTOR_FAULT
    first = 3 if masked else 1  # lane 1 is not in the mask
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == DATA + int(offsets[first])
    assert np.array_equal(node.v, before[0]) and np.array_equal(node.memory[DATA:], before[1])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("vldb v4, 2(a2)", DATA + 2),
        ("vldb v4, -4(x0)", (1 << 64) - 4),
        ("addi a2, a2, 4\nvld.m v4, (a2), m0", DATA + 4),
        ("addi a2, a2, 8\nvst.m v4, (a2), m0", DATA + 8),
        ("li a2, 0x800000\nvst.m v4, (a2), m0", 0x80_0000),
    ],
)
def test_masked_and_broadcast_accesses_are_checked_whatever_the_mask(
    execute, node, text: str, address: int
) -> None:
    node.m[0] = 0
    before = node.v.copy()
    execute(f"li a2, {DATA}\n{text}\necall", node=node)
    assert node.status is ThreadStatus.FAULTED
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.VECTOR_FAULT
    assert node.thread_register(ThreadRegister.FAULT_VALUE) == address
    assert np.array_equal(node.v, before)


def test_lanes_slides_and_threads_that_the_preset_lacks_are_illegal(execute, node) -> None:
    lanes, threads = node.params.fp32_lanes, node.params.threads
    words = [
        encode("vbc.l", vd=1, vs1=2, lane=lanes),
        encode("vmv.x.v", rd=1, vs1=2, lane=31),
        encode("vslide", vd=1, vs1=2, vs2=3, slide=lanes + 1),
        encode("vslide", vd=1, vs1=2, vs2=3, slide=31),
        encode("barrier", imm=1 << threads),
        encode("barrier", imm=31),
        # Bits of a mask's field above its three.
        INSTRUCTION_BY_NAME["mand"].match | 1 << 10,
        INSTRUCTION_BY_NAME["mand"].match | 1 << 18,
        INSTRUCTION_BY_NAME["mand"].match | 1 << 24,
        INSTRUCTION_BY_NAME["vfeq.f32"].match | 1 << 11,
        INSTRUCTION_BY_NAME["vgather"].match | 1 << 25,
    ]
    before = node.v.copy()
    for word in words:
        execute(f".word {word}", node=node)
        assert node.thread_register(ThreadRegister.CAUSE) == Cause.ILLEGAL_INSTRUCTION, hex(word)
        assert node.thread_register(ThreadRegister.FAULT_VALUE) == word
    assert np.array_equal(node.v, before)
