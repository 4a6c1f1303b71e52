"""Choice of one of the threads that ask for a slot."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ThreadChoice"]


class ThreadChoice(wiring.Component):
    """Choose one of the threads that ask, in turn; golden twin: none, it changes timing only.

    The turn passes when a choice is `taken`: to the thread after the chosen one, once that was
    taken `stay` times in a row, and to the chosen one before. So a thread that keeps asking is
    chosen after at most `stay` takes of each other one, and one whose choice is not taken is
    preferred in the next cycle. Combinational from `requests` to `valid` and `chosen`.

    Parameters
    ----------
    threads
        Number of threads, at least 1.
    stay
        Takes in a row after which the turn passes on, at least 1, which is plain round robin.

    Members
    -------
    requests : In(threads)
    valid : Out(1)
        A thread asks.
    chosen : Out(range(threads))
        The one whose turn it is.
    taken : In(1)
        What was chosen is carried out.

    Raises
    ------
    ValueError
        If `threads` or `stay` is less than 1.

    """

    requests: Signal
    valid: Signal
    chosen: Signal
    taken: Signal

    def __init__(self, threads: int, *, stay: int = 1):
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads!r}")
        if stay < 1:
            raise ValueError(f"stay must be at least 1, not {stay!r}")
        self._threads, self._stay = threads, stay
        super().__init__(
            {
                "requests": In(threads),
                "valid": Out(1),
                "chosen": Out(range(threads)),
                "taken": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        turn = Signal(range(self._threads))
        before = Signal(range(self._stay))  # takes in a row of the thread whose turn it is
        takes = Signal(range(self._stay + 1))
        m.d.comb += [
            self.valid.eq(self.requests.any()),
            takes.eq(Mux(self.chosen == turn, before, 0) + 1),
        ]
        with m.Switch(turn):
            for first in range(self._threads):
                with m.Case(first):
                    # The last assignment holds, so the first in turn comes last.
                    for step in reversed(range(self._threads)):
                        thread = (first + step) % self._threads
                        with m.If(self.requests[thread]):
                            m.d.comb += self.chosen.eq(thread)
        with m.If(self.taken):
            with m.If(takes == self._stay):
                after = Mux(self.chosen == self._threads - 1, 0, self.chosen + 1)
                m.d.sync += [turn.eq(after), before.eq(0)]
            with m.Else():
                m.d.sync += [turn.eq(self.chosen), before.eq(takes)]
        return m
