"""Chains of transfer descriptors."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import MAX_DESCRIPTORS

from .interfaces import THREAD_BITS, SemaphoreEvent, SramReadSignature
from .packet_door import is_between
from .transfer_operation import (
    ADDRESS_BITS,
    CONTEXTS,
    LIST_CONTEXTS,
    TransferFault,
    TransferFaultEvent,
    TransferOp,
    descriptor_layout,
    job_layout,
)

__all__ = ["ListWalker", "list_done_layout", "list_layout"]

_OFFSET_BITS = (LINE_BYTES - 1).bit_length()


def list_layout() -> data.StructLayout:
    """Return the layout of a list to run: where it begins and which thread started it."""
    return data.StructLayout({"address": LOCAL_BITS, "thread": THREAD_BITS})


def list_done_layout() -> data.StructLayout:
    """Return the layout of the end of a list of a thread."""
    return data.StructLayout({"valid": 1, "thread": THREAD_BITS})


class ListWalker(wiring.Component):
    """Run lists of descriptors, one list at a time.

    A descriptor is read and checked in three cycles, while the lines of those before it are on
    their way; up to `LIST_CONTEXTS` are under way at once. They complete in order: then the
    completion semaphore is posted. A descriptor with `wait` begins when all before it are complete.
    After a fault no further descriptor begins, and those not yet complete are not posted.

    Golden twin: `d1_golden.node.communication._advance_lists`, with one descriptor under way.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    i : In(stream.Signature(list_layout()))
    o : Out(stream.Signature(job_layout()))
    sram_read : Out(SramReadSignature(params))
    complete : In(LIST_CONTEXTS)
        All steps of a descriptor are done and answered, by its context.
    failed : In(LIST_CONTEXTS)
        There is a fault in it.
    fault : Out(TransferFaultEvent)
        Of a descriptor itself.
    post : Out(SemaphoreEvent)
    done : Out(list_done_layout())
    """

    i: Any
    o: Any
    sram_read: Any
    complete: Signal
    failed: Signal
    fault: Any
    post: Any
    done: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(list_layout())),
                "o": Out(stream.Signature(job_layout())),
                "sram_read": Out(SramReadSignature(params)),
                "complete": In(LIST_CONTEXTS),
                "failed": In(LIST_CONTEXTS),
                "fault": Out(TransferFaultEvent),
                "post": Out(SemaphoreEvent),
                "done": Out(list_done_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        descriptor: Any = Signal(descriptor_layout())
        ended, room, quiet, newest = self._follow(m, descriptor)
        good, corrupt = Signal(), Signal()
        address, thread = Signal(64), Signal(THREAD_BITS)
        left = Signal(range(MAX_DESCRIPTORS + 1))
        m.d.comb += [
            good.eq(_is_good(descriptor)),
            self.sram_read.request.payload.eq(address[_OFFSET_BITS:]),
            self.fault.address.eq(address),
            self.fault.kind.eq(Mux(corrupt, TransferFault.UNCORRECTABLE, TransferFault.DESCRIPTOR)),
            self.done.thread.eq(thread),
        ]
        self._fill_job(m, descriptor, newest)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    address.eq(self.i.payload.address),
                    thread.eq(self.i.payload.thread),
                    left.eq(MAX_DESCRIPTORS),
                    corrupt.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "FETCH"
            with m.State("FETCH"):
                misplaced = address[:_OFFSET_BITS].any() | (address >= self._params.sram_bytes)
                with m.If(misplaced | (left == 0)):
                    m.d.comb += self.fault.valid.eq(1)
                    m.next = "DRAIN"
                with m.Else():
                    m.d.comb += self.sram_read.request.valid.eq(1)
                    with m.If(self.sram_read.request.ready):
                        m.next = "DATA"
            with m.State("DATA"):
                m.d.sync += [
                    descriptor.eq(self.sram_read.data),
                    corrupt.eq(self.sram_read.uncorrectable.any()),
                ]
                m.next = "CHECK"
            with m.State("CHECK"):
                with m.If(ended):
                    m.next = "DRAIN"
                with m.Elif(corrupt | ~good):
                    m.d.comb += self.fault.valid.eq(1)
                    m.next = "DRAIN"
                with m.Elif(Mux(descriptor.wait[0], quiet, room)):
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.o.valid.eq(1)
                m.d.sync += address.eq(descriptor.next)
                with m.If(self.o.ready):
                    m.d.sync += left.eq(left - 1)
                    m.next = "FETCH"
                    with m.If(descriptor.next == 0):
                        m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += self.done.valid.eq(quiet)
                with m.If(quiet):
                    m.next = "IDLE"
        return m

    def _follow(self, m: Module, descriptor: Any) -> tuple[Signal, Value, Value, Signal]:
        """Follow the descriptors under way, and complete the oldest.

        Returns whether one of the list failed, whether one more may begin, whether there is none,
        and the place of the next.
        """
        oldest, newest = Signal(range(LIST_CONTEXTS)), Signal(range(LIST_CONTEXTS))
        used, bad = Signal(LIST_CONTEXTS), Signal(LIST_CONTEXTS)
        completions: Any = Array(
            Signal(SemaphoreEvent, name=f"completion_{n}") for n in range(LIST_CONTEXTS)
        )
        ended = Signal()  # one failed: no further one begins
        spoiled = Signal()  # one failed and would be complete: no later one is
        completes, fails, failing = Signal(), Signal(), Signal(LIST_CONTEXTS)
        m.d.comb += [
            failing.eq(used & (bad | self.failed)),
            completes.eq((used & self.complete).bit_select(oldest, 1)),
            fails.eq(spoiled | failing.bit_select(oldest, 1)),
            self.post.valid.eq(completes & ~fails & completions[oldest].valid),
            self.post.number.eq(completions[oldest].number),
        ]
        m.d.sync += [bad.eq(failing), ended.eq(ended | failing.any())]
        with m.If(completes):
            m.d.sync += [
                used.bit_select(oldest, 1).eq(0),
                oldest.eq(oldest + 1),
                spoiled.eq(fails),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [ended.eq(0), spoiled.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                used.bit_select(newest, 1).eq(1),
                newest.eq(newest + 1),
                completions[newest].valid.eq(descriptor.completion.valid),
                completions[newest].number.eq(descriptor.completion.number),
            ]
        return ended, ~used.bit_select(newest, 1), ~used.any(), newest

    def _fill_job(self, m: Module, descriptor: Any, newest: Signal) -> None:
        """Make the job of a descriptor."""
        job = self.o.payload
        m.d.comb += [
            job.op.eq(descriptor.opcode[: len(job.op.as_value())]),
            job.context.eq(CONTEXTS - LIST_CONTEXTS + newest),
            job.local.eq(descriptor.local),
            job.remote.eq(descriptor.remote),
            job.corner.eq(descriptor.corner),
            job.lines.eq(Mux(job.op == TransferOp.POST, 1, descriptor.lines)),
            job.local_stride.eq(descriptor.local_stride),
            job.remote_stride.eq(descriptor.remote_stride),
            job.arrival.valid.eq(descriptor.arrival.valid),
            job.arrival.number.eq(descriptor.arrival.number),
        ]


def _is_good(descriptor: Any) -> Value:
    """Return whether a descriptor is well-formed; its `next` is not looked at."""
    near = descriptor.remote[LOCAL_BITS:ADDRESS_BITS]
    strides = descriptor.local_stride | descriptor.remote_stride
    unaligned = (descriptor.local | descriptor.remote | strides)[:_OFFSET_BITS].any()
    bad_lines = (
        (descriptor.lines == 0)
        | descriptor.local[LOCAL_BITS:].any()
        | unaligned
        | (
            (descriptor.opcode == TransferOp.BCAST.value)
            & ~is_between(near, near, descriptor.corner)
        )
    )
    zeros = Cat(
        descriptor.wait[1:],
        descriptor.completion.zero,
        descriptor.arrival.zero,
        descriptor.zero,
        descriptor.zero_corner,
        descriptor.zero_end,
        descriptor.remote[ADDRESS_BITS:],
    )
    is_post = descriptor.opcode == TransferOp.POST.value
    return (
        (descriptor.opcode <= TransferOp.POST.value)
        & ~zeros.any()
        & ~Mux(is_post, ~descriptor.arrival.valid, bad_lines)
    )
