"""Links that a whole node follows through its memory."""

import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import ThreadStatus
from d1_golden.params import preset
from d1_golden.transfer import MAX_HOPS

#: Where what the tests access is; programs are in the lines before.
_PLACE = 0x1000
_SRAM_END = preset("tiny").sram_bytes


def test_links_are_followed_over_lines_and_end(machine):
    places = [0x2038, 0x2100, 0x2178, 0x2200]
    for place in places:
        machine.write(place & ~63, bytes(64))
    for n, place in enumerate(places):
        behind = places[n + 1] if n + 1 < len(places) else 0
        machine.execute(
            f"li a0, {place}\nli a1, {behind}\nli a2, {100 + n}\nsd a1, 0(a0)\nsd a2, 8(a0)\necall"
        )
    outcome = machine.execute(
        """
        li a0, 0x2038
        li a1, 2
        lwalk a2, a0, a1
        li a1, 9
        lwalk a3, a0, a1
        li a1, 102
        lfind a4, a0, a1
        li a1, 99
        lfind a5, a0, a1
        lwalk a6, a0, x0
        ecall
        """
    )
    rows = outcome.retired
    results = {int(r["rd"]): int(r["value"]) for r in rows if r["rd_valid"]}
    assert [results[rd] for rd in (12, 13, 14, 15, 16)] == [0x2178, 0, 0x2178, 0, 0x2038]


@pytest.mark.parametrize(
    ("record", "text", "cause", "value"),
    [
        (0x2004, "lwalk a2, a0, a1", Cause.LOAD_MISALIGNED, 0x2004),
        (_SRAM_END, "lwalk a2, a0, a1", Cause.LOAD_ACCESS_FAULT, _SRAM_END),
        (_SRAM_END - 8, "lfind a2, a0, a1", Cause.LOAD_ACCESS_FAULT, _SRAM_END),
    ],
)
def test_a_record_in_the_wrong_place_is_an_exception(machine, record, text, cause, value):
    outcome = machine.execute(f"li a0, {record}\nli a1, 7\n{text}\necall")
    assert (outcome.status, outcome.cause, outcome.value) == (ThreadStatus.FAULTED, cause, value)


def test_links_that_go_round_end_after_so_many(machine):
    machine.write_words(_PLACE, _PLACE, 0)
    outcome = machine.execute(f"li a0, {_PLACE}\nli a1, 7\nlfind a2, a0, a1\necall")
    assert (outcome.status, outcome.cause) == (ThreadStatus.FAULTED, Cause.LOAD_ACCESS_FAULT)
    assert outcome.cycles > 2 * MAX_HOPS
