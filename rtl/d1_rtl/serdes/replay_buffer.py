"""Replay buffer: the transmitter's half of the replay."""

from typing import Any

from amaranth.hdl import Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import SEQUENCE_BITS, LinkParams

from ..node.elastic_buffer import ElasticBuffer
from .link_words import plane_packet_layout, replayed_packet_layout

__all__ = ["ReplayBuffer"]

#: Packets that have been read: one leaves, one enters and one is being read.
_READ = 3


class ReplayBuffer(wiring.Component):
    """Keeps the packets of each frame until it is acknowledged, and gives them again.

    A frame has the packets that were stored since the last one was closed. After `rewind`
    everything that is not acknowledged is given again, in the same frames, before anything new:
    the first packet after 3 cycles, then one per cycle, so that no frame waits for its packets.

    Golden twin: `d1_golden.serdes.link_layer`, `_close`, `_take_again` and `_read_replay`.

    Parameters
    ----------
    params
        Frames kept and packets in each.

    Members
    -------
    i : In(stream.Signature(plane_packet_layout(), always_ready=True))
        New packets, only while not `again`.
    close : In(1)
        The frame that is sent, new or again, ends.
    o : Out(stream.Signature(replayed_packet_layout()))
        Packets to send again.
    heard : In(1)
        There is an acknowledgement.
    acknowledge : In(7)
        With `heard`: number of the first frame that is not acknowledged. An old one is left out.
    rewind : In(1)
        Begin again; only when no frame is being sent.
    room : Out(1)
        There is room for another frame.
    again : Out(1)
        Not everything has been sent since `rewind`.
    sequence : Out(7)
        Number of the frame that is sent, or comes next.
    """

    i: stream.Interface
    close: Signal
    o: stream.Interface
    heard: Signal
    acknowledge: Signal
    rewind: Signal
    room: Signal
    again: Signal
    sequence: Signal

    def __init__(self, params: LinkParams):
        self._window, self._slots = params.window, params.packet_slots
        super().__init__(
            {
                "i": In(stream.Signature(plane_packet_layout(), always_ready=True)),
                "close": In(1),
                "o": Out(stream.Signature(replayed_packet_layout())),
                "heard": In(1),
                "acknowledge": In(SEQUENCE_BITS),
                "rewind": In(1),
                "room": Out(1),
                "again": Out(1),
                "sequence": Out(SEQUENCE_BITS),
            }
        )
        # Numbers of frames: one more than the last, and the first that is not acknowledged; their
        # places in memory. For proofs; nobody else looks at them.
        self.head, self.tail = Signal(SEQUENCE_BITS), Signal(SEQUENCE_BITS)
        self._head_place = Signal(range(self._window))
        self._tail_place = Signal(range(self._window))
        self._taken = Signal(range(self._slots + 1))  # packets of the frame that is being made

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        packets: Any = memory.Memory(
            shape=plane_packet_layout(), depth=self._window * self._slots, init=[]
        )
        counts: Any = memory.Memory(shape=range(self._slots + 1), depth=self._window, init=[])
        m.submodules.packets, m.submodules.counts = packets, counts
        store, count = packets.write_port(), counts.write_port()
        closes_new = Signal()
        m.d.comb += [
            self.again.eq(self.sequence != self.head),
            self.room.eq((self.head - self.tail)[:SEQUENCE_BITS] < self._window),
            closes_new.eq(self.close & ~self.again),
            store.en.eq(self.i.valid),
            store.addr.eq(self._head_place * self._slots + self._taken),
            store.data.eq(self.i.payload),
            count.en.eq(closes_new),
            count.addr.eq(self._head_place),
            count.data.eq(self._taken),
        ]
        with m.If(self.i.valid):
            m.d.sync += self._taken.eq(self._taken + 1)
        tail, tail_place = self._acknowledge(m)
        m.d.sync += [self.tail.eq(tail), self._tail_place.eq(tail_place)]
        with m.If(self.close):
            m.d.sync += self.sequence.eq(self.sequence + 1)
        with m.If(closes_new):
            m.d.sync += [
                self.head.eq(self.head + 1),
                self._head_place.eq(self._next_place(self._head_place)),
                self._taken.eq(0),
            ]
        with m.If(self.rewind):
            m.d.sync += self.sequence.eq(tail)
        self._read(m, packets, counts, closes_new, tail, tail_place)
        return m

    def _next_place(self, place: Signal) -> Value:
        return Mux(place == self._window - 1, 0, place + 1)

    def _acknowledge(self, m: Module) -> tuple[Signal, Signal]:
        """Return number and place of the first frame that is kept, from the next cycle on."""
        frames, tail = Signal(SEQUENCE_BITS), Signal(SEQUENCE_BITS)
        moved = Signal(range(2 * self._window))
        place = Signal(range(self._window))
        m.d.comb += [tail.eq(self.tail), place.eq(self._tail_place)]
        m.d.comb += frames.eq(self.acknowledge - self.tail)
        m.d.comb += moved.eq(self._tail_place + frames)
        with m.If(self.heard & (frames <= (self.head - self.tail)[:SEQUENCE_BITS])):
            m.d.comb += tail.eq(self.acknowledge)
            m.d.comb += place.eq(Mux(moved >= self._window, moved - self._window, moved))
        return tail, place

    def _read(
        self, m: Module, packets: Any, counts: Any, closes_new: Value, tail: Value, place: Value
    ) -> None:
        """Read what is to be sent again ahead of its being asked for."""
        waiting = ElasticBuffer(replayed_packet_layout(), depth=_READ)
        m.submodules.waiting = ResetInserter(self.rewind)(waiting)
        wiring.connect(m, waiting.o, wiring.flipped(self.o))
        fetch, length = packets.read_port(), counts.read_port(domain="comb")
        number, slot = Signal(SEQUENCE_BITS), Signal(range(self._slots))
        at = Signal(range(self._window))
        fetches, reading, is_last, was_last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            fetches.eq((number != self.head) & (waiting.level + reading < _READ)),
            length.addr.eq(at),
            is_last.eq(slot + 1 == length.data),
            fetch.en.eq(fetches),
            fetch.addr.eq(at * self._slots + slot),
            waiting.i.valid.eq(reading),
            waiting.i.payload.packet.eq(fetch.data.packet),
            waiting.i.payload.plane.eq(fetch.data.plane),
            waiting.i.payload.last.eq(was_last),
        ]
        m.d.sync += [reading.eq(fetches), was_last.eq(is_last)]
        with m.If(fetches):
            m.d.sync += slot.eq(Mux(is_last, 0, slot + 1))
            with m.If(is_last):
                m.d.sync += [number.eq(number + 1), at.eq(self._next_place(at))]
        with m.If(closes_new):
            m.d.sync += [number.eq(number + 1), at.eq(self._next_place(at))]
        with m.If(self.rewind):
            m.d.sync += [number.eq(tail), at.eq(place), slot.eq(0), reading.eq(0)]
