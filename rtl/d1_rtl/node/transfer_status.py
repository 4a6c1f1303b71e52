"""The status line of the transfer engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.memory_map import TransferRegister

from .interfaces import RegisterLineSignature
from .transfer_operation import TransferFaultEvent

__all__ = ["TransferStatus"]


class TransferStatus(wiring.Component):
    """Count faults of transfers and keep the first, as registers.

    Faults of a cycle are seen in the next; of several at once the first of `faults` counts as the
    first. A write has its effect in the next cycle.

    Golden twin: `d1_golden.node.communication._note_fault` and `control_block.write_control`.

    Parameters
    ----------
    sources
        Who may report a fault in one cycle.

    Members
    -------
    faults : In(TransferFaultEvent).array(sources)
    outstanding : In(7)
        Replies that are to come.
    line : In(RegisterLineSignature())
        By `TransferRegister`. A write of FAULTS, whatever the data, clears the faults; others are
        ignored.
    """

    faults: Sequence[Any]
    outstanding: Signal
    line: Any

    def __init__(self, *, sources: int):
        super().__init__(
            {
                "faults": In(TransferFaultEvent).array(sources),
                "outstanding": In(7),
                "line": In(RegisterLineSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        count, address = Signal(64), Signal(64)
        kind = Signal.like(self.faults[0].kind.as_value())
        m.d.comb += [
            self.line.registers[TransferRegister.OUTSTANDING].eq(self.outstanding),
            self.line.registers[TransferRegister.FAULTS].eq(count),
            self.line.registers[TransferRegister.FAULT_KIND].eq(kind),
            self.line.registers[TransferRegister.FAULT_ADDRESS].eq(address),
        ]
        clear = self.line.write[TransferRegister.FAULTS]
        valid = Cat(fault.valid for fault in self.faults)
        with m.If(clear | valid.any()):
            added = sum((bit for bit in valid), start=Const(0))
            m.d.sync += count.eq(Mux(clear, 0, count) + added)
        with m.If(clear):
            m.d.sync += [kind.eq(0), address.eq(0)]
        with m.If(clear | (kind == 0)):
            for fault in reversed(self.faults):
                with m.If(fault.valid):
                    m.d.sync += [kind.eq(fault.kind), address.eq(fault.address)]
        return m
