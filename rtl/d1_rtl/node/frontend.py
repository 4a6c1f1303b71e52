"""Instruction fetch."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES, NodeParams

from .interfaces import SramReadSignature, line_address_bits
from .micro_op import FetchFault, fetched_layout

__all__ = ["LINE_BUFFERS", "Frontend", "LineBuffers"]

#: Lines of instructions that a front end holds.
LINE_BUFFERS = 4
_LINE_LOG2 = LINE_BYTES.bit_length() - 1
_WORDS = LINE_BYTES // 4
#: log2 of the words at the start of a line that may be fetched before a branch is resolved.
_EARLY_LOG2 = 2


class LineBuffers(wiring.Component):
    """The lines of instructions that were fetched last, found by their number.

    Lookup is combinational. A fill is seen from the next cycle on and replaces the oldest line,
    except the one that is being read.

    Golden twin: none; a program sees it only where it changes its own instructions, and `fence.i`
    is there for that.

    Parameters
    ----------
    params
        How many lines there are in SRAM.

    Members
    -------
    line : In(line number)
    hit, next_hit : Out(1)
    word_index : In(4)
    word : Out(32)
    fill : In(1)
    fill_line : In(line number)
    fill_data : In(512)
    clear : In(1)
    """

    line: Signal
    hit: Signal
    next_hit: Signal
    word_index: Signal
    word: Signal
    fill: Signal
    fill_line: Signal
    fill_data: Signal
    clear: Signal

    def __init__(self, params: NodeParams):
        bits = line_address_bits(params)
        super().__init__(
            {
                "line": In(bits),
                "hit": Out(1),
                "next_hit": Out(1),
                "word_index": In(_WORDS.bit_length() - 1),
                "word": Out(32),
                "fill": In(1),
                "fill_line": In(bits),
                "fill_data": In(8 * LINE_BYTES),
                "clear": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        lines: Any = memory.Memory(shape=8 * LINE_BYTES, depth=LINE_BUFFERS, init=[])
        m.submodules.lines = lines
        read, write = lines.read_port(domain="comb"), lines.write_port()
        tags = [Signal.like(self.line, name=f"tag_{n}") for n in range(LINE_BUFFERS)]
        valid = Signal(LINE_BUFFERS)
        hits = Signal(LINE_BUFFERS)
        slot, victim, oldest = (Signal(range(LINE_BUFFERS), name=n) for n in ("s", "v", "oldest"))
        m.d.comb += [
            hits.eq(valid & Cat(tag == self.line for tag in tags)),
            self.hit.eq(hits.any()),
            self.next_hit.eq((valid & Cat(tag == self.line + 1 for tag in tags)).any()),
            read.addr.eq(slot),
            self.word.eq(
                Array(read.data.word_select(n, 32) for n in range(_WORDS))[self.word_index]
            ),
            victim.eq(Mux(hits.bit_select(oldest, 1), oldest + 1, oldest)),
            write.addr.eq(victim),
            write.data.eq(self.fill_data),
            write.en.eq(self.fill),
        ]
        with m.Switch(hits):
            for n in range(LINE_BUFFERS):
                with m.Case(1 << n):
                    m.d.comb += slot.eq(n)
        with m.If(self.fill):
            m.d.sync += [Array(tags)[victim].eq(self.fill_line), oldest.eq(victim + 1)]
            m.d.sync += valid.bit_select(victim, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += valid.eq(0)
        return m


class Frontend(wiring.Component):
    """Fetch instructions in program order from SRAM; golden twin: the fetch of the golden node.

    One instruction a cycle. The line after the one in use is fetched ahead, so straight-line code
    never waits. After `redirect` the target is on `o` two cycles later if its line is buffered,
    else four cycles later, plus the cycles in which the bank of SRAM is taken.

    An address that is misaligned or not in SRAM gives one entry with `fault` set, after which
    nothing is fetched until the next `redirect`. A redirect or `halt` takes back an entry that was
    offered on `o`: whoever redirects has already given up the instructions behind it.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    redirect : In(1)
    target : In(64)
    invalidate : In(1)
    halt : In(1)
    sram : Out(SramReadSignature(params))
    o : Out(stream.Signature(fetched_layout()))
    """

    redirect: Signal
    target: Signal
    invalidate: Signal
    halt: Signal
    sram: Any
    o: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "redirect": In(1),
                "target": In(64),
                "invalidate": In(1),
                "halt": In(1),
                "sram": Out(SramReadSignature(params)),
                "o": Out(stream.Signature(fetched_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.buffers = buffers = LineBuffers(self._params)
        pc, active, advance = Signal(64), Signal(), Signal()
        fault = Signal(FetchFault)
        with m.If(pc[:2].any()):
            m.d.comb += fault.eq(FetchFault.MISALIGNED)
        with m.Elif(pc >= self._params.sram_bytes):
            m.d.comb += fault.eq(FetchFault.ACCESS)
        m.d.comb += [
            buffers.line.eq(pc[_LINE_LOG2:]),
            buffers.word_index.eq(pc[2:]),
            advance.eq(~self.o.valid | self.o.ready),
        ]
        self._fetch_lines(m, buffers, active & (fault == FetchFault.NONE), pc)
        with m.If(advance):
            m.d.sync += [
                self.o.valid.eq(active & (buffers.hit | (fault != FetchFault.NONE))),
                self.o.payload.pc.eq(pc),
                self.o.payload.insn.eq(buffers.word),
                self.o.payload.fault.eq(fault),
            ]
            with m.If(fault != FetchFault.NONE):
                m.d.sync += active.eq(0)
            with m.Elif(active & buffers.hit):
                m.d.sync += pc.eq(pc + 4)
        with m.If(self.redirect):
            m.d.sync += [pc.eq(self.target), active.eq(1), self.o.valid.eq(0)]
        with m.If(self.halt):
            m.d.sync += [active.eq(0), self.o.valid.eq(0)]
        return m

    def _fetch_lines(self, m: Module, buffers: LineBuffers, active: Value, pc: Value) -> None:
        """Read the line in use if it is missing, else the line after it.

        Not the line after it while the first words of a line are fetched: these may be behind a
        branch that ends a loop, and the loop's first line would have to go.
        """
        request = self.sram.request
        # A request that waits for its bank stays as it is, wanted or not.
        waiting, waiting_line = Signal(), Signal.like(request.payload)
        wanted = Signal.like(request.payload)
        early = ~pc[2 + _EARLY_LOG2 : _LINE_LOG2].any()
        is_last = buffers.line == self._params.sram_bytes // LINE_BYTES - 1
        pending = Signal()
        m.d.comb += [
            wanted.eq(Mux(buffers.hit, buffers.line + 1, buffers.line)),
            request.payload.eq(Mux(waiting, waiting_line, wanted)),
            request.valid.eq(
                waiting
                | (active & ~pending & ~(buffers.hit & (buffers.next_hit | is_last | early)))
            ),
            buffers.clear.eq(self.invalidate),
            # What was asked for before the invalidation may be older than the last store.
            buffers.fill.eq(pending & ~self.invalidate),
            buffers.fill_data.eq(self.sram.data),
        ]
        m.d.sync += [
            waiting.eq(request.valid & ~request.ready),
            waiting_line.eq(request.payload),
            pending.eq(request.valid & request.ready),
            buffers.fill_line.eq(request.payload),
        ]
