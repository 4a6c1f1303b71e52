"""A router makes up no packet, drops none, doubles none, and holds none for ever.

Of the packets, data and addresses do not matter: where one goes is left open, and one bit marks the
packet that is watched. The parts are proved for every length of time; that they are put together
rightly is proved of the whole, of a router with short buffers, for as many cycles as it takes to
fill them.
"""

from functools import partial

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from d1_golden.fabric.place import PLACE_BITS, Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.routing import Plane, RouteEntry
from d1_rtl.fabric.input_buffer import InputBuffer
from d1_rtl.fabric.interfaces import port_names
from d1_rtl.fabric.output_port import OutputPort
from d1_rtl.fabric.router import Router
from d1_rtl.fabric.slot_queue import SlotQueue

from testbench.formal import Proof

PORTS = len(Port)
#: Cycles for which a neighbour may refuse what it is offered.
STALL = 2
#: Cycles after which an input that has a packet for an output gives it: the four others come
#: first, each output may be refused before each of the five, and each takes a cycle.
LONGEST_WAIT = PORTS * (STALL + 1) - 1
#: Slots of the whole router, and cycles for which it is looked at.
WHOLE_SLOTS, WHOLE_CYCLES = 2, 7
HERE = Place(2, 2).bits
_REFUSED = RouteEntry.UNREACHABLE.value


def is_consistent(queue, slots):
    """Return whether a queue's places, order and members say the same."""
    width = len(queue.head)
    places = [queue.order[n * width : (n + 1) * width] for n in range(slots)]
    members = Const(0, slots)
    distinct, empty = Const(1), Const(1)
    for n, place in enumerate(places):
        filled = n < queue.level
        one = Mux(filled, (Const(1, slots) << place)[:slots], 0)
        distinct &= ~(members & one).any()
        empty &= filled | (place == 0)
        members |= one
    in_range = Cat(place < slots for place in places).all()
    agree = (members == queue.members) & (queue.valid == (queue.level != 0))
    return distinct & empty & in_range & agree & (queue.level <= slots)


class Slots(wiring.Component):
    """Some slot that is queued, whichever `watch` chooses, comes out once, after those before."""

    def __init__(self, slots):
        self._slots = slots
        inputs = {"push": 1, "slot": range(slots), "pop": 1, "watch": 1}
        super().__init__({name: In(shape) for name, shape in inputs.items()})

    def elaborate(self, platform):
        m = Module()
        slots = self._slots
        m.submodules.queue = queue = SlotQueue(slots)
        m.d.comb += [
            queue.push.eq(self.push),
            queue.pop.eq(self.pop),
            queue.slot.eq(self.slot),
            Assume(~self.pop | queue.valid),
            Assume(self.slot < slots),
            Assume(~self.push | ~queue.members.bit_select(self.slot, 1)),
            Assert(is_consistent(queue, slots)),
        ]
        after = Signal(slots)
        m.d.sync += after.eq(queue.next_members)
        begun = Signal()
        m.d.sync += begun.eq(1)
        m.d.comb += Assert(~begun | (queue.members == after))

        watched, item, level = Signal(), Signal.like(self.slot), queue.level
        ahead = Signal(range(slots + 1))
        with m.If(self.push & self.watch & ~watched):
            m.d.sync += [watched.eq(1), item.eq(self.slot), ahead.eq(level - self.pop)]
        with m.If(watched & self.pop):
            m.d.sync += [watched.eq(ahead != 0), ahead.eq(Mux(ahead == 0, 0, ahead - 1))]
        with m.If(watched):
            width = len(self.slot)
            m.d.comb += [
                Assert(ahead < level),
                Assert(queue.order.word_select(ahead, width) == item),
                Assert((ahead != 0) | (queue.head == item)),
            ]
        return m


class Buffer(wiring.Component):
    """Every packet that arrives, whichever `watch` chooses, leaves once to each of its outputs."""

    valid: In(1)
    outputs: In(PORTS)
    control: In(1)
    grants: In(PORTS)
    watch: In(1)

    def __init__(self, depth):
        self._depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        depth = self._depth
        m.submodules.buffer = buffer = InputBuffer(depth)
        ready = Signal(init=1)
        m.d.sync += ready.eq(buffer.room)
        m.d.comb += [
            *(getattr(buffer, n).eq(getattr(self, n)) for n in ("valid", "outputs")),
            *(getattr(buffer, n).eq(getattr(self, n)) for n in ("control", "grants")),
            Assume(~self.valid | ready),
            Assume(~self.valid | self.outputs.any()),
            Assume((self.grants & ~buffer.requests) == 0),
        ]
        used = Signal(depth)
        for queue in buffer.queues:
            m.d.comb += Assert(is_consistent(queue, depth))
        m.d.comb += [
            used.eq(Cat(Cat(q.members[n] for q in buffer.queues).any() for n in range(depth))),
            Assert(ready == ~used.all()),
            Assert(buffer.empty == ~used.any()),
            # A packet that arrives never takes the slot of another.
            Assert(~self.valid | ~used.bit_select(buffer.slot, 1)),
        ]
        # What is on offer stays until it is taken.
        waits = Signal(PORTS)
        m.d.sync += waits.eq(buffer.requests & ~self.grants)
        m.d.comb += Assert((waits & ~buffer.requests) == 0)

        waiting = Cat(queue.valid for queue in buffer.queues)
        for port in Port:
            # One that arrives goes straight on only if none is before it.
            passing = self.grants[port] & ~waiting[port]
            m.d.comb += [
                Assert(~passing | (self.valid & self.outputs[port])),
                Assert(~passing | (buffer.o_slots[port] == buffer.slot)),
            ]
        straight = self.grants & ~waiting
        pending, slot, for_control = Signal(PORTS), Signal.like(buffer.slot), Signal()
        watched = pending.any()
        with m.If(self.valid & self.watch & ~watched):
            m.d.sync += [
                pending.eq(self.outputs & ~straight),
                slot.eq(buffer.slot),
                for_control.eq(self.control),
            ]
        for port, queue in zip(Port, buffer.queues, strict=True):
            leaves = self.grants[port] & queue.valid & (buffer.o_slots[port] == slot)
            with m.If(watched):
                # It waits for the outputs that it has not left by, and for no other.
                m.d.comb += Assert(queue.members.bit_select(slot, 1) == pending[port])
                with m.If(leaves):
                    m.d.sync += pending[port].eq(0)
                    m.d.comb += Assert(pending[port])
                    if port is Port.LOCAL:
                        m.d.comb += Assert(buffer.o_control == for_control)
        m.d.comb += Assert(~watched | (buffer.controls.bit_select(slot, 1) == for_control))
        return m


class Output(wiring.Component):
    """An input that has a packet for an output gives it after others have, each once."""

    requests: In(PORTS)
    control: In(PORTS)
    ready: In(1)
    control_ready: In(1)
    client: In(range(PORTS))

    def __init__(self, limit=LONGEST_WAIT):
        self._limit = limit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.output = output = OutputPort()
        m.d.comb += [
            output.requests.eq(self.requests),
            output.control.eq(self.control),
            output.ready.eq(self.ready),
            output.control_ready.eq(self.control_ready),
        ]
        grants = output.grants
        begun, chosen = Signal(), Signal.like(self.client)
        asked, stalled = Signal(PORTS), Signal(range(STALL + 1))
        waited = Signal(range(self._limit + 2))
        m.d.sync += [begun.eq(1), asked.eq(self.requests & ~grants)]
        with m.If(~begun):
            m.d.sync += chosen.eq(self.client)
        m.d.sync += stalled.eq(Mux(output.busy & ~output.passed, stalled + 1, 0))
        asks = self.requests.bit_select(self.client, 1)
        served = grants.bit_select(self.client, 1)
        m.d.sync += waited.eq(Mux(asks & ~served, waited + 1, 0))
        m.d.comb += [
            Assume((asked & ~self.requests) == 0),
            Assume(~begun | (self.client == chosen)),
            Assume(self.client < PORTS),
            Assume((stalled < STALL) | ~output.busy | output.passed),
            Assert(stalled <= STALL),
            # One at most, of those that ask, and one whenever the register is free.
            Assert((grants & (grants - 1))[:PORTS] == 0),
            Assert((grants & ~self.requests) == 0),
            Assert(grants.any() == (self.requests.any() & (~output.busy | output.passed))),
            Assert(~(output.valid & output.control_valid)),
            Assert(waited <= self._limit),
            Assert((waited < self._limit) | served),
        ]
        return m


class Whole(wiring.Component):
    """A packet that enters a router leaves once by the output that it is for, and by no other.

    All packets are for one place, and what the tables say of it changes at will, so that each may
    go anywhere. `mark` is set in one packet, whichever `watch` and `at` choose.
    """

    valid: In(PORTS)
    entry: In(range(PORTS + 1)).array(PORTS)
    ready: In(PORTS + 1)
    watch: In(1)
    at: In(range(PORTS))

    def elaborate(self, platform):
        m = Module()
        layout = data.StructLayout({"source": PLACE_BITS, "mark": 1})
        m.submodules.router = router = Router(Plane.REPLY, layout=layout, depth=WHOLE_SLOTS)
        # What has no way goes to LOCAL's other stream, and is the last of the ways here.
        ways = (*port_names(), "control")
        m.d.comb += router.place.eq(HERE)
        done, pending = Signal(), Signal(len(ways))
        for port in Port:
            i = getattr(router, f"i_{port.name.lower()}")
            entry = self.entry[port]
            watched = self.watch & (self.at == port) & ~done & self.valid[port]
            m.d.comb += [
                router.routing.entry[port].eq(Mux(entry == len(Port), _REFUSED, entry + 1)),
                Assume(entry < len(ways)),
                i.valid.eq(self.valid[port]),
                i.payload.mark.eq(watched),
            ]
            with m.If(watched & i.ready):
                m.d.sync += [done.eq(1), pending.eq(1 << entry)]
        for n, way in enumerate(ways):
            o = getattr(router, f"o_{way}")
            m.d.comb += o.ready.eq(self.ready[n])
            with m.If(o.valid & o.payload.mark):
                m.d.comb += Assert(pending[n])
                with m.If(o.ready):
                    m.d.sync += pending[n].eq(0)
        m.d.comb += Assert(~router.idle | ~pending.any())
        return m


PROOFS = (
    *(
        Proof(
            f"every slot that is queued comes out once and in order: {slots} slots",
            partial(Slots, slots),
            depth=2,
            induction=True,
        )
        for slots in (2, 3, 8)
    ),
    *(
        Proof(
            f"every packet leaves a buffer once by each of its outputs: {depth} slots",
            partial(Buffer, depth),
            depth=2,
            induction=True,
        )
        for depth in (2, 4, 8)
    ),
    Proof(
        f"no input waits for an output longer than {LONGEST_WAIT} cycles",
        Output,
        depth=LONGEST_WAIT + 2,
        induction=True,
    ),
    Proof(
        "a packet that enters a router leaves once, where it should, or is there",
        Whole,
        depth=WHOLE_CYCLES,
    ),
)
