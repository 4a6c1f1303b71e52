"""The last stage of the scalar pipeline: loaded data, register write, retirement."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES

from .interfaces import RetireSignature
from .issue import Forward

__all__ = ["Completed", "Writeback"]


class Completed(data.Struct):
    """An instruction that has been executed."""

    valid: 1
    pc: 64
    insn: 32
    writes: 1
    rd: 5
    #: The result, unless it is loaded: then the line with it is on the SRAM port now.
    value: 64
    loads: 1
    offset: 6
    size_log2: 2
    unsigned: 1


class Writeback(wiring.Component):
    """Extract loaded data, write the scalar register and report the instruction as retired.

    Combinational; golden twin: the retirement trace of the golden node.

    Members
    -------
    completed : In(Completed)
    line : In(512)
    result : Out(Forward)
    retire : Out(RetireSignature())
    """

    #: The instruction.
    completed: In(Completed)
    #: The line that was read for it.
    line: In(8 * LINE_BYTES)
    #: Its result, for the register file and for instructions that need it now.
    result: Out(Forward)
    #: The trace.
    retire: Out(RetireSignature())

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        completed = self.completed
        word, loaded = Signal(64), Signal(64)
        words = Array(self.line.word_select(n, 64) for n in range(LINE_BYTES // 8))
        m.d.comb += word.eq(words[completed.offset[3:]] >> (completed.offset[:3] << 3))
        with m.Switch(completed.size_log2):
            for size_log2 in range(4):
                bits = 8 << size_log2
                with m.Case(size_log2):
                    sign = word[bits - 1] & ~completed.unsigned
                    m.d.comb += loaded.eq(Cat(word[:bits], sign.replicate(64 - bits)))
        m.d.comb += [
            self.result.writes.eq(completed.valid & completed.writes),
            self.result.rd.eq(completed.rd),
            self.result.known.eq(1),
            self.result.value.eq(completed.value),
        ]
        with m.If(completed.loads):
            m.d.comb += self.result.value.eq(loaded)
        m.d.comb += [
            self.retire.valid.eq(completed.valid),
            self.retire.pc.eq(completed.pc),
            self.retire.insn.eq(completed.insn),
            self.retire.rd_valid.eq(completed.writes),
            self.retire.rd.eq(completed.rd),
            self.retire.value.eq(self.result.value),
        ]
        return m
