"""What a bank of the SRAM does in each cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .urgent_arbiter import UrgentArbiter

__all__ = ["BankSchedule"]


class BankSchedule(wiring.Component):
    """Gives each cycle of a bank to one client: a read, a write, or half of a write that merges.

    A client asks until it is `ready`. One that writes parts of words is granted two cycles: in the
    first the row is read for it (`reads_row`) and in the second, in which nobody else is served,
    it is `ready`. Everything is combinational but for that second cycle.

    A client that is late once it has waited for p cycles waits for p + r - 1 + 2 w cycles at most,
    r and w being the numbers of readers and writers (`tests/formal/proof_arbiter.py`).

    Golden twin: none of its own; arbitration changes timing, never results.

    Parameters
    ----------
    readers, writers
        Numbers of clients; the readers come first.
    urgent
        Number of the client that goes first, as in `UrgentArbiter`.

    Members
    -------
    requests : In(readers + writers)
    partial : In(writers)
        The write needs the row.
    late : In(readers + writers)
        As in `UrgentArbiter`.
    reads : Out(readers)
        Whose line is read.
    writes : Out(writers)
        Who has this cycle of the bank, for a write.
    reads_row : Out(1)
        The row is read for that write.
    merges : Out(1)
        The row that was read in the cycle before is written.
    ready : Out(readers + writers)
    busy : Out(1)
        The bank does something.
    """

    requests: Signal
    partial: Signal
    late: Signal
    reads: Signal
    writes: Signal
    reads_row: Signal
    merges: Signal
    ready: Signal
    busy: Signal

    def __init__(self, *, readers: int, writers: int, urgent: int):
        self._arbiter = UrgentArbiter(readers + writers, urgent=urgent)
        super().__init__(
            {
                "requests": In(readers + writers),
                "partial": In(writers),
                "late": In(readers + writers),
                "reads": Out(readers),
                "writes": Out(writers),
                "reads_row": Out(1),
                "merges": Out(1),
                "ready": Out(readers + writers),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = self._arbiter
        reads, granted = arbiter.grants[: len(self.reads)], arbiter.grants[len(self.reads) :]
        merger = Signal.like(self.writes)  # whose write merges
        m.d.comb += [
            arbiter.requests.eq(Mux(self.merges, 0, self.requests)),
            arbiter.late.eq(self.late),
            self.reads.eq(reads),
            self.writes.eq(Mux(self.merges, merger, granted)),
            self.reads_row.eq((granted & self.partial).any()),
            self.ready.eq(Cat(reads, Mux(self.reads_row, 0, self.writes))),
            self.busy.eq(arbiter.grants.any() | self.merges),
        ]
        m.d.sync += [self.merges.eq(self.reads_row), merger.eq(granted)]
        return m
