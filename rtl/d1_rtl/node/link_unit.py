"""Linked records: traversal and search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import LINE_BYTES, NodeParams
from d1_golden.transfer import MAX_HOPS

from ..turns import TurnCounter, caught, last_word
from .interfaces import THREAD_BITS, SramReadSignature
from .micro_op import TrapCause

__all__ = ["LinkOp", "LinkUnit", "link_operation_layout", "link_result_layout"]

_WORD_BITS = 3
_OFFSET_BITS = (LINE_BYTES - 1).bit_length()
_KEY = 8  # a record's key follows its link


class LinkOp(enum.Enum, shape=1):
    """Link instructions."""

    LWALK = 0
    LFIND = 1


def link_operation_layout() -> data.StructLayout:
    """Return the layout of a link instruction: its thread, destination and operands."""
    return data.StructLayout({"x1": 64, "x2": 64, "op": LinkOp, "thread": THREAD_BITS, "rd": 5})


def link_result_layout() -> data.StructLayout:
    """Return the layout of a result: `value` for `rd`, or `cause` and `address` of a `fault`."""
    return data.StructLayout(
        {
            "value": 64,
            "address": 64,
            "thread": THREAD_BITS,
            "rd": 5,
            "fault": 1,
            "cause": TrapCause,
        }
    )


class LinkUnit(wiring.Component):
    """Follow linked records in SRAM: a 64-bit link at +0, for LFIND a 64-bit key at +8.

    LWALK follows x2 links from the record x1 and gives the record it comes to; LFIND gives the
    first record from x1 on whose key is x2. Link 0 ends a list; the result is 0 then. One
    instruction at a time; a record that is read takes two cycles when its bank is free, four where
    LFIND meets one that lies in two lines. LWALK of n links has its result at `o` 2 + 2n cycles
    after its transfer at `i`; LFIND that finds record n 1 + 2n, and 2 + 2n if none of n is it.

    A record is 8-aligned and in SRAM, or the instruction faults as a load does. After `MAX_HOPS`
    links it gives up with an access fault.

    Golden twin: `d1_golden.node.communication.lwalk` and `lfind`.

    Parameters
    ----------
    params
        Size of the SRAM.

    Members
    -------
    i : In(stream.Signature(link_operation_layout()))
    o : Out(stream.Signature(link_result_layout()))
    sram_read : Out(SramReadSignature(params))
    """

    i: Any
    o: Any
    sram_read: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(link_operation_layout())),
                "o": Out(stream.Signature(link_result_layout())),
                "sram_read": Out(SramReadSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        operation: Any = Signal(link_operation_layout())
        record = Signal(64)  # the one that the next step is about
        links = Signal(64)  # to follow
        hops = Signal(range(MAX_HOPS + 1))
        link, corrupt = Signal(64), Signal()  # of a record that lies in two lines
        finds = operation.op == LinkOp.LFIND
        word = record[_WORD_BITS:_OFFSET_BITS]
        at_last = word == LINE_BYTES // 8 - 1
        request, line = self.sram_read.request, self.sram_read.data
        bad_words = self.sram_read.uncorrectable
        turns = None
        if platform is not None:
            m.submodules.turns = turns = TurnCounter()
        result = self.o.payload
        m.d.comb += [result.thread.eq(operation.thread), result.rd.eq(operation.rd)]

        end, fault, compare, go_on = self._outcomes(m, operation, record, links, hops)
        m.d.comb += request.payload.eq(record[_OFFSET_BITS:])
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    operation.eq(self.i.payload),
                    record.eq(self.i.payload.x1),
                    links.eq(self.i.payload.x2),
                    hops.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "RECORD"
            with m.State("RECORD"):
                with m.If((record == 0) | (~finds & (links == 0))):
                    end(record)
                with m.Elif(hops == MAX_HOPS):
                    fault(TrapCause.LOAD_ACCESS_FAULT, record)
                with m.Elif(record[:_WORD_BITS].any()):
                    fault(TrapCause.LOAD_MISALIGNED, record)
                with m.Elif(self._outside(record)):
                    fault(TrapCause.LOAD_ACCESS_FAULT, record)
                with m.Elif(finds & self._outside(record + _KEY)):
                    fault(TrapCause.LOAD_ACCESS_FAULT, record + _KEY)
                with m.Else():
                    m.d.comb += request.valid.eq(1)
                    with m.If(request.ready):
                        m.next = "WORDS"
            with m.State("WORDS"):
                after = (word + 1)[: _OFFSET_BITS - _WORD_BITS]
                here, behind = (
                    line.word_select(place, 64)
                    if turns is None
                    else self._arriving(m, turns, place, name)
                    for place, name in ((word, "here"), (after, "behind"))
                )
                bad_here = bad_words.bit_select(word, 1)
                m.d.sync += [link.eq(here), corrupt.eq(bad_here)]
                with m.If(~finds):
                    go_on(here, bad_here)
                with m.Elif(at_last):
                    m.next = "NEXT_LINE"
                with m.Else():
                    bad_key = bad_words.bit_select(after, 1)
                    compare(behind, bad_key, here, bad_here)
            with m.State("NEXT_LINE"):
                m.d.comb += [
                    request.valid.eq(1),
                    request.payload.eq(record[_OFFSET_BITS:] + 1),
                ]
                with m.If(request.ready):
                    m.next = "KEY"
            with m.State("KEY"):
                compare(line[:64], bad_words[0], link, corrupt)
            with m.State("RESULT"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m

    def _arriving(self, m: Module, turns: TurnCounter, place: Value, name: str) -> Value:
        """Return a word of the line that comes, in the last turn."""
        words = last_word(self.sram_read.data)
        return caught(m, words.word_select(place[0], 64), turns.number == place[1:], name)

    def _outside(self, address: Value) -> Value:
        """Return whether an address is not in SRAM."""
        return address >= self._params.sram_bytes

    def _outcomes(
        self, m: Module, operation: Any, record: Signal, links: Signal, hops: Signal
    ) -> tuple[Callable, Callable, Callable, Callable]:
        """Return what ends an instruction, with a value or a fault, and what goes on with it.

        Each is a function that adds its statements to the current state.
        """
        result = self.o.payload

        def end(value: Value) -> None:
            m.d.sync += [result.fault.eq(0), result.value.eq(value)]
            m.next = "RESULT"

        def fault(cause: TrapCause, address: Value) -> None:
            m.d.sync += [result.fault.eq(1), result.cause.eq(cause), result.address.eq(address)]
            m.next = "RESULT"

        def go_on(link: Value, corrupt: Value) -> None:
            with m.If(corrupt):
                fault(TrapCause.HARDWARE_ERROR, record)
            with m.Else():
                m.d.sync += [record.eq(link), links.eq(links - 1), hops.eq(hops + 1)]
                m.next = "RECORD"

        def compare(key: Value, bad_key: Value, link: Value, corrupt: Value) -> None:
            with m.If(bad_key):
                fault(TrapCause.HARDWARE_ERROR, record + _KEY)
            with m.Elif(key == operation.x2):
                end(record)
            with m.Else():
                go_on(link, corrupt)

        return end, fault, compare, go_on
