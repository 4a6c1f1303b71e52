"""Workloads of several threads and their comparison, with the golden node in the RTL's place."""

from itertools import pairwise

import numpy as np
import pytest
from d1_golden.isa import INSTRUCTION_BY_NAME, Unit, decode
from d1_golden.memory_map import ThreadStatus
from d1_golden.node.random_programs import RandomProgram
from d1_golden.params import PRESETS, NodeParams, preset
from d1_rtl.sim.retire_order import LINK_RETIRE_DTYPE
from numpy.typing import NDArray

from testbench.checker import Outcome, compare, run_golden
from testbench.workload import Case, Workload


def with_cycles(retired: NDArray[np.void]) -> NDArray[np.void]:
    """Return golden's trace as a simulation would record it, threads interleaved otherwise."""
    records = np.zeros(len(retired), LINK_RETIRE_DTYPE)
    for name in retired.dtype.names or ():
        records[name] = retired[name]
    for thread in np.unique(retired["thread"]):
        own = retired["thread"] == thread
        records["cycle"][own] = 3 * np.arange(own.sum()) + thread
    return records[np.argsort(records["cycle"])]


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Case(preset("tiny"), 51).workload()


@pytest.fixture(scope="module")
def golden(workload: Workload) -> Outcome:
    return run_golden(workload)


@pytest.fixture
def rtl(golden: Outcome) -> Outcome:
    memory = golden.memory.copy()
    return Outcome(with_cycles(golden.retired), dict(golden.states), memory)


@pytest.mark.parametrize("params", PRESETS.values(), ids=PRESETS)
def test_most_cases_use_every_thread_and_each_thread_is_alone_in_some(params: NodeParams) -> None:
    cases = [Case(params, seed) for seed in range(64)]
    alone = {case.threads for case in cases if len(case.threads) == 1}
    assert alone == {(thread,) for thread in range(params.threads)}
    assert sum(case.threads == tuple(range(params.threads)) for case in cases) >= 48


def test_programs_of_a_workload_do_not_overlap_and_all_halt(
    workload: Workload, golden: Outcome
) -> None:
    programs = list(workload.programs.values())
    for before, after in pairwise(programs):
        assert before.end <= after.options.base
    assert programs[-1].end == workload.end <= workload.params.sram_bytes
    assert [state[0] for state in golden.states.values()] == [ThreadStatus.HALTED] * 4
    assert np.unique(golden.retired["thread"]).tolist() == [0, 1, 2, 3]


def test_how_threads_interleave_is_no_difference(
    workload: Workload, golden: Outcome, rtl: Outcome
) -> None:
    assert not np.array_equal(rtl.retired["thread"], golden.retired["thread"])
    assert compare(workload, golden, rtl) is None


def test_the_earliest_difference_of_any_thread_is_told(
    workload: Workload, golden: Outcome, rtl: Outcome
) -> None:
    for thread, n in ((1, 90), (3, 40)):
        place = np.flatnonzero(rtl.retired["thread"] == thread)[n]
        rtl.retired["pc"][place] += 4
    mismatch = compare(workload, golden, rtl)
    assert mismatch is not None
    assert mismatch.text.startswith("retired instruction 40 of thread 3 differs")
    assert mismatch.cycle == 3 * 40 + 3


def test_a_missing_instruction_of_one_thread_is_a_difference(
    workload: Workload, golden: Outcome, rtl: Outcome
) -> None:
    last = np.flatnonzero(rtl.retired["thread"] == 2)[-1]
    shorter = rtl._replace(retired=np.delete(rtl.retired, last))
    mismatch = compare(workload, golden, shorter)
    assert mismatch is not None
    assert "thread 2 retired" in mismatch.text and "only golden retired" in mismatch.text


def test_registers_and_memory_of_each_thread_are_compared(
    workload: Workload, golden: Outcome, rtl: Outcome
) -> None:
    name, address, _ = workload.programs[2].dump[3]
    rtl.memory[address] ^= 1
    mismatch = compare(workload, golden, rtl)
    assert mismatch is not None and mismatch.text.startswith(f"{name} of thread 2 differs")
    status, *rest = rtl.states[1]
    rtl.states[1] = (ThreadStatus.FAULTED, *rest)
    mismatch = compare(workload, golden, rtl)
    assert status == ThreadStatus.HALTED and mismatch is not None
    assert "FAULT_VALUE of thread 1 differ" in mismatch.text


def test_shrinking_leaves_the_thread_and_the_instruction_that_fail(workload: Workload) -> None:
    row = INSTRUCTION_BY_NAME["mulh"]

    def body(program: RandomProgram) -> NDArray[np.uint32]:
        return program.words[program.body.start : program.body.stop]

    def fails(candidate: Workload) -> bool:
        return 2 in candidate.programs and any(body(candidate.programs[2]) & row.mask == row.match)

    assert fails(workload)
    small = workload.shrink(fails)
    assert list(small.programs) == [2]
    heading, line = small.listing().splitlines()
    assert heading == "thread 2:"
    assert line.split()[2] == "mulh"


def test_shrinking_leaves_no_thread_waiting_for_others() -> None:
    workload = Case(preset("tiny"), 41).workload()
    assert any("barrier" in program.listing() for program in workload.programs.values())
    small = workload.shrink(lambda candidate: 3 in candidate.programs)
    assert small.listing().splitlines() == ["thread 3:", "(none: set-up or dump)"]


def test_without_control_a_program_uses_only_what_a_core_has() -> None:
    outside = (Unit.TRANSFER, Unit.SEMAPHORE, Unit.LINK)
    for control in (True, False):
        units, meetings = set(), 0
        for seed in range(41, 47):
            for program in Case(preset("tiny"), seed, control=control).workload().programs.values():
                meetings += len(program.options.meetings)
                rows = map(decode, program.words[program.body.start : program.body.stop].tolist())
                units |= {row.unit for row in rows if row is not None}
        assert units.issuperset(outside) if control else units.isdisjoint(outside)
        assert (meetings > 0) == control
