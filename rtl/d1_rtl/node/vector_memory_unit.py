"""Vector loads and stores."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .interfaces import SramReadSignature, SramWriteSignature

__all__ = ["VectorMemoryUnit"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1


class VectorMemoryUnit(wiring.Component):
    """Move vectors between SRAM and the vector unit; golden twin: `vload` and `vstore`.

    `address` is aligned to the vector size and in SRAM. `ready` is high in the cycle in which SRAM
    takes the access: one per cycle, less those in which the bank is taken. A vector that was
    loaded is on `loaded` in the cycle after, and stays there while `keep` is high.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    load, store : In(1)
    address : In(24)
    store_data : In(8 * vector_bytes)
    ready : Out(1)
    loaded : Out(8 * vector_bytes)
    keep : In(1)
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    """

    load: Signal
    store: Signal
    address: Signal
    store_data: Signal
    ready: Signal
    loaded: Signal
    keep: Signal
    sram_read: Any
    sram_write: Any

    def __init__(self, params: NodeParams):
        self._params = params
        bits = 8 * params.vector_bytes
        super().__init__(
            {
                "load": In(1),
                "store": In(1),
                "address": In(LOCAL_BITS),
                "store_data": In(bits),
                "ready": Out(1),
                "loaded": Out(bits),
                "keep": In(1),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        read: Any = self.sram_read.request
        write: Any = self.sram_write.request
        vectors = LINE_BYTES // self._params.vector_bytes
        vector_log2 = self._params.vector_bytes.bit_length() - 1
        place = self.address[vector_log2:_LINE_LOG2]
        mask = (1 << self._params.vector_bytes) - 1
        m.d.comb += [
            read.valid.eq(self.load),
            read.payload.eq(self.address[_LINE_LOG2:]),
            write.valid.eq(self.store),
            write.payload.line.eq(self.address[_LINE_LOG2:]),
            write.payload.mask.eq(mask << (place << vector_log2)),
            write.payload.data.eq(self.store_data.replicate(vectors)),
            self.ready.eq((self.load & read.ready) | (self.store & write.ready)),
        ]
        fresh, fresh_place = Signal(), Signal.like(place)
        kept = Signal.like(self.loaded)
        m.d.sync += [fresh.eq(self.load & read.ready), fresh_place.eq(place)]
        with m.If(fresh), m.Switch(fresh_place):
            for index in range(vectors):
                with m.Case(index):
                    m.d.comb += self.loaded.eq(
                        self.sram_read.data.word_select(index, len(self.loaded))
                    )
        with m.Else():
            m.d.comb += self.loaded.eq(kept)
        with m.If(fresh & self.keep):
            m.d.sync += kept.eq(self.loaded)
        return m
