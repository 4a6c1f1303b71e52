"""Exceptions of transfer instructions."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import MAX_LINES

from .micro_op import TrapCause
from .packet_door import is_between
from .transfer_operation import ADDRESS_BITS, NODE_BITS, TransferOp

__all__ = ["TransferCheck"]

_OFFSET_BITS = (LINE_BYTES - 1).bit_length()


class TransferCheck(wiring.Component):
    """Tell whether a transfer instruction raises an exception, before it has any effect.

    Combinational. The local lines have to be in SRAM, the remote ones in one node, all of them
    aligned; bits 63..56 of a remote address are zero; the near corner of a rectangle is nowhere
    after the far one. What is read faults as a load, what is written as a store; misaligned comes
    before access fault, the local end before the remote one.

    Golden twin: `d1_golden.node.communication.transfer_fault`.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    op : In(TransferOp)
    x1, x2 : In(64)
    count : In(5)
        Lines, as encoded.
    fault : Out(1)
    cause : Out(TrapCause)
    value : Out(64)
        For mtval: the operand at fault.
    """

    op: Any
    x1: Signal
    x2: Signal
    count: Signal
    fault: Signal
    cause: Any
    value: Signal

    def __init__(self, params: NodeParams):
        self._sram_lines = params.sram_bytes // LINE_BYTES
        super().__init__(
            {
                "op": In(TransferOp),
                "x1": In(64),
                "x2": In(64),
                "count": In((MAX_LINES - 1).bit_length()),
                "fault": Out(1),
                "cause": Out(TrapCause),
                "value": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        x1, x2 = self.x1, self.x2
        lines = Signal(range(MAX_LINES + 1))
        m.d.comb += lines.eq(Mux(self.count == 0, MAX_LINES, self.count))
        with m.If(self.op == TransferOp.XLIST):
            m.d.comb += lines.eq(1)

        # Of a broadcast the upper half of x1 is the far corner.
        upper = Mux(self.op == TransferOp.BCAST, x1[LOCAL_BITS:NODE_BITS], x1[LOCAL_BITS:])
        near, far = x2[LOCAL_BITS:ADDRESS_BITS], x1[NODE_BITS:]
        local_line, remote_line = x1[_OFFSET_BITS:LOCAL_BITS], x2[_OFFSET_BITS:LOCAL_BITS]
        misplaced_local, misplaced_remote = Signal(), Signal()
        m.d.comb += [
            misplaced_local.eq(upper.any() | (local_line + lines > self._sram_lines)),
            misplaced_remote.eq(
                x2[ADDRESS_BITS:].any()
                | (remote_line + lines > 1 << LOCAL_BITS - _OFFSET_BITS)
                | ((self.op == TransferOp.BCAST) & ~is_between(near, near, far))
            ),
        ]
        pulls = self.op == TransferOp.PULL

        def exception(misaligned: Value, misplaced: Value, stores: Value, value: Value) -> None:
            with m.If(misaligned | misplaced):
                m.d.comb += [self.fault.eq(1), self.value.eq(value)]
            for condition, store, load in (
                (misplaced, TrapCause.STORE_ACCESS_FAULT, TrapCause.LOAD_ACCESS_FAULT),
                (misaligned, TrapCause.STORE_MISALIGNED, TrapCause.LOAD_MISALIGNED),
            ):
                with m.If(condition):
                    m.d.comb += self.cause.eq(Mux(stores, store, load))

        with m.If(self.op == TransferOp.POST):
            with m.If(x1[ADDRESS_BITS:].any()):
                m.d.comb += [
                    self.fault.eq(1),
                    self.cause.eq(TrapCause.STORE_ACCESS_FAULT),
                    self.value.eq(x1),
                ]
        with m.Else():
            with m.If(self.op != TransferOp.XLIST):
                exception(x2[:_OFFSET_BITS].any(), misplaced_remote, ~pulls, x2)
            exception(x1[:_OFFSET_BITS].any(), misplaced_local, pulls, x1)
        return m
