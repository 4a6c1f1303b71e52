"""The last stage of a scalar load: the loaded value."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES

from ..turns import TurnCounter
from .interfaces import THREAD_BITS, HardwareError, ScalarResult

__all__ = ["Load", "Writeback"]


class Load(data.Struct):
    """A scalar load that memory has taken."""

    valid: 1
    thread: THREAD_BITS
    pc: LOCAL_BITS
    address: LOCAL_BITS
    writes: 1
    rd: 5
    size_log2: 2
    unsigned: 1
    #: It is from the control block, not from SRAM.
    control: 1


class Writeback(wiring.Component):
    """Extract what a load has loaded; golden twin: `load` of the golden node.

    A load is taken over `load`; in the next cycle its line or control register is there, and
    combinationally its result on `result`. One load per cycle. On an FPGA the line is there in the
    first turn of that cycle, and the result from the second turn on.

    Members
    -------
    load : In(Load)
    line : In(512), uncorrectable : In(8)
    control : In(64)
    result : Out(ScalarResult)
    error : Out(HardwareError)
    busy : Out(Load)
    """

    #: The load that is taken in this cycle.
    load: In(Load)
    #: The line that was read for that of the cycle before, and which of its words are wrong.
    line: In(8 * LINE_BYTES)
    uncorrectable: In(LINE_BYTES // 8)
    #: The control register that was read for it.
    control: In(64)
    #: What it writes.
    result: Out(ScalarResult)
    #: Its word could not be corrected.
    error: Out(HardwareError)
    #: The load of the cycle before.
    busy: Out(Load)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        load = self.busy
        m.d.sync += load.valid.eq(self.load.valid)
        with m.If(self.load.valid):
            m.d.sync += load.eq(self.load)
        word, loaded = Signal(64), Signal(64)
        words = Array(self.line.word_select(n, 64) for n in range(LINE_BYTES // 8))
        here = words[load.address[3:6]]
        wrong = self.uncorrectable.bit_select(load.address[3:6], 1)
        if platform is not None:
            m.submodules.turns = turns = TurnCounter()
            kept = Signal(len(word) + 1, reset_less=True)
            with m.If(turns.number == 0):
                m.d.turn += kept.eq(Cat(here, wrong))
            here, wrong = kept[:-1], kept[-1]
        m.d.comb += word.eq(here >> (load.address[:3] << 3))
        with m.Switch(load.size_log2):
            for size_log2 in range(4):
                bits = 8 << size_log2
                with m.Case(size_log2):
                    sign = word[bits - 1] & ~load.unsigned
                    m.d.comb += loaded.eq(Cat(word[:bits], sign.replicate(64 - bits)))
        m.d.comb += [
            self.result.valid.eq(load.valid & load.writes),
            self.result.thread.eq(load.thread),
            self.result.rd.eq(load.rd),
            self.result.value.eq(loaded),
            self.error.valid.eq(load.valid & ~load.control & wrong),
            self.error.thread.eq(load.thread),
            self.error.pc.eq(load.pc),
            self.error.address.eq(load.address),
        ]
        with m.If(load.control):
            m.d.comb += self.result.value.eq(self.control)
        return m
