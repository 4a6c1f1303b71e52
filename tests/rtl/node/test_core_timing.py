"""Cycles: the latencies and throughputs that docs/pipeline.md shows, instruction by instruction."""

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.memory_map import (
    Command,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.packet import read_requests, write_requests
from d1_golden.params import LINE_BYTES

from testbench.core_timing import (
    ACCUMULATOR_RESULTS,
    ACCUMULATOR_USERS,
    GATHER,
    MASK_RESULTS,
    MASK_USERS,
    PREAMBLE,
    RATES,
    SCALAR_RESULTS,
    SCALAR_USERS,
    STORE_TO_LOAD,
    VECTOR_RESULTS,
    VECTOR_USERS,
    Rate,
    Result,
    User,
)

_BASE = 0x400
_MAX_CYCLES = 20_000
#: Rounds of a loop; the first ones fill the instruction store and teach the branch predictor.
_ROUNDS, _WARM = 8, 3
#: Rounds when threads share slots: in which of them one or the other gets more evens out.
_SHARED_ROUNDS = 64
#: Cycles in which nothing of the round before is left: the slowest result takes 30.
_QUIET = "nop\n" * 64


def _run(machine, text: str, threads: int = 1) -> tuple[dict[str, int], np.ndarray]:
    """Run a program on some threads of the RTL; return its labels and what retired."""
    program = assemble(text, _BASE)
    link = machine.link
    link.exchange(write_requests(_BASE, program.code), _MAX_CYCLES)
    link.take_retired()
    for thread in range(threads):
        line = b"".join(v.to_bytes(8, "little") for v in (_BASE, 0, Command.START))
        address = register_address(ThreadRegister.PC, thread)
        link.exchange(write_requests(address, line), _MAX_CYCLES)
    link.run(_MAX_CYCLES)
    for thread in range(threads):
        address = register_address(ThreadRegister.PC, thread)
        (reply,) = link.exchange(read_requests(address, LINE_BYTES), _MAX_CYCLES)
        state = reply["data"].view("<u8").tolist()
        assert state[ThreadRegister.STATUS] == ThreadStatus.HALTED, state
    retired, dropped = link.take_retired()
    assert dropped == 0
    return program.labels, retired


def _times(retired: np.ndarray, pc: int, thread: int = 0) -> np.ndarray:
    """Return the cycles in which a thread executed the instruction at an address."""
    chosen = (retired["pc"] == pc) & (retired["thread"] == thread)
    return retired["cycle"][chosen].astype(np.int64)


def _distance(machine, code: str) -> int:
    """Return the cycles from the instruction labelled `first` to that labelled `last`.

    They are taken in a loop whose code is in the instruction store and whose branch is predicted.
    """
    text = f"""{PREAMBLE}
        li s11, {_ROUNDS}
        j again
        .align 6
        again:
        {_QUIET}
        {code}
        addi s11, s11, -1
        bnez s11, again
        ecall
    """
    labels, retired = _run(machine, text)
    first, last = (_times(retired, labels[name])[_WARM:-1] for name in ("first", "last"))
    distances = set((last - first).tolist())
    assert len(distances) == 1, f"every round must take the same time, not {distances}"
    return distances.pop()


def _pair(result: Result, user: User) -> str:
    """Return code that makes a result and uses it."""
    *before, last = f"{user.code}\n{user.tail}".strip().split("\n")
    return "\n".join([f"first: {result.code}", *before, f"last: {last}"])


def _by_name(results: tuple[Result, ...]) -> list[object]:
    return [pytest.param(result, id=result.name) for result in results]


def _check(machine, result: Result, users: dict[str, User]) -> None:
    latency = result.cycles(machine.params)
    measured = {
        name: _distance(machine, _pair(result, user)) - user.cycles for name, user in users.items()
    }
    assert measured == dict.fromkeys(users, latency)


@pytest.mark.parametrize("result", _by_name(SCALAR_RESULTS))
def test_a_scalar_result_takes_the_documented_time_to_every_user(machine, result):
    _check(machine, result, SCALAR_USERS)


@pytest.mark.parametrize("result", _by_name(VECTOR_RESULTS))
def test_a_vector_takes_the_documented_time_to_every_user(machine, result):
    _check(machine, result, VECTOR_USERS)


@pytest.mark.parametrize("result", _by_name(MASK_RESULTS))
def test_a_mask_takes_the_documented_time_to_every_user(machine, result):
    _check(machine, result, MASK_USERS)


@pytest.mark.parametrize("result", _by_name(ACCUMULATOR_RESULTS))
def test_an_accumulator_takes_the_documented_time_to_every_user(machine, result):
    _check(machine, result, ACCUMULATOR_USERS)


@pytest.mark.parametrize(
    ("code", "cycles"),
    [
        pytest.param("first: remu t0, t1, t2\nlast: remu a3, t1, t2", 6, id="two divisions"),
        pytest.param("first: div t0, t1, t2\nlast: mul a3, t1, t2", 1, id="division, mul"),
        pytest.param("first: sd t1, 0(a1)\nld t0, 0(a1)\nlast: mv a3, t0", 3, id="store, load"),
        pytest.param("first: ld t0, 0(a1)\nsd t1, 0(a1)\nlast: mv a3, t0", 2, id="load, store"),
        pytest.param("first: sd t1, 64(a1)\nlast: ld t0, 0(a1)", 0, id="store, load elsewhere"),
        pytest.param("first: sw t1, 0(a1)\nlast: sd t1, 64(a1)", 2, id="word, next store"),
        pytest.param("first: vst v3, 0(a1)\nlast: ld t0, 0(a1)", STORE_TO_LOAD, id="vst, load"),
        pytest.param("first: vst v3, 0(a1)\nlast: sd t1, 64(a1)", STORE_TO_LOAD, id="vst, store"),
        pytest.param("first: vld v3, 0(a1)\nlast: sd t1, 64(a1)", 3, id="vld, store"),
        pytest.param("first: vst v3, 0(a1)\nlast: fence", STORE_TO_LOAD, id="vst, fence"),
        pytest.param("first: vgather v1, (a1), v8\nlast: nop", 2, id="gather, next"),
        pytest.param("first: ld t0, 0(a1)\nlast: csrr t3, mscratch", 1, id="alone"),
        pytest.param("csrr t0, mscratch\nfirst: csrr t0, mscratch\nlast: nop", 1, id="alone too"),
    ],
)
def test_order_and_units_cost_what_the_page_says(machine, code, cycles):
    assert _distance(machine, code) == cycles


def test_a_predicted_branch_costs_nothing_but_the_end_of_its_group(machine):
    assert _distance(machine, "first: beq x0, x0, over\nnop\nover:\nlast: nop") == 1
    assert _distance(machine, "first: bne x0, x0, over\nlast: nop\nover: nop") == 1


@pytest.mark.parametrize(
    ("target", "cycles"),
    [("nop\nlast: nop", 3), (".align 9\nlast: nop", 6)],
    ids=["in the instruction store", "not there"],
)
def test_a_wrong_prediction_costs_a_fetch(machine, target, cycles):
    # Executed once, so that nothing is known of the branch; fetch has run ahead by then and rests.
    divide = "li t4, -1\nli t5, 1\ndivu t0, t4, t5"
    text = f"{divide}\nfirst: bne t0, x0, last\n{target}\necall"
    labels, retired = _run(machine, text)
    (first,), (last,) = (_times(retired, labels[name]) for name in ("first", "last"))
    assert last - first == cycles


def test_a_gather_is_done_a_cycle_later_for_each_further_line(machine):
    table = machine.params.fp32_lanes * 4
    offsets = "".join(f"sw {'t5' if n else 'x0'}, {n * 4}(a4)\n" for n in range(table // 4))
    spread = f"li a4, 0x5000\nli t5, {LINE_BYTES}\n{offsets}fence\nvld v9, 0(a4)\n"
    one = _distance(machine, "first: fence\nlast: vgather v1, (a1), v8")
    code = f"{spread}{_QUIET}first: fence\nlast: vgather v1, (a1), v9"
    assert one == 1 + GATHER
    assert _distance(machine, code) == one + 1


_RATE_PREAMBLE = """
    csrr t0, mhartid
    slli t0, t0, 6
    li a1, 0x4000
    add a1, a1, t0
    xori t0, t0, 64
    li a2, 0x5000
    add a2, a2, t0
    li a3, 3
    li t1, 0x800000
    vbc.x v0, x0
"""


def _round(machine, rate: Rate, threads: int, rounds: int) -> list[float]:
    """Return the cycles of a round of each thread when some execute a loop at once."""
    text = f"""{_RATE_PREAMBLE}
        li s0, {rounds}
        barrier {(1 << threads) - 1}
        j again
        .align 6
        again:
        addi s0, s0, -1
        {rate.code}
        bnez s0, again
        barrier {(1 << threads) - 1}
        ecall
    """
    labels, retired = _run(machine, text, threads)
    means = []
    for thread in range(threads):
        # The last rounds, in which some threads may be done, do not count.
        times = _times(retired, labels["again"], thread)[_WARM : -_WARM + 1]
        means.append(float(np.diff(times).mean()))
    return means


@pytest.mark.parametrize("rate", [pytest.param(rate, id=rate.name) for rate in RATES])
def test_one_thread_executes_as_many_as_the_page_says(machine, rate):
    assert _round(machine, rate, 1, _ROUNDS) == [rate.alone * rate.instructions + rate.rest]


@pytest.mark.parametrize("rate", [pytest.param(rate, id=rate.name) for rate in RATES])
def test_four_threads_execute_as_many_as_the_page_says_and_share_evenly(machine, rate):
    threads = machine.params.threads
    rounds = _round(machine, rate, threads, _SHARED_ROUNDS)
    best = threads * rate.together * rate.instructions
    # Rounds of one thread may begin a little late and end in time.
    assert 0.999 * best <= min(rounds) and max(rounds) <= best + threads * max(rate.rest, 1)
    assert max(rounds) <= 1.05 * min(rounds)
