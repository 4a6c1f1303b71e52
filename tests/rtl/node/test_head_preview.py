# amaranth: UnusedElaboratable=no
"""A look at a thread's next instruction: whether it has its registers, and what it takes."""

import pytest
from d1_golden.assembler import assemble
from d1_golden.params import preset
from d1_rtl.node.head_preview import Head, HeadPreview
from d1_rtl.sim.native import NativeModel


@pytest.fixture(scope="module")
def model():
    with NativeModel(HeadPreview(preset("tiny")), name="head_preview") as opened:
        yield opened


def _show(model, text: str, waiting: int = 0) -> None:
    (word,) = memoryview(assemble(text).code).cast("I").tolist()
    model.set("insn", word)
    model.set("waiting", waiting)


@pytest.mark.parametrize(
    ("text", "registers"),
    [
        ("add a0, a1, a2", {10, 11, 12}),
        ("addi a0, a1, 12", {10, 11}),
        ("sd a0, 0(a1)", {10, 11}),
        ("lui a0, 0x5000", {10}),
        ("mul x0, a1, a2", {11, 12}),
        ("vld v10, 0(a1)", {11}),
        ("vfadd.f32 v10, v11, v12", set()),
        ("vmv.x.v a0, v11, 1", {10}),
        ("lwalk a0, a1, a2", {10, 11, 12}),
    ],
)
def test_an_instruction_is_ready_unless_a_scalar_register_of_it_waits(model, text, registers):
    for number in range(32):
        _show(model, text, 1 << number)
        assert model.get("ready") == (number not in registers), number
    _show(model, text)
    assert model.get("ready")


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("add a0, a1, a2", Head.PLAIN),
        ("auipc a0, 0x5000", Head.PLAIN),
        ("vst v1, 0(a0)", Head.PLAIN),
        ("mmac.bf16.vv acc0, v1, v2", Head.PLAIN),
        ("mul a0, a1, a2", Head.FIRST_ALU),
        ("divu a0, a1, a2", Head.FIRST_ALU),
        ("csrr a0, mscratch", Head.FIRST_ALU),
        ("fence", Head.FIRST_ALU),
        ("spost 1", Head.FIRST_ALU),
        (".word 0", Head.FIRST_ALU),
        ("beq a0, a1, 8", Head.BRANCH),
        ("jalr x0, 0(a0)", Head.BRANCH),
        ("lbu a0, 0(a1)", Head.LOAD),
        ("sw a0, 0(a1)", Head.STORE),
    ],
)
def test_what_an_instruction_takes_is_told(model, text, head):
    _show(model, text)
    assert Head(model.get("head")) is head
