"""The arbiters grant who asks, one at a time, and nobody waits for longer than is said."""

from functools import partial

from amaranth.hdl import Assert, Assume, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_rtl.node.arbiter import RoundRobinArbiter
from d1_rtl.node.bank_schedule import BankSchedule
from d1_rtl.node.patience import Patience
from d1_rtl.node.sram import PATIENCE, READ_CLIENTS, URGENT_CLIENT, WRITE_CLIENTS
from d1_rtl.node.urgent_arbiter import UrgentArbiter

from testbench.formal import Proof

READERS = len(READ_CLIENTS)
#: Maintenance writes too.
WRITERS = len(WRITE_CLIENTS) + 1
URGENT = READ_CLIENTS.index(URGENT_CLIENT.removeprefix("r_"))
CLIENTS = READERS + WRITERS
LONGEST_WAIT = PATIENCE + (READERS - 1) + 2 * WRITERS


def keeps_asking(m, requests, ready):
    """Assume that whoever asks goes on until it is ready."""
    waited = Signal.like(requests)
    m.d.sync += waited.eq(requests & ~ready)
    m.d.comb += Assume((waited & ~requests) == 0)


def never_waits_longer(m, requests, ready, client, limit):
    """Claim that a client, the same for ever, is ready after `limit` cycles."""
    chosen, begun = Signal.like(client), Signal()
    waited = Signal(range(limit + 2))
    m.d.sync += begun.eq(1)
    with m.If(~begun):
        m.d.sync += chosen.eq(client)
    with m.Else():
        m.d.comb += Assume(client == chosen)
    asks, served = requests.bit_select(client, 1), ready.bit_select(client, 1)
    m.d.comb += Assume(client < len(requests))
    m.d.sync += waited.eq(Mux(asks & ~served, waited + 1, 0))
    m.d.comb += [Assert(waited <= limit), Assert((waited < limit) | served)]


class Grants(wiring.Component):
    """One bit at most is granted, of one that asks, and one whenever somebody asks."""

    def __init__(self, make_arbiter):
        self._arbiter = make_arbiter()
        members = self._arbiter.signature.members
        super().__init__({name: member for name, member in members.items() if member.flow == In})

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = self._arbiter
        for name in self.signature.members:
            m.d.comb += getattr(arbiter, name).eq(getattr(self, name))
        grants = arbiter.grants
        m.d.comb += [
            Assert((grants & (grants - 1))[: len(grants)] == 0),
            Assert((grants & ~self.requests) == 0),
            Assert(grants.any() == self.requests.any()),
        ]
        if isinstance(arbiter, UrgentArbiter):
            late = self.requests & self.late
            m.d.comb += Assert(~late.any() | (grants & late).any())
            m.d.comb += Assert(late.any() | ~self.requests[URGENT] | grants[URGENT])
        return m


class Turns(wiring.Component):
    """Requesters of a round-robin arbiter that ask until they are granted."""

    requests: In(CLIENTS)
    client: In(range(CLIENTS))

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(CLIENTS)
        m.d.comb += arbiter.requests.eq(self.requests)
        keeps_asking(m, self.requests, arbiter.grants)
        never_waits_longer(m, self.requests, arbiter.grants, self.client, CLIENTS - 1)
        return m


class Bank(wiring.Component):
    """The clients of a bank of the SRAM, all of whom ask for this one."""

    requests: In(CLIENTS)
    partial: In(WRITERS)
    client: In(range(CLIENTS))

    def __init__(self, limit=LONGEST_WAIT):
        self._limit = limit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.schedule = bank = BankSchedule(readers=READERS, writers=WRITERS, urgent=URGENT)
        m.submodules.patience = patience = Patience(CLIENTS, cycles=PATIENCE)
        m.d.comb += [
            bank.requests.eq(self.requests),
            bank.partial.eq(self.partial),
            patience.waits.eq(self.requests & ~bank.ready),
            bank.late.eq(patience.late),
        ]
        keeps_asking(m, self.requests, bank.ready)
        # A request stays what it is until it is ready.
        before, waited = Signal(WRITERS), Signal(WRITERS)
        m.d.sync += [
            before.eq(self.partial),
            waited.eq((self.requests & ~bank.ready)[READERS:]),
        ]
        m.d.comb += Assume(((before ^ self.partial) & waited) == 0)
        never_waits_longer(m, self.requests, bank.ready, self.client, self._limit)
        return m


class OneAccess(wiring.Component):
    """What a bank does in a cycle is one access, for one client that asks."""

    requests: In(CLIENTS)
    partial: In(WRITERS)
    late: In(CLIENTS)

    def elaborate(self, platform):
        m = Module()
        m.submodules.schedule = bank = BankSchedule(readers=READERS, writers=WRITERS, urgent=URGENT)
        m.d.comb += [
            bank.requests.eq(self.requests),
            bank.partial.eq(self.partial),
            bank.late.eq(self.late),
        ]
        keeps_asking(m, self.requests, bank.ready)
        served = Cat(bank.reads, bank.writes)
        reads_row, writer = Signal(), Signal(WRITERS)
        m.d.sync += [reads_row.eq(bank.reads_row), writer.eq(bank.writes)]
        m.d.comb += [
            Assert((served & (served - 1))[:CLIENTS] == 0),
            Assert((bank.ready & ~self.requests) == 0),
            Assert(bank.busy == self.requests.any()),
            Assert(bank.merges == reads_row),
            # Between the two halves of a write nobody else is served.
            Assert(~bank.merges | ((bank.writes == writer) & (bank.ready[READERS:] == writer))),
            Assert(~bank.merges | ~bank.reads.any()),
            # A part of a word is written only after its row was read.
            Assert(((bank.ready[READERS:] & self.partial) == 0) | bank.merges),
        ]
        return m


PROOFS = (
    Proof(
        "a round-robin arbiter grants one of those who ask",
        partial(Grants, partial(RoundRobinArbiter, CLIENTS)),
        depth=2,
        induction=True,
    ),
    Proof(
        "an arbiter with an urgent client grants by rank",
        partial(Grants, partial(UrgentArbiter, CLIENTS, urgent=URGENT)),
        depth=2,
        induction=True,
    ),
    Proof(
        "a round-robin arbiter lets nobody wait for longer than all others take once",
        Turns,
        depth=CLIENTS + 2,
        induction=True,
    ),
    Proof(
        "a bank does one access a cycle and nothing between the halves of a write",
        OneAccess,
        depth=3,
        induction=True,
    ),
    Proof(
        f"no client of a bank waits for more than {LONGEST_WAIT} cycles",
        Bank,
        depth=LONGEST_WAIT + 3,
        induction=True,
    ),
)
