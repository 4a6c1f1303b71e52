"""Whose turn it is: the order in which the golden node executes its threads, compiled.

Threads take turns of `QUANTUM` instructions, in the order of their numbers, passing over those that
do not run or wait. A turn ends early at an instruction by which another thread may be let go, so a
thread whose turn is over can never be what the others wait for. A thread that is alone needs no
turns. The order is the same whether a run is done at once or in pieces.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from d1_golden.memory_map import ThreadRegister, ThreadStatus

from .state import (
    BARRIER_OPEN,
    NOT_WAITING,
    THREAD_LINE,
    WAITS_FOR_BARRIER,
    WAITS_FOR_SEMAPHORE,
    WAITS_FOR_TRANSFER,
)

__all__ = ["GOES_ON", "LEFT", "QUANTUM", "THREAD", "can_execute", "is_alone", "take_turn"]

#: Instructions of a turn.
QUANTUM = 1024
#: Elements of `NodeState.turn`: the thread whose turn it is; the instructions left to it, if it is
#: not alone; whether the turn goes on after the instruction that is executed.
THREAD, LEFT, GOES_ON = range(3)

_STATUS = int(ThreadRegister.STATUS)
_RUNNING = np.uint64(ThreadStatus.RUNNING)


@njit
def can_execute(thread, control, waiting, semaphore):
    """Return whether a thread runs and does not wait any more."""
    if control[THREAD_LINE + thread, _STATUS] != _RUNNING:
        return False
    reason = waiting[thread]
    if reason == np.uint64(NOT_WAITING) or reason == np.uint64(BARRIER_OPEN):
        return True
    if reason == np.uint64(WAITS_FOR_BARRIER) or reason == np.uint64(WAITS_FOR_TRANSFER):
        return False
    return semaphore[reason - np.uint64(WAITS_FOR_SEMAPHORE)] != np.uint64(0)


@njit
def is_alone(thread, control, waiting, semaphore):
    """Return whether no other thread can execute."""
    for other in range(waiting.size):
        if other != thread and can_execute(other, control, waiting, semaphore):
            return False
    return True


@njit
def take_turn(turn, control, waiting, semaphore):
    """Return the thread that executes now, -1 if none can; brings `turn` up to date."""
    thread = turn[THREAD]
    if turn[LEFT] > 0 and can_execute(thread, control, waiting, semaphore):
        return thread
    for step in range(1, waiting.size + 1):
        candidate = (thread + step) % waiting.size
        if can_execute(candidate, control, waiting, semaphore):
            turn[THREAD] = candidate
            turn[LEFT] = QUANTUM
            return candidate
    return np.int64(-1)
