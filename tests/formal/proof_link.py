"""The link layer: frames come in order and once, credits are never overdrawn and never lost.

What lanes may do is a channel that loses what it likes and keeps the rest for as long as it likes;
it does not reorder. The numbers of the proofs do not wrap: they have more bits than those sent.
"""

from functools import partial

from amaranth.hdl import Assert, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.serdes.params import LIMIT_BITS, SEQUENCE_BITS, LinkParams
from d1_rtl.serdes.credit_counter import CreditCounter
from d1_rtl.serdes.credit_issuer import CreditIssuer
from d1_rtl.serdes.replay_buffer import ReplayBuffer
from d1_rtl.serdes.sequence_checker import SequenceChecker

from testbench.formal import Proof

#: Bits of the numbers that are counted on.
WIDE = SEQUENCE_BITS + 3
CREDITS = 3


def counter(m, name, steps, width=WIDE):
    """Return a count of what happens."""
    count = Signal(width, name=name)
    m.d.sync += count.eq(count + steps)
    return count


def at_most(low, high, distance):
    """Return whether `high` is `low` or at most so much more, in numbers that wrap."""
    return (high - low)[: min(len(low), len(high))] <= distance


class Way:
    """A channel for two messages: what enters may be lost, the rest comes out in order."""

    def __init__(self, m, name, fields, enters, payload, leaves):
        self.full = [Signal(name=f"{name}_full_{n}") for n in range(2)]
        self.data = [
            {field: Signal(bits, name=f"{name}_{field}_{n}") for field, bits in fields.items()}
            for n in range(2)
        ]
        # Place 0 is the exit. There is no message behind an empty place.
        goes = self.full[0] & leaves
        self.arrives = goes
        room = ~self.full[1]
        behind = Signal(name=f"{name}_behind")
        m.d.comb += behind.eq(self.full[1] & goes)
        with m.If(goes):
            m.d.sync += self.full[0].eq(self.full[1])
            m.d.sync += [self.data[0][f].eq(self.data[1][f]) for f in fields]
            m.d.sync += self.full[1].eq(0)
        with m.If(enters & room):
            with m.If(self.full[0] & ~goes):
                m.d.sync += self.full[1].eq(1)
                m.d.sync += [self.data[1][f].eq(payload[f]) for f in fields]
            with m.Else():
                m.d.sync += self.full[0].eq(1)
                m.d.sync += [self.data[0][f].eq(payload[f]) for f in fields]
        m.d.comb += Assert(self.full[0] | ~self.full[1])


class InOrder(wiring.Component):
    """The frames that are accepted are number 0, 1, 2 and so on, whatever is sent how often.

    The transmitter begins again whenever it likes, in whatever round; frames and acknowledgements
    are lost or late.
    """

    takes: In(1)
    closes: In(1)
    rewinds: In(1)
    round: In(1)
    loses: In(1)
    arrives: In(1)
    tells: In(1)
    hears: In(1)

    def __init__(self, window):
        self._params = LinkParams(
            name="proof", packet_slots=1, window=window, request_credits=1, reply_credits=1
        )
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        window = self._params.window
        m.submodules.replay = replay = ReplayBuffer(self._params)
        m.submodules.checker = checker = SequenceChecker()

        # The frame that is sent has its one packet, new or again, and ends in a later cycle.
        begun = Signal()
        there = Mux(replay.again, replay.o.valid, replay.room)
        takes, closes = self.takes & ~begun & there, self.closes & begun
        rewinds = self.rewinds & ~begun & ~takes
        m.d.comb += [
            replay.i.valid.eq(takes & ~replay.again),
            replay.o.ready.eq(takes & replay.again),
            replay.close.eq(closes),
            replay.rewind.eq(rewinds),
        ]
        m.d.sync += begun.eq((begun | takes) & ~closes)

        # The same in numbers that do not wrap: what is sent next, is made next, is kept.
        sent, tail = Signal(WIDE), Signal(WIDE)
        is_new = ~replay.again
        head = counter(m, "head", closes & is_new)
        expected = counter(m, "accepted", checker.accept)
        fields = {"number": WIDE, "head": WIDE, "round": 1}
        frame = {"number": sent, "head": head + is_new, "round": self.round}
        frames = Way(m, "frame", fields, closes & ~self.loses, frame, self.arrives)
        tell = {"number": expected}
        told = Way(m, "told", {"number": WIDE}, self.tells, tell, self.hears)
        kept = Mux(told.arrives, told.data[0]["number"], tail)
        m.d.sync += tail.eq(kept)
        m.d.sync += sent.eq(Mux(rewinds, kept, sent + closes))
        m.d.comb += [
            replay.heard.eq(told.arrives),
            replay.acknowledge.eq(told.data[0]["number"]),
            checker.heard.eq(frames.arrives),
            checker.is_frame.eq(1),
            checker.number.eq(frames.data[0]["number"]),
            checker.round.eq(frames.data[0]["round"]),
            # This is the claim.
            Assert(~checker.accept | (frames.data[0]["number"] == expected)),
        ]
        # What it rests on: the registers are these numbers, and nothing is further from another
        # than the window.
        for register, number in (
            *((replay.head, head), (replay.tail, tail), (replay.sequence, sent)),
            (checker.expected, expected),
        ):
            m.d.comb += Assert(register == number[:SEQUENCE_BITS])
        m.d.comb += [
            Assert(at_most(tail, head, Mux(begun & is_new, window - 1, window))),
            Assert(at_most(tail, expected, (head - tail)[:WIDE])),
            Assert(at_most(sent, head, window)),
        ]
        last = {"number": tail, "head": expected}
        for full, ack in zip(told.full, told.data, strict=True):
            m.d.comb += Assert(~full | at_most(last["number"], ack["number"], window))
            m.d.comb += Assert(~full | at_most(ack["number"], expected, window))
            last = {"number": Mux(full, ack["number"], last["number"])}
        before = expected
        for full, sent_frame in zip(frames.full, frames.data, strict=True):
            m.d.comb += [
                Assert(~full | at_most(before, sent_frame["head"], window)),
                Assert(~full | at_most(sent_frame["head"], head, window)),
                Assert(~full | at_most(sent_frame["number"] + 1, sent_frame["head"], window)),
            ]
            before = Mux(full, sent_frame["head"], before)
        return m


class Credits(wiring.Component):
    """Both counts of one plane, with packets and limits on their way between them.

    Nothing is sent without a free entry, so the buffer never holds more than it can; and all
    entries are accounted for at every moment, so none is ever lost.

    `issued`: entries that the receiver gives out, which should be those that it has.
    """

    sends: In(1)
    accepts: In(3)
    takes: In(1)
    tells: In(1)
    hears: In(1)

    def __init__(self, issued=CREDITS):
        self._issued = issued
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.counter = sender = CreditCounter(CREDITS)
        m.submodules.issuer = receiver = CreditIssuer(self._issued)
        begun = Signal()
        m.d.sync += begun.eq(1)
        sends = self.sends & sender.free
        accepted = Signal(3)
        away = Signal(range(self._issued + 1))  # packets on their way
        m.d.comb += accepted.eq(Mux(self.accepts <= away, self.accepts, 0))
        takes = self.takes & (receiver.occupied != 0) & begun
        m.d.sync += away.eq(away + sends - accepted)
        limits = Way(
            *(m, "limit", {"value": LIMIT_BITS}, self.tells & begun),
            *({"value": receiver.allowed}, self.hears),
        )
        m.d.comb += [
            sender.take.eq(sends),
            sender.told.eq(limits.arrives),
            sender.limit.eq(limits.data[0]["value"]),
            receiver.accepted.eq(accepted),
            receiver.taken.eq(takes),
            receiver.fresh.eq(~begun),
        ]
        # Entries that are free and not yet told of.
        untold = (receiver.allowed - sender.highest)[:LIMIT_BITS]
        free = (sender.highest - sender.sent)[:LIMIT_BITS]
        with m.If(begun):
            m.d.comb += [
                Assert(receiver.occupied <= CREDITS),
                Assert(free <= CREDITS),
                Assert(untold <= CREDITS),
                Assert(sender.free == (free != 0)),
                Assert(free + untold + away + receiver.occupied == CREDITS),
                Assert(sender.away == untold + away + receiver.occupied),
            ]
        with m.Else():
            m.d.comb += Assert(
                Cat(receiver.occupied, sender.sent, sender.highest, away, *limits.full) == 0
            )
        before = sender.highest
        for full, limit in zip(limits.full, limits.data, strict=True):
            m.d.comb += Assert(~full | at_most(before, limit["value"], CREDITS))
            m.d.comb += Assert(~full | at_most(limit["value"], receiver.allowed, CREDITS))
            before = Mux(full, limit["value"], before)
        return m


PROOFS = (
    *(
        Proof(
            f"frames are accepted in order and once, with a window of {window}",
            partial(InOrder, window),
            depth=4,
            induction=True,
        )
        for window in (1, 3)
    ),
    Proof(
        "credits are never overdrawn and never lost",
        Credits,
        depth=3,
        induction=True,
    ),
)
