"""Block lock keeps the counts of the standard; rows keep together on half of the lanes."""

from amaranth.hdl import Assert, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from d1_golden.serdes.block_lock import LOCK_HEADERS, LOSS_HEADERS
from d1_golden.serdes.params import LinkParams
from d1_rtl.serdes.block_lock import BlockLock
from d1_rtl.serdes.blocks import RowMode
from d1_rtl.serdes.row_distributor import RowDistributor

from testbench.formal import Proof

LANES, INTERVAL = 4, 16


class Lock(wiring.Component):
    """A lock comes after 64 valid headers in a row; slips before it or with the 16th of a test."""

    valid: In(1)
    header: In(2)
    restart: In(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.lock = lock = BlockLock()
        m.d.comb += [
            lock.valid.eq(self.valid),
            lock.header.eq(self.header),
            lock.restart.eq(self.restart),
        ]
        good = Signal()  # the header is valid
        run = Signal(range(LOCK_HEADERS + 1))  # valid headers in a row, at most 64
        m.d.comb += good.eq(self.header[0] != self.header[1])
        with m.If(self.valid):
            m.d.sync += run.eq(Mux(good, Mux(run == LOCK_HEADERS, run, run + 1), 0))
        with m.If(self.restart):
            m.d.sync += run.eq(0)
        was_locked = Signal()
        m.d.sync += was_locked.eq(lock.locked)
        m.d.comb += [
            Assert(was_locked | ~lock.locked | (run == LOCK_HEADERS)),
            Assert(lock.locked | (lock.invalid == 0)),
            Assert((lock.invalid != 0) | (run >= lock.tested)),
            Assert(run <= LOCK_HEADERS),
            Assert(lock.invalid <= lock.tested),
            Assert(lock.slip == (self.valid & ~good & (~lock.locked | sixteenth(lock)))),
            # Nor is a lock late.
            Assert(lock.locked | (run == lock.tested)),
        ]
        return m


def sixteenth(lock):
    return lock.invalid == LOSS_HEADERS - 1


class Halves(wiring.Component):
    """Halves of a row are neighbours, the first with an even number; markers come in time."""

    valid: In(1)
    controls: In(LANES)
    pull: In(1)
    arriving: In(LANES)
    up: In(1)
    peer_arriving: In(LANES)
    peer_up: In(1)

    def elaborate(self, platform):
        m = Module()
        params = LinkParams(name="proof", lanes=LANES, marker_interval=INTERVAL)
        m.submodules.distributor = distributor = RowDistributor(params)
        offered = Signal()  # what is offered stays until it is taken
        m.d.sync += offered.eq(distributor.i.valid & ~distributor.i.ready)
        m.d.comb += [
            distributor.i.valid.eq(self.valid | offered),
            distributor.i.payload.controls.eq(self.controls),
            distributor.pull.eq(self.pull),
            distributor.report.arriving.eq(self.arriving),
            distributor.report.up.eq(self.up),
            distributor.peer.arriving.eq(self.peer_arriving),
            distributor.peer.up.eq(self.peer_up),
        ]
        full = distributor.mode == RowMode.FULL
        m.d.comb += [
            Assert(Value.cast(distributor.mode) != 3),
            # The second half comes next: the mode has not changed, and its number is odd.
            Assert(~distributor.second | (~full & distributor.row[0])),
            Assert(~distributor.second | offered),
            Assert(distributor.since <= INTERVAL - distributor.second),
            # A row is taken as a whole, or with its second half.
            Assert(~distributor.i.ready | (self.pull & (full | distributor.second))),
            # None is begun that the other end would not deliver.
            Assert(~distributor.i.ready | self.peer_up | distributor.second),
        ]
        # Once begun, a row is ended by the next pull.
        m.d.comb += Assert(~(self.pull & distributor.second) | distributor.i.ready)
        return m


PROOFS = (
    Proof("block lock keeps the counts of the standard", Lock, depth=2, induction=True),
    Proof("halves of a row are neighbours; markers come in time", Halves, depth=2, induction=True),
)
