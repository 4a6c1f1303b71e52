# amaranth: UnusedElaboratable=no
"""An ALU slot against the golden node: every integer operation, branch and jump of the table."""

import itertools
import random
from typing import NamedTuple

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.csr import Cause
from d1_golden.isa import INSTRUCTIONS, Instruction, Unit, encode
from d1_golden.memory_map import ThreadRegister, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.params import preset
from d1_rtl.node import micro_op
from d1_rtl.node.alu_slot import AluSlot
from d1_rtl.node.decoder import Decoder
from d1_rtl.sim.native import NativeModel

_SEED = 23
_PARAMS = preset("tiny")
_M64 = (1 << 64) - 1
_ROWS = [row for row in INSTRUCTIONS if row.unit in (Unit.ALU, Unit.BRANCH)]
_CORNERS = [
    value & _M64
    for value in (0, 1, 4, 31, 32, 33, 63, 64, -1, -4, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
                  -0x8000_0000, (1 << 63) - 1, 1 << 63)
]  # fmt: skip
_RANDOM_CASES = 200
_OUTPUTS = ("value", "branches", "taken", "mispredicted", "misaligned", "target", "next_pc")


class _DecodedSlot(wiring.Component):
    """An ALU slot with an instruction that the decoder has seen."""

    insn: In(32)
    pc: In(micro_op.LOCAL_BITS)
    x1: In(64)
    x2: In(64)
    predicted: In(1)
    prediction: In(micro_op.LOCAL_BITS)
    value: Out(64)
    branches: Out(1)
    taken: Out(1)
    mispredicted: Out(1)
    misaligned: Out(1)
    target: Out(64)
    next_pc: Out(64)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = Decoder(_PARAMS)
        m.submodules.slot = unit = AluSlot()
        m.d.comb += [
            decoder.insn.eq(self.insn),
            unit.slot.valid.eq(1),
            unit.slot.uop.eq(decoder.uop),
            unit.slot.insn.eq(self.insn),
            unit.slot.predicted.eq(self.predicted),
            unit.slot.target.eq(self.prediction),
            *(getattr(unit.slot, name).eq(getattr(self, name)) for name in ("pc", "x1", "x2")),
            *(getattr(self, name).eq(getattr(unit, name)) for name in _OUTPUTS),
        ]
        return m


class _Case(NamedTuple):
    word: int
    pc: int
    x1: int
    x2: int
    predicted: bool
    prediction: int


def _random_word(rng: random.Random, row: Instruction) -> int:
    registers = {"rd": 3, "rs1": 1, "rs2": 2}
    values = {
        operand.name: registers.get(operand.name, operand.extract(rng.getrandbits(32)))
        for operand in row.operands
    }
    return encode(row.name, **values)


def _cases(rng: random.Random, row: Instruction) -> list[_Case]:
    pairs = list(itertools.product(_CORNERS, repeat=2))
    pairs += [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(_RANDOM_CASES)]
    cases = []
    for x1, x2 in pairs:
        x2 = rng.choice([x2, x2, x2, x1])
        pc = 4 * rng.randrange(_PARAMS.sram_bytes // 4)
        cases.append(_Case(_random_word(rng, row), pc, x1, x2, rng.random() < 0.5, 0))
    return cases


class _Expected(NamedTuple):
    """What the golden node does: x3, where it goes, and whether it refuses to."""

    value: int
    next_pc: int
    misaligned: bool


def _golden(node: GoldenNode, case: _Case) -> _Expected:
    """Execute one instruction by itself."""
    node.memory.view("<u4")[case.pc // 4] = case.word
    node.x[1:4] = case.x1, case.x2, 0
    if node.status is not ThreadStatus.RUNNING:
        node.start(case.pc)
    node.pc = case.pc
    node.run(1)
    if node.status is ThreadStatus.RUNNING:
        return _Expected(int(node.x[3]), node.pc, False)
    assert node.thread_register(ThreadRegister.CAUSE) == Cause.INSTRUCTION_MISALIGNED
    return _Expected(int(node.x[3]), node.thread_register(ThreadRegister.FAULT_VALUE), True)


@pytest.mark.parametrize("row", _ROWS, ids=lambda row: row.name)
def test_results_and_ways_are_those_of_the_golden_node(model, row):
    print(f"seed {_SEED}")
    rng = random.Random(f"{_SEED} {row.name}")
    node = GoldenNode(_PARAMS)
    cases, expected = _cases(rng, row), []
    for n, case in enumerate(cases):
        found = _golden(node, case)
        # Half of the predictions are right about where the instruction goes.
        where = found.next_pc if rng.random() < 0.5 else rng.getrandbits(micro_op.LOCAL_BITS)
        cases[n] = case._replace(prediction=where % (1 << micro_op.LOCAL_BITS))
        expected.append(found)
    columns = zip(*cases, strict=True)
    types = (np.uint32, np.uint32, np.uint64, np.uint64, np.uint32, np.uint32)
    names = ("insn", "pc", "x1", "x2", "predicted", "prediction")
    inputs = {n: np.array(c, t) for n, c, t in zip(names, columns, types, strict=True)}
    rows = {
        name: [int.from_bytes(words.tobytes(), "little") for words in array]
        for name, array in model.play(inputs, _OUTPUTS).items()
    }
    for n, (case, found) in enumerate(zip(cases, expected, strict=True)):
        result = {name: values[n] for name, values in rows.items()}
        assert result["branches"] == (row.unit is Unit.BRANCH), case
        if not found.misaligned and "rd" in (operand.name for operand in row.operands):
            assert result["value"] == found.value, case
        if row.unit is Unit.BRANCH:
            assert result["next_pc"] == found.next_pc, case
            assert result["misaligned"] == found.misaligned, case
            assert result["taken"] or found.next_pc == case.pc + 4, case
            fetched = case.prediction if case.predicted else case.pc + 4
            right = result["taken"] == case.predicted and found.next_pc == fetched
            assert result["mispredicted"] == (not right), case


def test_nothing_is_a_branch_in_an_empty_slot():
    layout = micro_op.slot_layout()
    taken = {"unit": micro_op.Unit.BRANCH, "op": micro_op.BranchOp.BEQ.value, "immediate": 2}
    with NativeModel(AluSlot(), name="alu_slot") as model:
        for valid in (0, 1):
            model.set("slot", layout.const({"valid": valid, "uop": taken}).as_bits())
            for name in ("branches", "mispredicted", "misaligned"):
                assert model.get(name) == valid


@pytest.fixture(scope="module")
def model():
    with NativeModel(_DecodedSlot(), name="decoded_alu_slot") as opened:
        yield opened
