"""From a transfer to its lines."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS

from .transfer_operation import TransferOp, job_layout, line_layout

__all__ = ["LineSequencer"]


class LineSequencer(wiring.Component):
    """Turn each job into steps, one for each line.

    The first step of a job is offered in the cycle after it came; one step per cycle, jobs without
    a gap. A semaphore at the remote end is posted with the last line; as a READ cannot post, that
    of a PULL has a step of its own. Strides are added modulo the size of a node's space, so a
    transfer never leaves its nodes.

    Golden twin: `d1_golden.node.communication._send_descriptor`.

    Members
    -------
    i : In(stream.Signature(job_layout()))
    o : Out(stream.Signature(line_layout()))
    """

    i: Any
    o: Any

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(job_layout())),
                "o": Out(stream.Signature(line_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        job: Any = Signal(job_layout())
        line = self.o.payload
        busy, posting = Signal(), Signal()
        last_line, posts_apart = Signal(), Signal()
        m.d.comb += [
            last_line.eq(job.lines == 1),
            posts_apart.eq((job.op == TransferOp.PULL) & job.arrival.valid),
            self.o.valid.eq(busy),
            self.i.ready.eq(~busy | (self.o.ready & line.ends)),
            line.ends.eq(posting | (last_line & ~posts_apart)),
            line.op.eq(Mux(posting, TransferOp.POST, job.op)),
            line.context.eq(job.context),
            line.local.eq(job.local),
            line.remote.eq(job.remote),
            line.corner.eq(job.corner),
            line.post.valid.eq(job.arrival.valid & line.ends),
            line.post.number.eq(job.arrival.number),
        ]
        with m.If(line.op == TransferOp.POST):  # is for a node, not a line
            m.d.comb += line.remote[:LOCAL_BITS].eq(0)
        with m.If(busy & self.o.ready):
            m.d.sync += [
                job.lines.eq(job.lines - 1),
                job.local.eq(job.local + job.local_stride),
                job.remote[:LOCAL_BITS].eq(job.remote[:LOCAL_BITS] + job.remote_stride),
                posting.eq(last_line & posts_apart),
            ]
            with m.If(line.ends):
                m.d.sync += busy.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [job.eq(self.i.payload), busy.eq(1), posting.eq(0)]
        return m
