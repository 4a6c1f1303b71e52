"""Gather and scatter: every lane has its own address."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from .interfaces import THREAD_BITS, SramReadSignature, SramWriteSignature, line_address_bits

__all__ = ["GatherUnit", "gather_operation_layout", "gathered_layout", "vector_blocking_layout"]

_LINE_LOG2 = LINE_BYTES.bit_length() - 1
_WORD_LOG2 = 2
_WORDS = LINE_BYTES // 4
#: Refusals in a row after which an access goes before the accesses of the vector slots.
_PATIENCE = 7


def vector_blocking_layout() -> data.StructLayout:
    """Return the layout of the end of an operation that blocked its thread.

    Members
    -------
    fault
        It stops the thread, because of `address`: a lane's that is misplaced, so that there was no
        effect, or a word's that could not be corrected.
    hardware
        The latter.
    """
    return data.StructLayout({"thread": THREAD_BITS, "fault": 1, "hardware": 1, "address": 64})


def gather_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a gather or scatter.

    Members
    -------
    offsets, values : 8 x vector_bytes
        Byte offset of each lane; what it holds, of a gather where its mask is 0 or there is a
        fault, of a scatter what it stores.
    base : 64
    mask : fp32_lanes
        Lanes that take part.
    register : 5
        Where a gathered vector goes.
    thread
    scatters : 1
    """
    vector = 8 * params.vector_bytes
    return data.StructLayout(
        {
            "offsets": vector,
            "values": vector,
            "base": 64,
            "mask": params.fp32_lanes,
            "register": 5,
            "thread": THREAD_BITS,
            "scatters": 1,
        }
    )


def gathered_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a gathered vector: its value, and where it goes."""
    return data.StructLayout(
        {"value": 8 * params.vector_bytes, "register": 5, "thread": THREAD_BITS}
    )


class _State(enum.Enum, shape=3):
    IDLE = 0
    CHECK = 1  #: are all addresses good?
    ACCESS = 2
    WRITE = 3  #: the gathered vector goes to its register
    REPORT = 4


class GatherUnit(wiring.Component):
    """Carry out one gather or scatter at a time; golden twin: `vgather_m` and `vscatter_m`.

    The addresses of all lanes that take part are checked in the cycle after the transfer over `i`,
    before there is any effect; lanes are `base` plus 32-bit unsigned offset, and must be 4-aligned
    and in SRAM. Then the lanes go to SRAM line by line, the lowest lane that is left first and with
    it all lanes in its line: one cycle for each line, at the earliest two cycles after the
    transfer. An access that was refused `7` times in a row is `urgent`. A gathered vector waits on
    `o` until it is taken, one cycle after the last line at the earliest; so does, in the next
    cycle, the report on `o_blocking`. A gather with a fault gives the old values.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.

    Parameters
    ----------
    params
        Size of the SRAM and of a vector.

    Members
    -------
    i : In(stream.Signature(gather_operation_layout(params), always_ready=True))
        Only while `busy` is low.
    o : Out(stream.Signature(gathered_layout(params)))
    o_blocking : Out(stream.Signature(vector_blocking_layout()))
    busy : Out(1)
        From the cycle after the transfer until the report is taken.
    urgent : Out(1)
    sram_read : Out(SramReadSignature(params))
    sram_write : Out(SramWriteSignature(params))
    """

    i: Any
    o: Any
    o_blocking: Any
    busy: Signal
    urgent: Signal
    sram_read: Any
    sram_write: Any

    def __init__(self, params: NodeParams):
        self._params = params
        self._layout = gather_operation_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(self._layout, always_ready=True)),
                "o": Out(stream.Signature(gathered_layout(params))),
                "o_blocking": Out(stream.Signature(vector_blocking_layout())),
                "busy": Out(1),
                "urgent": Out(1),
                "sram_read": Out(SramReadSignature(params)),
                "sram_write": Out(SramWriteSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        lanes = self._params.fp32_lanes
        state = Signal(_State)
        operation: Any = Signal(self._layout, reset_less=True)
        places = [
            Signal(LOCAL_BITS - _WORD_LOG2, name=f"place_{n}", reset_less=True)
            for n in range(lanes)
        ]
        left, fetched = Signal(lanes), Signal(lanes)  # lanes not asked for; answered in this cycle
        report: Any = Signal(vector_blocking_layout())
        m.d.comb += [
            self.busy.eq(state != _State.IDLE),
            self.o.valid.eq(state == _State.WRITE),
            self.o.payload.value.eq(operation.values),
            self.o.payload.register.eq(operation.register),
            self.o.payload.thread.eq(operation.thread),
            self.o_blocking.valid.eq(state == _State.REPORT),
            self.o_blocking.payload.eq(report),
        ]
        last = _State.WRITE, _State.REPORT
        end = Mux(operation.scatters, last[1], last[0])
        granted, chosen = self._access(m, state, operation, places, left)
        m.d.sync += fetched.eq(0)
        with m.Switch(state):
            with m.Case(_State.IDLE):
                with m.If(self.i.valid):
                    m.d.sync += [
                        operation.eq(self.i.payload),
                        left.eq(self.i.payload.mask),
                        report.eq(0),
                        report.thread.eq(self.i.payload.thread),
                        state.eq(_State.CHECK),
                    ]
            with m.Case(_State.CHECK):
                fault, address = self._check(m, operation, places)
                m.d.sync += [report.fault.eq(fault), report.address.eq(Mux(fault, address, 0))]
                m.d.sync += state.eq(Mux(fault | ~left.any(), end, _State.ACCESS))
            with m.Case(_State.ACCESS):
                self._receive(m, operation, places, fetched, report)
                with m.If(granted):
                    m.d.sync += [left.eq(left & ~chosen)]
                    m.d.sync += fetched.eq(Mux(operation.scatters, 0, chosen))
                with m.If(~left.any()):
                    m.d.sync += state.eq(end)
            with m.Case(_State.WRITE):
                with m.If(self.o.ready):
                    m.d.sync += state.eq(_State.REPORT)
            with m.Case(_State.REPORT):
                with m.If(self.o_blocking.ready):
                    m.d.sync += state.eq(_State.IDLE)
        return m

    def _check(self, m: Module, operation: Any, places: list[Signal]) -> tuple[Value, Value]:
        """Note the word of each lane; return whether one is bad, and the address of the first."""
        bad, address = Signal(), Signal(64)
        for lane, place in reversed(list(enumerate(places))):
            at = Signal(64, name=f"address_{lane}")
            m.d.comb += at.eq(operation.base + operation.offsets.word_select(lane, 32))
            m.d.sync += place.eq(at[_WORD_LOG2:LOCAL_BITS])
            misplaced = at[:_WORD_LOG2].any() | (at >= self._params.sram_bytes)
            with m.If(operation.mask[lane] & misplaced):
                m.d.comb += [bad.eq(1), address.eq(at)]
        return bad, address

    def _access(
        self, m: Module, state: Value, operation: Any, places: list[Signal], left: Signal
    ) -> tuple[Value, Value]:
        """Ask for the line of the lowest lane left; return whether it is granted, and its lanes."""
        lanes = len(left)
        line = Signal(line_address_bits(self._params))
        chosen, asks, granted = Signal(lanes), Signal(), Signal()
        refusals = Signal(range(_PATIENCE + 1))
        lines = [place[_LINE_LOG2 - _WORD_LOG2 :][: len(line)] for place in places]
        for lane in reversed(range(lanes)):
            with m.If(left[lane]):
                m.d.comb += line.eq(lines[lane])
        read, write = self.sram_read.request, self.sram_write.request
        m.d.comb += [
            chosen.eq(Cat(left[n] & (lines[n] == line) for n in range(lanes))),
            asks.eq((state == _State.ACCESS) & left.any()),
            read.valid.eq(asks & ~operation.scatters),
            read.payload.eq(line),
            write.valid.eq(asks & operation.scatters),
            write.payload.line.eq(line),
            granted.eq((read.valid & read.ready) | (write.valid & write.ready)),
            self.urgent.eq(refusals == _PATIENCE),
        ]
        with m.If(granted):
            m.d.sync += refusals.eq(0)
        with m.Elif(asks & ~self.urgent):
            m.d.sync += refusals.eq(refusals + 1)
        for lane, place in enumerate(places):
            # The last assignment holds, so the higher lane of two at one word wins.
            with m.If(chosen[lane]), m.Switch(place[: _LINE_LOG2 - _WORD_LOG2]):
                for word in range(_WORDS):
                    with m.Case(word):
                        m.d.comb += [
                            write.payload.mask.word_select(word, 4).eq(0xF),
                            write.payload.data.word_select(word, 32).eq(
                                operation.values.word_select(lane, 32)
                            ),
                        ]
        return granted, chosen

    def _receive(
        self, m: Module, operation: Any, places: list[Signal], fetched: Signal, report: Any
    ) -> None:
        """Take the words of lanes from the line that was read."""
        for lane, place in reversed(list(enumerate(places))):
            word = place[: _LINE_LOG2 - _WORD_LOG2]
            with m.If(fetched[lane]):
                value = self.sram_read.data.word_select(word, 32)
                m.d.sync += operation.values.word_select(lane, 32).eq(value)
                wrong = self.sram_read.uncorrectable.bit_select(word[1:], 1)
                with m.If(wrong & ~report.hardware):
                    m.d.sync += [
                        report.fault.eq(1),
                        report.hardware.eq(1),
                        report.address.eq(place << _WORD_LOG2),
                    ]
