"""Decode, register read and hazards: the stage that lets instructions into execution."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .decoder import Decoder
from .micro_op import fetched_layout, field, issued_layout
from .register_file import RegisterFile

__all__ = ["Forward", "Issue"]


class Forward(data.Struct):
    """A scalar result on its way to the register file."""

    #: There is one, of register `rd`.
    writes: 1
    rd: 5
    #: `value` is the result; if not, it comes from memory in the next cycle.
    known: 1
    value: 64


class Issue(wiring.Component):
    """Hand instructions to execution in program order, with their scalar operands.

    One instruction a cycle. It is decoded and its registers are read in the cycle in which it is
    on `i`, and it is on `o` in the next. An operand is taken from the register file or from a
    younger result on its way there; if that is the result of a load in execution, the instruction
    waits one cycle. Vector registers and accumulators are checked where they are read, in the
    vector unit.

    Golden twin: the decoding and the `x` of the golden node.

    Parameters
    ----------
    params
        For the decoder.

    Members
    -------
    i : In(stream.Signature(fetched_layout()))
    o : Out(stream.Signature(issued_layout()))
    flush : In(1)
    executing, writing : In(Forward)
    start : In(1)
    argument : In(64)
    stalled : Out(1)
    """

    #: Fetched instructions.
    i: In(stream.Signature(fetched_layout()))
    #: Instructions with their operands.
    o: Out(stream.Signature(issued_layout()))
    #: Drop what is on `i`: it is not on the path that the thread takes.
    flush: In(1)
    #: The result of the instruction in execution, and of the one that writes its register.
    executing: In(Forward)
    writing: In(Forward)
    #: The thread starts: put `argument` in x10.
    start: In(1)
    argument: In(64)
    #: An instruction was on `i` and had to wait.
    stalled: Out(1)

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.decoder = decoder = Decoder(self._params)
        m.submodules.registers = registers = RegisterFile()
        fetched, uop = self.i.payload, decoder.uop
        wait_1, x1 = self._operand(m, "rs1", uop.reads_rs1, registers.x1)
        wait_2, x2 = self._operand(m, "rs2", uop.reads_rs2, registers.x2)
        enter = Signal()
        m.d.comb += [
            decoder.insn.eq(fetched.insn),
            registers.rs1.eq(field(fetched.insn, "rs1")),
            registers.rs2.eq(field(fetched.insn, "rs2")),
            self.i.ready.eq((~self.o.valid | self.o.ready) & ~wait_1 & ~wait_2),
            enter.eq(self.i.valid & self.i.ready & ~self.flush),
            self.stalled.eq(self.i.valid & ~self.i.ready),
            registers.write.eq(self.writing.writes | self.start),
            registers.rd.eq(self.writing.rd),
            registers.value.eq(self.writing.value),
        ]
        with m.If(self.start):
            m.d.comb += [registers.rd.eq(_ARGUMENT_REGISTER), registers.value.eq(self.argument)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(enter):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.pc.eq(fetched.pc),
                self.o.payload.insn.eq(fetched.insn),
                self.o.payload.fault.eq(fetched.fault),
                self.o.payload.uop.eq(uop),
                self.o.payload.x1.eq(x1),
                self.o.payload.x2.eq(x2),
            ]
        return m

    def _operand(self, m: Module, name: str, reads: Value, stored: Value) -> tuple[Signal, Signal]:
        """Return whether operand `name` has to be waited for, and its value."""
        wait, value = Signal(name=f"wait_{name}"), Signal(64, name=f"value_{name}")
        number = field(self.i.payload.insn, name)
        m.d.comb += value.eq(stored)
        with m.If(self.executing.writes & (self.executing.rd == number)):
            m.d.comb += [wait.eq(reads & ~self.executing.known), value.eq(self.executing.value)]
        with m.Elif(self.writing.writes & (self.writing.rd == number)):
            m.d.comb += value.eq(self.writing.value)
        return wait, value


#: a0 of the calling convention.
_ARGUMENT_REGISTER = 10
