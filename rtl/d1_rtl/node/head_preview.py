"""A look at the next instruction of a thread, before threads are chosen."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .decoder import Decoder
from .micro_op import VECTOR_UNITS, Unit, scalar_registers

__all__ = ["Head", "HeadPreview"]


class Head(enum.Enum, shape=3):
    """What the next instruction of a thread takes that there is once a cycle, or if it branches."""

    PLAIN = 0
    #: The first ALU slot, which has the units that there are once.
    FIRST_ALU = 1
    #: None; but it ends its group, so slots are left.
    BRANCH = 2
    #: The address slot for scalar loads, that for scalar stores.
    LOAD = 3
    STORE = 4


class HeadPreview(wiring.Component):
    """Tell whether the next instruction of a thread has its scalar registers, and what it takes.

    Combinational.

    Golden twin: none; what is told changes timing, never results.

    Parameters
    ----------
    params
        For the decoder.

    Members
    -------
    insn : In(32)
    waiting : In(32)
        Scalar registers of the thread whose results come later than in this cycle.
    ready : Out(1)
        The instruction reads and writes none of them.
    head : Out(Head)
    """

    insn: Signal
    waiting: Signal
    ready: Signal
    head: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__({"insn": In(32), "waiting": In(32), "ready": Out(1), "head": Out(Head)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.decoder = decoder = Decoder(self._params)
        m.d.comb += [decoder.insn.eq(self.insn), self.ready.eq(1)]
        for used, number in scalar_registers(decoder.uop, self.insn):
            with m.If(used & self.waiting.bit_select(number, 1)):
                m.d.comb += self.ready.eq(0)
        with m.Switch(decoder.uop.unit):
            with m.Case(Unit.ALU, *VECTOR_UNITS):
                m.d.comb += self.head.eq(Head.PLAIN)
            with m.Case(Unit.BRANCH):
                m.d.comb += self.head.eq(Head.BRANCH)
            with m.Case(Unit.LOAD):
                m.d.comb += self.head.eq(Head.LOAD)
            with m.Case(Unit.STORE):
                m.d.comb += self.head.eq(Head.STORE)
            with m.Default():
                m.d.comb += self.head.eq(Head.FIRST_ALU)
        return m
