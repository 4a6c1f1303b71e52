"""Where random programs of several threads meet: the only memory that they share.

Meetings have an order, which is that of every thread's program, so threads that wait for each other
always go on. Each meeting has lines and, if it needs one, a semaphore of its own: nothing is used
twice, and no access of one thread can meet one of another that is not ordered by the meeting.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from d1_golden.params import LINE_BYTES, NodeParams

__all__ = ["PRIVATE_SEMAPHORES", "Meeting", "random_meetings"]

#: Semaphores that each thread has for itself, from 4 n for thread n on; meetings use the others.
PRIVATE_SEMAPHORES = 4
_FIRST_SHARED = 16


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A point that some threads come to, at which they exchange lines of memory.

    Each thread that gives writes its own line before it meets the others; each that takes reads
    what was given after it has met them.

    Parameters
    ----------
    givers, takers
        Threads. Without a semaphore the same: they wait at a barrier. With one, one of each: the
        giver posts it and goes on, the taker waits for it.
    semaphore
        Number of the semaphore, or None for a barrier.
    address
        Of the first giver's line; those of the others follow in their order.

    """

    givers: tuple[int, ...]
    takers: tuple[int, ...]
    semaphore: int | None
    address: int

    @property
    def threads(self) -> frozenset[int]:
        """Who takes part."""
        return frozenset(self.givers + self.takers)

    @property
    def end(self) -> int:
        """Address after its lines."""
        return self.address + LINE_BYTES * len(self.givers)

    def line(self, giver: int) -> int:
        """Return the address of what a thread gives."""
        return self.address + LINE_BYTES * self.givers.index(giver)


def random_meetings(
    params: NodeParams, seed: int, threads: Sequence[int], base: int, count: int
) -> tuple[Meeting, ...]:
    """Return at most `count` meetings of some threads, with their lines from address `base` on.

    Parameters
    ----------
    params
        The node.
    seed
        What decides who meets whom.
    threads
        The threads that run; there are no meetings of one.
    base
        A multiple of 64.
    count
        Meetings wanted; those with a semaphore end when every shared one was used.

    """
    if base % LINE_BYTES:
        raise ValueError(f"base must be a multiple of {LINE_BYTES}, not {base!r}")
    rng = random.Random(seed)
    unused = list(range(_FIRST_SHARED, params.semaphores))
    meetings: list[Meeting] = []
    for _ in range(count if len(threads) > 1 else 0):
        if rng.random() < 0.5 and unused:
            giver, taker = rng.sample(threads, 2)
            number = unused.pop(rng.randrange(len(unused)))
            meeting = Meeting(givers=(giver,), takers=(taker,), semaphore=number, address=base)
        else:
            members = tuple(rng.sample(threads, rng.randint(2, len(threads))))
            meeting = Meeting(givers=members, takers=members, semaphore=None, address=base)
        meetings.append(meeting)
        base = meeting.end
    return tuple(meetings)
