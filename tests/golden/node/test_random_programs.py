from collections import Counter

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.isa import INSTRUCTIONS, Unit, decode
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.node.random_programs import (
    DEFAULT_MIX,
    SCALAR_MIX,
    ProgramOptions,
    RandomProgram,
    random_program,
    shrink,
)
from d1_golden.params import PRESETS, NodeParams, preset

SEED = 20250118
PROGRAMS = 60


def options_of(seed: int) -> ProgramOptions:
    return ProgramOptions(
        length=400,
        traps=0.1 * (seed % 3),
        control=bool(seed & 1),
        mix=SCALAR_MIX if seed % 5 == 0 else DEFAULT_MIX,
    )


def run(program: RandomProgram) -> GoldenNode:
    node = GoldenNode(program.params)
    assert not len(node.exchange(program.requests()))
    node.start(program.options.base)
    node.run(program.max_instructions)
    return node


@pytest.mark.parametrize("name", PRESETS)
def test_programs_end_by_halting_within_their_bound_and_cover_the_table(name: str) -> None:
    print(f"SEED={SEED}")
    executed: Counter[str] = Counter()
    for seed in range(SEED, SEED + PROGRAMS):
        program = random_program(preset(name), seed, options_of(seed))
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        records = node.run_traced(program.max_instructions)
        assert node.status is ThreadStatus.HALTED, seed
        assert node.thread_register(ThreadRegister.FAULT_PC) == 4 * (len(program.words) - 1)
        for word, count in zip(*np.unique(records["insn"], return_counts=True), strict=True):
            row = decode(int(word))
            assert row is not None
            executed[row.name] += int(count)
    # ecall and ebreak never retire; the test below sees their traps.
    missing = {row.name for row in INSTRUCTIONS} - executed.keys()
    assert missing == {"ecall", "ebreak"}


def test_traps_of_every_scalar_cause_are_taken() -> None:
    causes: Counter[int] = Counter()
    for seed in range(SEED, SEED + 20):
        program = random_program(preset("tiny"), seed, ProgramOptions(traps=0.5))
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        for _ in range(program.max_instructions):
            before = node.read_csr("minstret")
            if not node.run(1):
                break
            if node.read_csr("minstret") == before:
                causes[node.read_csr("mcause")] += 1
    expected = set(Cause) - {Cause.INSTRUCTION_ACCESS_FAULT, Cause.VECTOR_FAULT}
    assert causes.keys() >= expected


def test_a_seed_always_gives_the_same_program() -> None:
    programs = [random_program(preset("tiny"), SEED, options_of(SEED)) for _ in range(2)]
    assert np.array_equal(programs[0].words, programs[1].words)
    assert np.array_equal(programs[0].data, programs[1].data)
    other = random_program(preset("tiny"), SEED + 1, options_of(SEED))
    assert not np.array_equal(programs[0].words, other.words)


@pytest.mark.parametrize("name", PRESETS)
def test_the_dump_holds_every_register(name: str) -> None:
    program = random_program(preset(name), SEED)
    node = run(program)
    params = program.params
    dumped = {
        place: node.memory[address : address + size].tobytes()
        for place, address, size in program.dump
    }
    vectors = {f"v{n}" for n in range(32)}
    parts = {
        f"acc{n}.{part}"
        for n in range(params.accumulators)
        for part in range(params.accumulator_parts)
    }
    assert dumped.keys() >= {f"x{n}" for n in range(1, 32) if n != 26} | vectors | parts
    # x1 and v0 carry CSRs and accumulators at the end; all others are still what was dumped.
    for n in (n for n in range(2, 32) if n != 26):
        assert dumped[f"x{n}"] == node.x[n].tobytes()
    for n in range(1, 32):
        assert dumped[f"v{n}"] == node.v[n].tobytes()
    for n in range(params.accumulators):
        joined = b"".join(dumped[f"acc{n}.{p}"] for p in range(params.accumulator_parts))
        assert joined == node.acc[n].tobytes()
    assert dumped["mseed"] == node.read_csr("mseed").to_bytes(8, "little")


def test_differences_are_named_by_register_or_address() -> None:
    program = random_program(preset("tiny"), SEED)
    expected = run(program).memory
    assert not list(program.differences(expected, expected.copy()))
    actual = expected.copy()
    place, address, _ = program.dump[40]
    actual[address] ^= 1
    actual[program.data_base + 17] ^= 1
    names = [name for name, _, _ in program.differences(expected, actual)]
    assert names == [place, f"[{program.data_base + 16:#x}]"]


def test_programs_touch_nothing_outside_their_windows() -> None:
    for seed in range(SEED, SEED + 10):
        program = random_program(preset("tiny"), seed, ProgramOptions(base=0x400))
        node = GoldenNode(program.params)
        node.memory[:] = 0xA5
        node.exchange(program.requests())
        before = node.memory.copy()
        node.start(0x400)
        node.finish(program.max_instructions)
        assert np.array_equal(node.memory[: program.data_base], before[: program.data_base])
        assert (node.memory[program.end :] == 0xA5).all()


def test_shrinking_leaves_what_the_failure_needs() -> None:
    # The failure: some mulhu is executed whose product has an odd upper half.
    def fails(program: RandomProgram) -> bool:
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        records = node.run_traced(program.max_instructions)
        hits = [
            r
            for r in records
            if (row := decode(int(r["insn"]))) is not None and row.name == "mulhu"
        ]
        return any(r["rd_valid"] and r["value"] & 1 for r in hits)

    program = next(
        p for seed in range(SEED, SEED + 50) if fails(p := random_program(preset("tiny"), seed))
    )
    shrunk = shrink(program, fails)
    assert fails(shrunk)
    listing = shrunk.listing().splitlines()
    assert 1 <= len(listing) <= 8
    assert sum("mulhu" in line for line in listing) == 1
    outside = np.ones(len(program.words), bool)
    outside[program.body.start : program.body.stop] = False
    assert np.array_equal(shrunk.words[outside], program.words[outside])


def test_a_program_that_does_not_fail_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match=f"program must fail before it is shrunk; seed {SEED} "):
        shrink(random_program(preset("tiny"), SEED), lambda _: False)


def test_a_program_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="program must fit 65536 bytes of SRAM, not end at 0x"):
        random_program(preset("tiny"), SEED, ProgramOptions(length=20_000))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1, not 0"),
        ({"mix": {}}, "mix must have a positive weight"),
        ({"mix": {Unit.ALU: 0.0}}, "mix must have a positive weight"),
        ({"traps": 1.5}, r"traps must be in 0\.\.1, not 1\.5"),
        ({"base": 4}, "base must be a multiple of 64, not 4"),
        ({"data_bytes": 4096}, "data_bytes must be a multiple of 64 of at least 8192, not 4096"),
        ({"max_loop": 0}, "max_loop must be at least 1, not 0"),
    ],
)
def test_bad_options_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProgramOptions(**arguments)


def test_a_mix_of_one_unit_has_no_other_in_its_body() -> None:
    params: NodeParams = preset("tiny")
    program = random_program(params, SEED, ProgramOptions(mix={Unit.MATRIX: 1.0}))
    rows = [decode(int(program.words[index])) for index in program.body]
    assert {row.unit for row in rows if row is not None} == {Unit.MATRIX}
