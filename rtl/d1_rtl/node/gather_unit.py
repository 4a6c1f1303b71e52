"""Gather and scatter: every lane has its own address."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES, NodeParams

from ..turns import TURNS, TurnCounter, in_all_turns, last_word
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
    On an FPGA (`Turns`) a lane is checked in each turn, and words of a line go to lanes, and come
    from them, in the turns in which SRAM has them.

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
        turns = None if platform is None else _Turns(m, lanes)
        values = operation.values if turns is None else turns.values
        report: Any = Signal(vector_blocking_layout())
        m.d.comb += [
            self.busy.eq(state != _State.IDLE),
            self.o.valid.eq(state == _State.WRITE),
            self.o.payload.value.eq(values),
            self.o.payload.register.eq(operation.register),
            self.o.payload.thread.eq(operation.thread),
            self.o_blocking.valid.eq(state == _State.REPORT),
            self.o_blocking.payload.eq(report),
        ]
        last = _State.WRITE, _State.REPORT
        end = Mux(operation.scatters, last[1], last[0])
        granted, chosen = self._access(m, state, operation, values, places, left, turns)
        m.d.sync += fetched.eq(0)
        with m.Switch(state):
            with m.Case(_State.IDLE):
                with m.If(self.i.valid):
                    if turns is not None:
                        turns.load(m, self.i.payload.values)
                    m.d.sync += [
                        operation.eq(self.i.payload),
                        left.eq(self.i.payload.mask),
                        report.eq(0),
                        report.thread.eq(self.i.payload.thread),
                        state.eq(_State.CHECK),
                    ]
            with m.Case(_State.CHECK):
                check = self._check if turns is None else turns.check
                fault, address = check(m, operation, places, self._params.sram_bytes)
                m.d.sync += [report.fault.eq(fault), report.address.eq(Mux(fault, address, 0))]
                m.d.sync += state.eq(Mux(fault | ~left.any(), end, _State.ACCESS))
            with m.Case(_State.ACCESS):
                receive = self._receive if turns is None else turns.receive
                receive(m, operation, places, fetched, report, self.sram_read)
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

    @staticmethod
    def _check(
        m: Module, operation: Any, places: list[Signal], sram_bytes: int
    ) -> tuple[Value, Value]:
        """Note the word of each lane; return whether one is bad, and the address of the first."""
        bad, address = Signal(), Signal(64)
        for lane, place in reversed(list(enumerate(places))):
            at = Signal(64, name=f"address_{lane}")
            m.d.comb += at.eq(operation.base + operation.offsets.word_select(lane, 32))
            m.d.sync += place.eq(at[_WORD_LOG2:LOCAL_BITS])
            misplaced = at[:_WORD_LOG2].any() | (at >= sram_bytes)
            with m.If(operation.mask[lane] & misplaced):
                m.d.comb += [bad.eq(1), address.eq(at)]
        return bad, address

    def _access(
        self,
        m: Module,
        state: Value,
        operation: Any,
        values: Value,
        places: list[Signal],
        left: Signal,
        turns: _Turns | None,
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
        line_data = write.payload.data
        if turns is not None:
            line_data = turns.line_data(m, values, places, chosen)
            m.d.comb += write.payload.data.eq(line_data)
        for lane, place in enumerate(places):
            # The last assignment holds, so the higher lane of two at one word wins.
            with m.If(chosen[lane]), m.Switch(place[: _LINE_LOG2 - _WORD_LOG2]):
                for word in range(_WORDS):
                    with m.Case(word):
                        m.d.comb += write.payload.mask.word_select(word, 4).eq(0xF)
                        if turns is None:
                            m.d.comb += line_data.word_select(word, 32).eq(
                                values.word_select(lane, 32)
                            )
        return granted, chosen

    @staticmethod
    def _receive(
        m: Module,
        operation: Any,
        places: list[Signal],
        fetched: Signal,
        report: Any,
        sram_read: Any,
    ) -> None:
        """Take the words of lanes from the line that was read."""
        for lane, place in reversed(list(enumerate(places))):
            word = place[: _LINE_LOG2 - _WORD_LOG2]
            with m.If(fetched[lane]):
                value = sram_read.data.word_select(word, 32)
                m.d.sync += operation.values.word_select(lane, 32).eq(value)
                _report_wrong(m, place, word, report, sram_read)


def _report_wrong(m: Module, place: Signal, word: Value, report: Any, sram_read: Any) -> None:
    """Report the word of a lane if it could not be corrected."""
    wrong = sram_read.uncorrectable.bit_select(word[1:], 1)
    with m.If(wrong & ~report.hardware):
        m.d.sync += [
            report.fault.eq(1),
            report.hardware.eq(1),
            report.address.eq(place << _WORD_LOG2),
        ]


class _Turns:
    """What is done in turns on an FPGA, with some lanes in each: of turn n those from n on.

    It has the values, which change in every turn.
    """

    def __init__(self, m: Module, lanes: int) -> None:
        m.submodules.turns = self._counter = TurnCounter()
        self._lanes = lanes // TURNS
        self._own = [range(self._lanes * turn, self._lanes * (turn + 1)) for turn in range(TURNS)]
        #: What each lane holds.
        self.values = Signal(32 * lanes, reset_less=True)

    def load(self, m: Module, values: Value) -> None:
        """Take values at the end of this cycle."""
        with m.If(self._counter.last):
            m.d.turn += self.values.eq(values)

    def check(
        self, m: Module, operation: Any, places: list[Signal], sram_bytes: int
    ) -> tuple[Value, Value]:
        """Note the word of each lane; return whether one is bad, and the address of the first."""
        bad, address = Signal(), Signal(64)
        for number in reversed(range(self._lanes)):
            at = Signal(64, name=f"address_{number}")
            lane = [own[number] for own in self._own]
            offset = Array(operation.offsets.word_select(n, 32) for n in lane)
            m.d.comb += at.eq(operation.base + offset[self._counter.number])
            for turn, n in enumerate(lane):
                with m.If(self._counter.number == turn):
                    m.d.turn += places[n].eq(at[_WORD_LOG2:LOCAL_BITS])
            misplaced = at[:_WORD_LOG2].any() | (at >= sram_bytes)
            takes_part = Array(operation.mask[n] for n in lane)[self._counter.number]
            with m.If(takes_part & misplaced):
                m.d.comb += [bad.eq(1), address.eq(at)]
        return self._first(m, bad, address, "checked")

    def receive(
        self,
        m: Module,
        operation: Any,
        places: list[Signal],
        fetched: Signal,
        report: Any,
        sram_read: Any,
    ) -> None:
        """Take the words of lanes from the line that comes."""
        words, low = last_word(sram_read.data), (_WORDS // TURNS - 1).bit_length()
        for lane, place in reversed(list(enumerate(places))):
            word = place[: _LINE_LOG2 - _WORD_LOG2]
            with m.If(fetched[lane] & (word[low:] == self._counter.number)):
                m.d.turn += self.values.word_select(lane, 32).eq(words.word_select(word[:low], 32))
            with m.If(fetched[lane]):
                _report_wrong(m, place, word, report, sram_read)

    def line_data(self, m: Module, values: Value, places: list[Signal], chosen: Signal) -> Value:
        """Return a line of which, in each turn, the words are right that are written in it."""
        words = _WORDS // TURNS
        low = (words - 1).bit_length()
        part = Signal(32 * words, name="line_part")
        for lane, place in enumerate(places):
            # The last assignment holds, so the higher lane of two at one word wins.
            is_here = place[low : _LINE_LOG2 - _WORD_LOG2] == self._counter.number
            with m.If(chosen[lane] & is_here), m.Switch(place[:low]):
                for word in range(words):
                    with m.Case(word):
                        m.d.comb += part.word_select(word, 32).eq(values.word_select(lane, 32))
        return in_all_turns(part)

    def _first(self, m: Module, bad: Signal, address: Signal, name: str) -> tuple[Value, Value]:
        """Return, in the last turn, whether one was bad in any turn, and the first address."""
        was_bad = Signal(name=f"{name}_bad")
        was_at = Signal.like(address, name=f"{name}_address", reset_less=True)
        bad_before = was_bad & (self._counter.number != 0)
        m.d.turn += was_bad.eq(bad | bad_before)
        with m.If(bad & ~bad_before):
            m.d.turn += was_at.eq(address)
        return bad | bad_before, Mux(bad_before, was_at, address)
