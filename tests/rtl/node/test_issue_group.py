# amaranth: UnusedElaboratable=no
"""The instructions of a window: which of them may be issued, and why the first one waits."""

from typing import Any

import pytest
from d1_golden.assembler import assemble
from d1_golden.memory_map import StallCause
from d1_golden.params import preset
from d1_rtl.node.frontend import window_layout
from d1_rtl.node.issue_group import IssueGroup, ThreadState, UnitState
from d1_rtl.node.micro_op import FetchFault
from d1_rtl.node.slot_allocator import LaneNeeds
from d1_rtl.sim.native import NativeModel

_PARAMS = preset("tiny")
_WIDTH = _PARAMS.issue_width
_FREE = {"room": 1}
_UNITS = {"divider_free": 1, "transfer_ready": 1, "link_ready": 1}


@pytest.fixture(scope="module")
def model():
    with NativeModel(IssueGroup(_PARAMS), name="issue_group") as opened:
        yield opened


def _needs(
    model,
    text: str,
    state: dict[str, int] | None = None,
    units: dict[str, int] | None = None,
    semaphores: int = 0,
    **first: Any,
) -> list[Any]:
    """Show up to four instructions; return the needs of all four places."""
    words = memoryview(assemble(text).code).cast("I").tolist()
    entries = [{"pc": 4 * n, "insn": word} for n, word in enumerate(words)]
    entries[0] |= first
    entries += [{}] * (_WIDTH - len(words))
    window = window_layout(_PARAMS).const({"count": len(words), "entries": entries})
    model.set("valid", 1)
    model.set("window", window.as_bits())
    model.set("state", ThreadState.const(_FREE | (state or {})).as_bits())
    model.set("units", UnitState.const(_UNITS | (units or {})).as_bits())
    model.set("semaphores", semaphores)
    return [LaneNeeds.from_bits(model.get(f"needs__{place}")) for place in range(_WIDTH)]


def _ready(model, text: str, **conditions: Any) -> list[int]:
    return [int(needs.ready) for needs in _needs(model, text, **conditions)]


@pytest.mark.parametrize(
    ("text", "ready"),
    [
        ("addi a0, a1, 1\nadd a2, a3, a4\nld a5, 0(a6)\nsd a7, 0(a6)", [1, 1, 1, 1]),
        ("addi a0, a1, 1\nadd a2, a0, a4", [1, 0, 0, 0]),
        ("addi a0, a1, 1\nsd a0, 0(a6)", [1, 0, 0, 0]),
        ("addi a0, a1, 1\naddi a0, a2, 1", [1, 0, 0, 0]),
        ("sd a0, 0(a1)\naddi a0, a2, 1", [1, 1, 0, 0]),
        ("addi x0, a1, 1\nadd a2, x0, a4", [1, 1, 0, 0]),
        ("addi a0, a1, 1\nvbc.x v1, a0", [1, 0, 0, 0]),
        ("addi a0, a1, 1\ncsrr a2, mscratch\naddi a3, a1, 1", [1, 0, 1, 0]),
        ("vld v1, 0(a0)\nsd a1, 0(a2)\nld a3, 0(a2)", [1, 0, 1, 0]),
        ("vst v1, 0(a0)\nsd a1, 0(a2)\nld a3, 0(a2)", [1, 0, 0, 0]),
        ("vfadd.f32 v1, v2, v3\nsd a1, 0(a2)\nld a3, 0(a2)", [1, 1, 1, 0]),
    ],
)
def test_an_instruction_waits_for_those_before_it_in_its_group(model, text, ready):
    assert _ready(model, text) == ready


@pytest.mark.parametrize(
    ("text", "conditions", "cause"),
    [
        ("add a0, a1, a2", {"state": {"waiting": 1 << 11}}, StallCause.OPERAND),
        ("add a0, a1, a2", {"state": {"waiting": 1 << 12}}, StallCause.OPERAND),
        ("add a0, a1, a2", {"state": {"waiting": 1 << 10}}, StallCause.OPERAND),
        ("vld v1, 0(a1)", {"state": {"waiting": 1 << 11}}, StallCause.OPERAND),
        ("vfadd.f32 v1, v2, v3", {"state": {"room": 0}}, StallCause.QUEUE),
        ("ld a0, 0(a1)", {"state": {"vector_stores": 1}}, StallCause.ORDER),
        ("sd a0, 0(a1)", {"state": {"vector_accesses": 1}}, StallCause.ORDER),
        ("fence", {"state": {"vector_accesses": 1}}, StallCause.ORDER),
        ("fence", {"state": {"slot_accesses": 1}}, StallCause.ORDER),
        ("fence", {"state": {"transfers": 1}}, StallCause.ORDER),
        ("push a0, a1, 1", {"state": {"slot_accesses": 1}}, StallCause.ORDER),
        ("lwalk a0, a1, a2", {"state": {"vector_accesses": 1}}, StallCause.ORDER),
        ("spost 3", {"state": {"slot_accesses": 1}}, StallCause.ORDER),
        ("swait 3", {"semaphores": ~(1 << 3) & 0xFFFF_FFFF}, StallCause.WAIT),
        ("barrier 0", {}, StallCause.WAIT),
        ("divu a0, a1, a2", {"units": {"divider_free": 0}}, StallCause.SLOT),
        ("push a0, a1, 1", {"units": {"transfer_ready": 0}}, StallCause.SLOT),
        ("lwalk a0, a1, a2", {"units": {"link_ready": 0}}, StallCause.SLOT),
    ],
)
def test_the_first_instruction_waits_for_a_reason_that_is_told(model, text, conditions, cause):
    assert _ready(model, text, **conditions) == [0, 0, 0, 0]
    assert model.get("cause") == cause


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("add a0, a1, a2", {"state": {"waiting": 1 << 13, "vector_stores": 1, "room": 0}}),
        ("ld a0, 0(a1)", {"state": {"vector_accesses": 1}}),
        ("push a0, a1, 1", {"state": {"transfers": 1}}),
        ("swait 3", {"semaphores": 1 << 3, "state": {"slot_accesses": 1}}),
        ("barrier 0", {"state": {"passed": 1}}),
        ("mul a0, a1, a2", {"units": {"divider_free": 0}}),
        ("csrr a0, mscratch", {"state": {"vector_accesses": 1, "transfers": 1}}),
    ],
)
def test_what_does_not_matter_to_it_does_not_hold_it_up(model, text, conditions):
    assert _ready(model, text, **conditions) == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("add a0, a1, a2\naddiw a0, a1, 2\nlui a0, 0x3000\nauipc a0, 0x4000", [1, 1, 1, 1]),
        ("xor a0, a1, a2\nandi a0, a1, 2\nor a0, a1, a2\nxori a0, a1, 3", [1, 1, 1, 1]),
        ("sub a0, a1, a2\nslli a0, a1, 2\nslt a0, a1, a2\nsraw a0, a1, a2", [0, 0, 0, 0]),
        ("mul a0, a1, a2\njal a0, 8\ncsrr a0, mscratch\nld a0, 0(a1)", [0, 0, 0, 0]),
    ],
)
def test_additions_and_logic_may_go_to_an_address_slot(model, text, simple):
    assert [int(needs.simple) for needs in _needs(model, text)] == simple


@pytest.mark.parametrize(
    ("text", "first", "ends"),
    [
        ("add a0, a1, a2", {}, 0),
        ("add a0, a1, a2", {"predicted": 1}, 1),
        ("beq a0, a1, 8", {}, 1),
        ("csrr a0, mscratch", {}, 1),
        ("vgather v1, (a0), v2", {}, 1),
        ("ld a0, 0(a1)", {}, 0),
        ("add a0, a1, a2", {"fault": FetchFault.ACCESS}, 1),
        (".word 0", {}, 1),
    ],
)
def test_what_may_go_elsewhere_ends_its_group(model, text, first, ends):
    assert int(_needs(model, text, **first)[0].ends) == ends
