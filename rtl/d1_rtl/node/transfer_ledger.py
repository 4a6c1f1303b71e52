"""What every transfer still waits for."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .list_walker import list_done_layout
from .reply_receiver import ACKNOWLEDGEMENTS
from .request_sender import READS, sent_layout
from .transfer_operation import CONTEXTS, context_event_layout

__all__ = ["TransferLedger"]

#: Transfers of one context that have begun but not sent everything: those in queues.
_QUEUED = 16


class TransferLedger(wiring.Component):
    """Count for every context the transfers not fully sent, and the replies to come.

    `open` follows in the cycle after.

    Golden twin: `TransferState.outstanding` of the golden node.

    Members
    -------
    begun : In(context_event_layout()).array(2)
        Instructions that came, and descriptors that began.
    sent : In(sent_layout())
    answered : In(context_event_layout())
    list_done : In(list_done_layout())
        The list of an instruction has ended.
    open : Out(CONTEXTS)
        Something is not yet done.
    """

    begun: Any
    sent: Any
    answered: Any
    list_done: Any
    open: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "begun": In(context_event_layout()).array(2),
                "sent": In(sent_layout()),
                "answered": In(context_event_layout()),
                "list_done": In(list_done_layout()),
                "open": Out(CONTEXTS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        sent = self.sent
        for context in range(CONTEXTS):
            count = Signal(range(_QUEUED + READS + ACKNOWLEDGEMENTS), name=f"count_{context}")
            mine = sent.valid & (sent.line.context == context)
            more = [event.valid & (event.context == context) for event in self.begun]
            more.append(mine & (sent.reads | sent.acknowledged))
            fewer = [
                mine & sent.line.ends,
                self.answered.valid & (self.answered.context == context),
                self.list_done.valid & (self.list_done.thread == context),
            ]
            if context >= 1 << len(self.list_done.thread):
                fewer.pop()
            m.d.comb += self.open[context].eq(count != 0)
            with m.If(Cat(*more, *fewer).any()):
                m.d.sync += count.eq(count + sum(more, start=Const(0)) - sum(fewer, start=Const(0)))
        return m
