"""The order of retired instructions, on synthetic traces."""

import numpy as np
import pytest
from d1_rtl.sim.retire_order import (
    LATE_DTYPE,
    LINK_RETIRE_DTYPE,
    SLOT_DTYPE,
    RetireOrder,
    TraceError,
)

SEED = 51


def slot(cycle, pc, *, thread=0, order=0, rd=0, value=0, pending=False):
    record = np.zeros(1, SLOT_DTYPE)
    for name, content in (("cycle", cycle), ("pc", pc), ("thread", thread), ("order", order)):
        record[name] = content
    record["rd"], record["rd_valid"], record["value"] = rd, rd != 0, value
    record["pending"] = pending
    return record


def late(cycle, rd, value, *, thread=0):
    result = np.zeros(1, LATE_DTYPE)
    result["cycle"], result["rd"], result["value"], result["thread"] = cycle, rd, value, thread
    return result


def take(order, slots=(), results=()):
    slots = np.concatenate([np.zeros(0, SLOT_DTYPE), *slots])
    return order.take(slots, np.concatenate([np.zeros(0, LATE_DTYPE), *results]))


def test_instructions_of_one_cycle_come_in_their_order_whatever_their_slots():
    shown = [slot(5, 8, order=2), slot(5, 0), slot(5, 4, order=1), slot(6, 12)]
    records = take(RetireOrder(), shown)
    assert records.dtype == LINK_RETIRE_DTYPE
    assert records["pc"].tolist() == [0, 4, 8, 12]
    assert records["cycle"].tolist() == [5, 5, 5, 6]


def test_what_waits_for_its_value_holds_back_its_thread_only():
    order = RetireOrder()
    shown = [slot(1, 0, rd=5, pending=True), slot(2, 4, rd=6, value=7)]
    shown += [slot(2, 100, thread=1, rd=5, value=8)]
    records = take(order, shown)
    assert records["pc"].tolist() == [100]
    assert records["thread"].tolist() == [1]
    assert len(take(order, [slot(3, 8)])) == 0
    records = take(order, [slot(9, 12)], [late(9, 5, 77)])
    assert records["pc"].tolist() == [0, 4, 8, 12]
    assert records["value"].tolist()[:2] == [77, 7]
    assert records["cycle"].tolist() == [1, 2, 3, 9]
    assert len(take(order)) == 0


def test_values_of_one_register_go_to_its_instructions_in_order_and_by_thread():
    shown = [slot(cycle, cycle, rd=5, pending=True) for cycle in (1, 4)]
    shown += [slot(2, 2, thread=3, rd=5, pending=True)]
    results = [late(3, 5, 30), late(3, 5, 33, thread=3), late(6, 5, 60)]
    records = take(RetireOrder(), shown, results)
    assert {int(r["pc"]): int(r["value"]) for r in records} == {1: 30, 2: 33, 4: 60}


def test_values_may_come_out_of_order():
    order = RetireOrder()
    shown = [slot(1, 0, rd=5, pending=True), slot(1, 4, order=1, rd=6, pending=True)]
    assert len(take(order, shown, [late(2, 6, 66)])) == 0
    records = take(order, [], [late(3, 5, 55)])
    assert records["value"].tolist() == [55, 66]


def test_a_value_that_nobody_waits_for_is_an_error():
    with pytest.raises(
        TraceError, match=r"wait for a late value of x5 of thread 2 in cycle 3, not none"
    ):
        take(RetireOrder(), [slot(1, 0, rd=5, pending=True)], [late(3, 5, 1, thread=2)])


def test_a_value_before_its_instruction_is_an_error():
    with pytest.raises(
        TraceError, match="x5 of thread 0 in cycle 3 must come after its instruction, not before"
    ):
        take(RetireOrder(), [slot(4, 0, rd=5, pending=True)], [late(3, 5, 1)])


def test_two_instructions_that_wait_for_one_register_are_an_error():
    shown = [slot(cycle, 0, rd=5, pending=True) for cycle in (1, 2)]
    with pytest.raises(TraceError, match="one instruction must wait for x5 of thread 0 in cycle 2"):
        take(RetireOrder(), shown)


def test_forgetting_drops_what_waits():
    order = RetireOrder()
    take(order, [slot(1, 0, rd=5, pending=True)])
    order.forget()
    assert take(order, [slot(2, 4)])["pc"].tolist() == [4]


def random_trace(rng, threads, count):
    """Return per thread the records in program order, and what a machine might show of them."""
    programs, shown, results = [], [], []
    for thread in range(threads):
        records = np.zeros(count, SLOT_DTYPE)
        records["thread"] = thread
        records["pc"] = 4 * np.arange(count)
        records["rd"] = rng.integers(1, 32, count)
        records["rd_valid"] = 1
        records["value"] = rng.integers(0, 1 << 63, count)
        cycle, order = 0, 0
        free = np.zeros(32, int)  # from which cycle on the register may be used again
        for record in records:
            step = rng.integers(0, 2) if order < 3 else 1
            earliest = max(cycle + step, free[record["rd"]])
            cycle, order = (earliest, 0) if earliest > cycle else (cycle, order + 1)
            record["cycle"], record["order"] = cycle, order
            if rng.random() < 0.3:
                arrives = cycle + int(rng.integers(1, 30))
                free[record["rd"]] = arrives + 1
                results.append(late(arrives, record["rd"], record["value"], thread=thread))
                record["pending"] = 1
        programs.append(records.copy())
        records["value"][records["pending"] != 0] = 0
        shown.append(records)
    slots, values = np.concatenate(shown), np.concatenate(results)
    return programs, rng.permutation(slots), values[np.argsort(values["cycle"], kind="stable")]


@pytest.mark.parametrize("threads", [1, 4])
def test_random_traces_come_out_in_program_order_however_they_are_cut(threads):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    programs, slots, values = random_trace(rng, threads, 2000)
    order, taken, begin = RetireOrder(), [], 0
    last = int(values["cycle"].max())
    for end in (*np.sort(rng.integers(0, last, 40)).tolist(), last + 1):
        parts = (a[(a["cycle"] >= begin) & (a["cycle"] < end)] for a in (slots, values))
        taken.append(order.take(*parts))
        begin = end
    taken.append(order.take(slots[slots["cycle"] >= begin], values[:0]))
    assert min(len(part) for part in taken[1:-1]) < max(len(part) for part in taken)
    records = np.concatenate(taken)
    assert len(records) == 2000 * threads
    for thread, program in enumerate(programs):
        own = records[records["thread"] == thread]
        for name in ("cycle", "pc", "rd", "rd_valid", "value"):
            assert np.array_equal(own[name], program[name]), (thread, name)
