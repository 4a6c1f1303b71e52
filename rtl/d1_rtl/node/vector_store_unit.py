"""Vectors to SRAM."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .interfaces import THREAD_BITS, SramWriteSignature, line_address_bits

__all__ = ["VectorStoreUnit"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1


class VectorStoreUnit(wiring.Component):
    """Write vectors, or some of their lanes, to SRAM; golden twin: `vstore`.

    A store that is taken in cycle t, with `take` high while `accept` is, has its vector and mask on
    `vector` and `mask` in cycle t + 1, and asks SRAM from then on until it is written. One store a
    cycle, less those in which a bank is taken.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    take : In(1)
    thread : In(THREAD_BITS)
    address : In(24)
        In SRAM, aligned to the vector size.
    accept : Out(1)
        A store can be taken in this cycle. Depends on `sram_write.request.ready`.
    vector : In(8 * vector_bytes)
    mask : In(fp32_lanes)
    pending : Out(1)
        A store was taken and is not written; its thread and line:
    pending_thread : Out(THREAD_BITS)
    pending_line : Out
    kept : Out(1)
        It was refused in an earlier cycle.
    sram_write : Out(SramWriteSignature(params))
    """

    take: Signal
    thread: Signal
    address: Signal
    accept: Signal
    vector: Signal
    mask: Signal
    pending: Signal
    pending_thread: Signal
    pending_line: Signal
    kept: Signal
    sram_write: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "take": In(1),
                "thread": In(THREAD_BITS),
                "address": In(LOCAL_BITS),
                "accept": Out(1),
                "vector": In(8 * params.vector_bytes),
                "mask": In(params.fp32_lanes),
                "pending": Out(1),
                "pending_thread": Out(THREAD_BITS),
                "pending_line": Out(line_address_bits(params)),
                "kept": Out(1),
                "sram_write": Out(SramWriteSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        write: Any = self.sram_write.request
        vector_bytes = self._params.vector_bytes
        place_log2 = vector_bytes.bit_length() - 1
        place = Signal(_LINE_LOG2 - place_log2)
        kept_vector, kept_mask = Signal.like(self.vector), Signal.like(self.mask)
        vector, mask = Signal.like(self.vector), Signal.like(self.mask)
        written = Signal()
        m.d.comb += [
            vector.eq(Mux(self.kept, kept_vector, self.vector)),
            mask.eq(Mux(self.kept, kept_mask, self.mask)),
            write.valid.eq(self.pending),
            write.payload.line.eq(self.pending_line),
            write.payload.data.eq(vector.replicate(LINE_BYTES // vector_bytes)),
            write.payload.mask.eq(Cat(lane.replicate(4) for lane in mask) << (place << place_log2)),
            written.eq(write.valid & write.ready),
            self.accept.eq(~self.pending | written),
        ]
        m.d.sync += self.kept.eq(self.pending & ~written)
        with m.If(self.pending & ~written & ~self.kept):
            m.d.sync += [kept_vector.eq(self.vector), kept_mask.eq(self.mask)]
        with m.If(written):
            m.d.sync += self.pending.eq(0)
        with m.If(self.take):
            m.d.sync += [
                self.pending.eq(1),
                self.pending_thread.eq(self.thread),
                self.pending_line.eq(self.address[_LINE_LOG2:]),
                place.eq(self.address[place_log2:_LINE_LOG2]),
            ]
        return m
