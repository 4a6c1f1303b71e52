from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.isa import INSTRUCTIONS, Unit, decode, encode
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.node.random_meetings import Meeting, random_meetings
from d1_golden.node.random_programs import (
    DEFAULT_MIX,
    SCALAR_MIX,
    ProgramOptions,
    RandomProgram,
    count_rows,
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
def test_programs_end_by_halting_within_their_bound_and_execute_every_row_often(name: str) -> None:
    print(f"SEED={SEED}")
    executed: Counter[str] = Counter()
    total = 0
    for seed in range(SEED, SEED + PROGRAMS):
        program = random_program(preset(name), seed, options_of(seed))
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        records = node.run_traced(program.max_instructions)
        assert node.status is ThreadStatus.HALTED, seed
        assert node.thread_register(ThreadRegister.FAULT_PC) == 4 * (len(program.words) - 1)
        total += len(records)
        executed += count_rows(program, records)
    assert total > 40_000
    # A hundred times in a million.
    rare = {row.name for row in INSTRUCTIONS if executed[row.name] < 100e-6 * total}
    assert not rare


def test_counting_takes_instructions_that_trapped_and_refuses_words_that_are_none() -> None:
    program = random_program(preset("tiny"), SEED, ProgramOptions(traps=0.5))
    node = GoldenNode(program.params)
    node.exchange(program.requests())
    node.start(0)
    records = node.run_traced(program.max_instructions)
    counts = count_rows(program, records)
    assert counts["ebreak"] > 0 and counts["ecall"] > 0
    assert counts["mret"] == sum(1 for r in records if r["insn"] == encode("mret"))
    records["insn"][5] = 0
    with pytest.raises(ValueError, match="retired words must be instructions, not 0x00000000"):
        count_rows(program, records)


@pytest.mark.parametrize("name", PRESETS)
def test_a_program_may_end_by_a_vector_fault_that_has_no_effect(name: str) -> None:
    rows = set()
    for seed in range(SEED, SEED + 40):
        program = random_program(preset(name), seed, ProgramOptions(length=20, vector_fault=True))
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        last = 4 * (len(program.words) - 1)
        while node.pc != last:
            assert node.run(1) == 1
        before = node.memory.copy(), node.v.copy(), node.acc.copy()
        node.run(1)
        assert node.status is ThreadStatus.FAULTED
        assert node.thread_register(ThreadRegister.CAUSE) == Cause.VECTOR_FAULT
        assert node.thread_register(ThreadRegister.FAULT_PC) == last
        assert all(map(np.array_equal, before, (node.memory, node.v, node.acc)))
        row = decode(int(program.words[-1]))
        assert row is not None
        rows.add(row.unit)
    assert rows == {Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY, Unit.VECTOR_GATHER,
                    Unit.VECTOR_SCATTER}  # fmt: skip


def test_programs_execute_instructions_that_they_wrote_themselves() -> None:
    changed = 0
    for seed in range(SEED, SEED + 20):
        program = random_program(preset("tiny"), seed)
        node = GoldenNode(program.params)
        node.exchange(program.requests())
        node.start(0)
        records = node.run_traced(program.max_instructions)
        changed += int((program.words[records["pc"] // 4] != records["insn"]).sum())
    assert changed > 10


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
    stops = {Cause.INSTRUCTION_ACCESS_FAULT, Cause.VECTOR_FAULT, Cause.HARDWARE_ERROR}
    expected = set(Cause) - stops
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
    for n in range(8):
        assert dumped[f"m{n}"] == node.m[n].tobytes()
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
        body = program.body  # which may change itself
        before[0x400 + 4 * body.start : 0x400 + 4 * body.stop] = node.memory[
            0x400 + 4 * body.start : 0x400 + 4 * body.stop
        ]
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
    assert 1 <= len(listing) <= 10
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
        ({"thread": 4}, r"thread must be in 0\.\.3, not 4"),
        ({"node": -1}, r"node must be in 0\.\.4294967295, not -1"),
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


def team(
    name: str, seed: int, *, base: int = 0x100
) -> tuple[dict[int, RandomProgram], tuple[Meeting, ...]]:
    """Return a program for every thread, and where they meet."""
    params = preset(name)
    threads = range(params.threads)
    meetings = random_meetings(params, seed, threads, base, 8)
    programs, end = {}, meetings[-1].end
    for thread in threads:
        options = ProgramOptions(length=200, traps=0.05, base=end, thread=thread, meetings=meetings)
        programs[thread] = random_program(params, seed + thread, options)
        end = programs[thread].end
    return programs, meetings


def run_team(
    programs: dict[int, RandomProgram], order: Sequence[int], delay: int
) -> tuple[GoldenNode, np.ndarray]:
    """Start the threads in an order, `delay` instructions apart; return the node and its trace."""
    node = GoldenNode(programs[0].params)
    records = []
    for program in programs.values():
        node.exchange(program.requests())
    for thread in order:
        node.start(programs[thread].options.base, thread=thread)
        records.append(node.run_traced(delay))
    records.append(node.run_traced(sum(p.max_instructions for p in programs.values())))
    return node, np.concatenate(records)


@pytest.mark.parametrize("name", PRESETS)
def test_threads_that_meet_do_the_same_in_whatever_order_they_run(name: str) -> None:
    print(f"SEED={SEED}")
    shared, waits = 0, 0
    for seed in range(SEED, SEED + 12):
        programs, meetings = team(name, seed)
        node, trace = run_team(programs, list(programs), 0)
        assert all(thread.status is ThreadStatus.HALTED for thread in node.threads), node.waiting
        other, other_trace = run_team(programs, [*reversed(programs)], 37 + seed % 5 * 100)
        assert np.array_equal(node.memory, other.memory), seed
        for thread, program in programs.items():
            left, right = (t[t["thread"] == thread] for t in (trace, other_trace))
            assert np.array_equal(left, right), (seed, thread)
            waits += count_rows(program, left)["swait"]
        shared += sum(node.memory[m.address : m.end].any() for m in meetings)
    assert shared > 50 and waits > 30


def test_meetings_have_lines_and_semaphores_of_their_own() -> None:
    for seed in range(SEED, SEED + 50):
        meetings = random_meetings(preset("d1"), seed, (0, 1, 3), 0x400, 40)
        assert meetings == random_meetings(preset("d1"), seed, (0, 1, 3), 0x400, 40)
        assert len(meetings) == 40
        lines = [m.line(giver) for m in meetings for giver in m.givers]
        assert lines == [0x400 + 64 * n for n in range(len(lines))]
        numbers = [m.semaphore for m in meetings if m.semaphore is not None]
        assert len(set(numbers)) == len(numbers) > 4 and min(numbers) >= 16
        for meeting in meetings:
            assert meeting.threads <= {0, 1, 3} and len(meeting.threads) > 1
            if meeting.semaphore is None:
                assert meeting.givers == meeting.takers


def test_one_thread_has_no_meetings() -> None:
    assert random_meetings(preset("tiny"), SEED, (2,), 0, 5) == ()


def test_lines_of_meetings_are_aligned() -> None:
    with pytest.raises(ValueError, match="base must be a multiple of 64, not 4"):
        random_meetings(preset("tiny"), SEED, (0, 1), 4, 5)


def test_programs_for_another_node_send_to_it() -> None:
    place = 0x0201_0403
    for seed in range(SEED, SEED + 10):
        options = ProgramOptions(mix={Unit.TRANSFER: 1.0}, node=place, thread=1, length=60)
        program = random_program(preset("tiny"), seed, options)
        node = GoldenNode(program.params, place)
        node.exchange(program.requests())
        node.start(0, thread=1)
        node.finish(program.max_instructions)
        assert node.threads[1].status is ThreadStatus.HALTED
        assert not node.state.semaphore.any()
        upper = slice(program.data_base + 4096, program.data_base + 8192)
        before = program.data[4096:8192]
        assert not np.array_equal(node.memory[upper], before)
        assert np.array_equal(node.memory[program.data_base : upper.start], program.data[:4096])
