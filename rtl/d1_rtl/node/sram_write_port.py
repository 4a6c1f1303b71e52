"""A writer's way to the banks of the SRAM: masked bytes become words with check bytes."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS, DATA_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import TURNS, TurnCounter, word_of_turn
from .ecc import LINE_WORDS, EccEncoder
from .interfaces import line_address_bits, sram_write_layout

__all__ = ["TURN_WORDS", "SramWritePort", "bank_write_layout", "masked_bytes"]

_WORD_BYTES = DATA_BITS // 8
#: Words that are written in each turn of a cycle, on an FPGA.
TURN_WORDS = LINE_WORDS // TURNS


def bank_write_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a write as a bank takes it.

    On an FPGA `data`, `check`, `mask` and `words` have, at their lower ends, what belongs to the
    words of the turn: of turn n the words from n x `TURN_WORDS` on.

    Members
    -------
    data : 512
        Zero in the bytes whose `mask` is clear.
    check : 64
        The check byte of each word of `data`.
    mask : 64
        Bytes to write.
    words : 8
        Words that have such a byte.
    partial : 1
        One of these has other bytes too.
    raw : 1
        `data` and `check` flip bits of the stored row instead.
    line : line number
    """
    return data.StructLayout(
        {
            "data": 8 * LINE_BYTES,
            "check": CHECK_BITS * LINE_WORDS,
            "mask": LINE_BYTES,
            "words": LINE_WORDS,
            "partial": 1,
            "raw": 1,
            "line": line_address_bits(params),
        }
    )


def masked_bytes(m: Module, line: Value, mask: Value, name: str) -> list[Value]:
    """Return the words of a line with zero in the bytes whose bit of the mask is clear.

    The bits of each word's mask are a signal of their own: a simulator handles 64 bits at once,
    while it takes a mask of 512 to pieces.
    """
    words = []
    for n in range(len(mask) // _WORD_BYTES):
        bits = Signal(DATA_BITS, name=f"{name}_{n}")
        lanes = mask.word_select(n, _WORD_BYTES)
        m.d.comb += bits.eq(Cat(Mux(lane, 0xFF, 0) for lane in lanes))
        words.append(line.word_select(n, DATA_BITS) & bits)
    return words


class SramWritePort(wiring.Component):
    """Makes the check bytes of what is written, once for all banks.

    Combinational from `i` to `o` and back.

    Golden twin: `d1_golden.ecc.encode`.

    Parameters
    ----------
    params
        Size of the SRAM.
    one_word
        Whether the writer has a word at most to write, which stands in every word of `data`: one
        encoder serves then.

    Members
    -------
    i : In(stream.Signature(sram_write_layout(params)))
    o : Out(stream.Signature(bank_write_layout(params)))
    """

    i: Any
    o: Any

    def __init__(self, params: NodeParams, *, one_word: bool = False):
        self._one_word = one_word
        super().__init__(
            {
                "i": In(stream.Signature(sram_write_layout(params))),
                "o": Out(stream.Signature(bank_write_layout(params))),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        write, made = self.i.payload, self.o.payload
        masks = [write.mask.word_select(n, _WORD_BYTES) for n in range(LINE_WORDS)]
        if platform is not None:
            self._in_turns(m, masks)
            return m
        m.submodules.encoder = encoder = EccEncoder(words=1 if self._one_word else LINE_WORDS)
        bytes_written = reduce(or_, masks) if self._one_word else write.mask
        masked = Signal.like(encoder.data)
        repeat = LINE_WORDS if self._one_word else 1
        # The conditions are redundant: nothing toggles in an idle port, and the simulator passes
        # over what a port without a write, or one with a whole line, does not need.
        with m.If(self.i.valid):
            m.d.comb += [
                masked.eq(write.data),
                made.words.eq(Cat(mask.any() for mask in masks)),
            ]
            with m.If(~bytes_written.all()):
                m.d.comb += [
                    masked.eq(Cat(masked_bytes(m, write.data, bytes_written, "bits"))),
                    made.partial.eq(Cat(mask.any() & ~mask.all() for mask in masks).any()),
                ]
        m.d.comb += [
            encoder.data.eq(masked),
            made.data.eq(masked.replicate(repeat)),
            made.check.eq(encoder.check.replicate(repeat)),
            made.mask.eq(write.mask),
            made.line.eq(write.line),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        return m

    def _in_turns(self, m: Module, masks: list[Value]) -> None:
        """Make the check bytes of the words of each turn."""
        m.submodules.turns = turns = TurnCounter()
        m.submodules.encoder = encoder = EccEncoder(words=1 if self._one_word else TURN_WORDS)
        write, made = self.i.payload, self.o.payload
        repeat = TURN_WORDS if self._one_word else 1
        line = (
            write.data
            if self._one_word
            else word_of_turn(write.data, turns.number, DATA_BITS * TURN_WORDS)
        )
        mask = word_of_turn(write.mask, turns.number, _WORD_BYTES * TURN_WORDS)
        bytes_written = reduce(or_, masks) if self._one_word else mask
        m.d.comb += [
            encoder.data.eq(Cat(masked_bytes(m, line, bytes_written, "bits"))),
            made.data.eq(encoder.data.replicate(repeat)),
            made.check.eq(encoder.check.replicate(repeat)),
            made.mask.eq(mask),
            made.words.eq(Cat(mask.word_select(n, _WORD_BYTES).any() for n in range(TURN_WORDS))),
            made.partial.eq(Cat(word.any() & ~word.all() for word in masks).any()),
            made.line.eq(write.line),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
