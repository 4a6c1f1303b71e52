"""Vectors from SRAM."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import TurnCounter, caught, last_word
from .interfaces import SramReadSignature

__all__ = ["VectorLoadUnit"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1
_WORD_LOG2 = 2


class VectorLoadUnit(wiring.Component):
    """Fetch the memory operand of one vector slot; golden twin: `vload` and `vbc_x`.

    `address` is in SRAM and aligned to the vector size, or to 4 bytes for a broadcast. `ready` is
    high in the cycle in which SRAM takes the access, one a cycle at most; the vector is on `loaded`
    in the cycle after, and only then, on an FPGA in the last turn. A load that is not taken may be
    withdrawn.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    load : In(1)
    address : In(24)
    broadcast : In(1)
        Every lane gets the 32-bit word at the address.
    ready : Out(1)
    loaded : Out(8 * vector_bytes)
    uncorrectable : Out(1)
        With `loaded`: it is wrong.
    sram_read : Out(SramReadSignature(params))
    """

    load: Signal
    address: Signal
    broadcast: Signal
    ready: Signal
    loaded: Signal
    uncorrectable: Signal
    sram_read: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "load": In(1),
                "address": In(LOCAL_BITS),
                "broadcast": In(1),
                "ready": Out(1),
                "loaded": Out(8 * params.vector_bytes),
                "uncorrectable": Out(1),
                "sram_read": Out(SramReadSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        request: Any = self.sram_read.request
        vector_bytes, lanes = self._params.vector_bytes, self._params.fp32_lanes
        m.d.comb += [
            request.valid.eq(self.load),
            request.payload.eq(self.address[_LINE_LOG2:]),
            self.ready.eq(request.ready),
        ]
        fetched, broadcast = Signal(), Signal()
        word = Signal(_LINE_LOG2 - _WORD_LOG2)
        m.d.sync += fetched.eq(self.load & request.ready)
        with m.If(self.load):
            m.d.sync += [
                word.eq(self.address[_WORD_LOG2:_LINE_LOG2]),
                broadcast.eq(self.broadcast),
            ]
        place = word[(lanes - 1).bit_length() :]
        words = vector_bytes // 8  # that SRAM protects
        wrong = Signal(words)
        if platform is not None:
            vector = self._arrive(m, place)
            at = word[: (lanes - 1).bit_length()]
            value = vector.word_select(at, 32).replicate(lanes)
            bad = self.sram_read.uncorrectable
            m.d.comb += [
                self.loaded.eq(Mux(broadcast, value, vector)),
                wrong.eq(
                    Mux(broadcast, bad.bit_select(word[1:], 1), bad.word_select(place, words))
                ),
                self.uncorrectable.eq(fetched & wrong.any()),
            ]
            return m
        with m.If(broadcast):
            value = self.sram_read.data.word_select(word, 32)
            m.d.comb += [
                self.loaded.eq(value.replicate(lanes)),
                wrong.eq(self.sram_read.uncorrectable.bit_select(word[1:], 1)),
            ]
        with m.Else(), m.Switch(place):
            for index in range(LINE_BYTES // vector_bytes):
                with m.Case(index):
                    m.d.comb += [
                        self.loaded.eq(self.sram_read.data.word_select(index, 8 * vector_bytes)),
                        wrong.eq(self.sram_read.uncorrectable.word_select(index, words)),
                    ]
        m.d.comb += self.uncorrectable.eq(fetched & Cat(wrong).any())
        return m

    def _arrive(self, m: Module, place: Value) -> Value:
        """Keep the words of the vector as they come; return it, in the last turn."""
        m.submodules.turns = turns = TurnCounter()
        words = last_word(self.sram_read.data)
        parts = len(self.loaded) // len(words)
        turn_of = (Cat(Const(n, (parts - 1).bit_length()), place) for n in range(parts))
        return Cat(
            caught(m, words, turns.number == turn, f"part_{n}") for n, turn in enumerate(turn_of)
        )
