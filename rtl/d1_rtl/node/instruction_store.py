"""The instruction store: the copy of SRAM that threads fetch from."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import TURNS, TurnCounter
from .interfaces import SramReadSignature, line_address_bits

__all__ = [
    "BLOCK_BITS",
    "BLOCK_BYTES",
    "BLOCK_WORDS",
    "SLOT_BITS",
    "InstructionStore",
    "fill_layout",
]

#: Bytes that are fetched in one cycle, aligned: half a line.
BLOCK_BYTES = LINE_BYTES // 2
#: Instructions in a block.
BLOCK_WORDS = BLOCK_BYTES // 4
#: Bits of the number of an instruction in its block.
SLOT_BITS = (BLOCK_WORDS - 1).bit_length()
#: Bits of the number of a block in a node's space.
BLOCK_BITS = LOCAL_BITS - (BLOCK_BYTES - 1).bit_length()


def fill_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of the news that a line was read.

    Fields
    ------
    valid
        A line has come; lookups find it from the next cycle on.
    failed
        It has a word that cannot be corrected, so it was not kept.
    line
        Its number.
    """
    return data.StructLayout({"valid": 1, "failed": 1, "line": line_address_bits(params)})


class InstructionStore(wiring.Component):
    """Lines of instructions, direct-mapped, filled from SRAM and read by blocks of half a line.

    Lookup is combinational: `hit` and `words` belong to `block` of the same cycle, one block a
    cycle. One line is filled at a time: a `demand` that is accepted in cycle t is a request to
    SRAM in t + 1, its line comes in t + 2 when the bank is free, and is found from t + 3 on.

    Without a demand, a lookup that hits and goes on behind its block has the next line filled when
    it is missing, so that straight-line code meets a demand only at its first line. Nothing is
    filled while `hold` is high: by that a thread keeps its line until it has read it.

    Nothing tells the store of a write to SRAM. `invalidate` drops every line, a line on its way
    too, and what is accepted in later cycles is as new as SRAM is then.

    On an FPGA lines are in block RAM that is read in the first turn and written in the last, so
    `words` are there in later turns, and `block` must be the same in all (`Turns`).

    Golden twin: none; a program sees the store only where it changes its own instructions, and
    `fence.i` is there for that.

    Parameters
    ----------
    params
        Lines of the store and of the SRAM.

    Members
    -------
    lookup : In(1)
        `block` is fetched in this cycle.
    block : In(BLOCK_BITS)
        A number of a block; it must be in SRAM for a lookup.
    falls_through : In(1)
        Fetch goes on behind `block`.
    hit : Out(1)
    words : Out(8 x 32)
    demand : In({valid, line})
        A line that a thread waits for. It may change while it is not accepted.
    accepts : Out(1)
        A demand in this cycle is taken.
    hold : In(1)
    filled : Out(fill_layout(params))
    invalidate : In(1)
    busy : Out(1)
        A line is on its way. Otherwise registers change only by inputs.
    sram : Out(SramReadSignature(params))
    """

    lookup: Signal
    block: Signal
    falls_through: Signal
    hit: Signal
    words: Any
    demand: Any
    accepts: Signal
    hold: Signal
    filled: Any
    invalidate: Signal
    busy: Signal
    sram: Any

    def __init__(self, params: NodeParams):
        self._params = params
        line_bits = line_address_bits(params)
        super().__init__(
            {
                "lookup": In(1),
                "block": In(BLOCK_BITS),
                "falls_through": In(1),
                "hit": Out(1),
                "words": Out(data.ArrayLayout(32, BLOCK_WORDS)),
                "demand": In(data.StructLayout({"valid": 1, "line": line_bits})),
                "accepts": Out(1),
                "hold": In(1),
                "filled": Out(fill_layout(params)),
                "invalidate": In(1),
                "busy": Out(1),
                "sram": Out(SramReadSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        line = self.line(self.block)
        next_line, next_present = Signal.like(line), Signal()
        self._read_words(m, self._index(line), platform)
        valid, tags = self._tags(m)
        m.d.comb += [
            next_line.eq(line + 1),
            self.hit.eq(self._present(m, valid, tags, line)),
            next_present.eq(self._present(m, valid, tags, next_line)),
        ]
        is_last = line == self._params.sram_bytes // LINE_BYTES - 1
        prefetch = self.lookup & self.hit & self.falls_through & ~next_present & ~is_last
        self._fill(m, prefetch, next_line)
        return m

    def line(self, block: Value) -> Value:
        """Return the number of the line in SRAM that a block is in."""
        return block[1:][: len(self.filled.line)]

    def _index(self, line: Value) -> Value:
        """Return where in the store a line of SRAM belongs."""
        return line[: (self._params.instruction_lines - 1).bit_length()]

    def _read_words(self, m: Module, index: Value, platform: object) -> None:
        """Keep the lines, in a memory for each half, so that a line is written in one cycle."""
        blocks = []
        depth = self._params.instruction_lines
        written: Value = self.filled.valid & ~self.filled.failed
        if platform is not None:
            m.submodules.turns = turns = TurnCounter()
            written = written & (turns.number == TURNS - 1)
        for half in range(2):
            if platform is None:
                lines: Any = memory.Memory(shape=8 * BLOCK_BYTES, depth=depth, init=[])
                read, write = lines.read_port(domain="comb"), lines.write_port()
            else:
                attributes = {"ram_style": "block"}
                lines = memory.Memory(shape=8 * BLOCK_BYTES, depth=depth, init=[], attrs=attributes)
                read, write = lines.read_port(domain="turn"), lines.write_port(domain="turn")
                m.d.comb += read.en.eq(turns.number == 0)
            m.submodules[f"half_{half}"] = lines
            blocks.append(read.data)
            m.d.comb += [
                read.addr.eq(index),
                write.addr.eq(self._index(self.filled.line)),
                write.data.eq(self.sram.data.word_select(half, 8 * BLOCK_BYTES)),
                write.en.eq(written),
            ]
        m.d.comb += self.words.eq(Mux(self.block[0], blocks[1], blocks[0]))

    def _tags(self, m: Module) -> tuple[Signal, memory.Memory]:
        """Keep which line is in each place of the store, and whether there is one."""
        index = self._index(self.filled.line)
        valid = Signal(self._params.instruction_lines)
        tags: Any = memory.Memory(
            shape=len(self.filled.line) - len(index), depth=len(valid), init=[]
        )
        m.submodules.tags = tags
        write = tags.write_port()
        m.d.comb += [
            write.addr.eq(index),
            write.data.eq(self.filled.line[len(index) :]),
            write.en.eq(self.filled.valid & ~self.filled.failed),
        ]
        with m.If(write.en):
            m.d.sync += valid.bit_select(index, 1).eq(1)
        with m.If(self.invalidate):
            m.d.sync += valid.eq(0)
        return valid, tags

    def _present(self, m: Module, valid: Signal, tags: memory.Memory, line: Value) -> Value:
        """Return whether a line of SRAM is in the store."""
        index = self._index(line)
        read = tags.read_port(domain="comb")
        m.d.comb += read.addr.eq(index)
        return valid.bit_select(index, 1) & (read.data == line[len(index) :])

    def _fill(self, m: Module, prefetch: Value, next_line: Value) -> None:
        """Read one line at a time: a demand first, else the one that will be wanted."""
        request = self.sram.request
        pending, dropped = Signal(), Signal()
        idle = ~request.valid & ~pending & ~self.hold & ~self.invalidate
        m.d.comb += [
            self.accepts.eq(idle),
            self.busy.eq(request.valid | pending),
            self.filled.valid.eq(pending & ~dropped & ~self.invalidate),
            self.filled.failed.eq(self.sram.uncorrectable.any()),
            self.filled.line.eq(request.payload),
        ]
        m.d.sync += pending.eq(request.valid & request.ready)
        with m.If(request.ready):
            m.d.sync += request.valid.eq(0)
        with m.If(idle & (self.demand.valid | prefetch)):
            m.d.sync += [
                request.valid.eq(1),
                request.payload.eq(Mux(self.demand.valid, self.demand.line, next_line)),
                dropped.eq(0),
            ]
        # What was asked for before the invalidation may be older than the last store.
        with m.If(self.invalidate):
            m.d.sync += dropped.eq(1)
