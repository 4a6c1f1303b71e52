"""Choose the schedule of a product: the best of those measured, else by an estimate.

What the performance counters of the RTL say about schedules of some products is kept in
`measured.json` (`tuning` writes it). For one of these products the schedule that took the fewest
cycles is chosen; for any other the one that should, by the slots that its instructions need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from d1_golden.numerics import FP32
from d1_golden.params import NodeParams

from d1.compiler.schedule import BlockKind, Schedule
from d1.compiler.tile import OperandFormats, Tile

__all__ = [
    "MEASURED",
    "BlockCost",
    "Choice",
    "best",
    "candidates",
    "choose_schedule",
    "estimate_cycles",
    "forget",
    "instructions",
    "product_key",
    "waiting",
]

#: The figures of the RTL.
MEASURED = Path(__file__).with_name("measured.json")

#: Cycles from a thread's start to its first step, and of a pass's begin.
_START_CYCLES, _PASS_CYCLES = 30, 10
#: How much more a slot waits than it must, as a part of random waiting: fitted to the RTL.
_WAITING = 0.6
#: Instructions beside those of `BlockCost`: of a thread, a pass, a block and a run of code.
_THREAD_INSTRUCTIONS, _PASS_INSTRUCTIONS, _BLOCK_INSTRUCTIONS, _RUN_INSTRUCTIONS = 16, 15, 6, 4
#: Vectors along k of a loop's body; short loops stay in the instruction store.
_UNROLL = 4


@dataclass(frozen=True)
class Choice:
    """What is chosen for a product; the members are those of `Schedule`.

    `swapped`: the right operand is on the register side and the result is transposed.
    """

    swapped: bool
    register_group: int
    memory_group: int
    threads: int
    leads: tuple[int, ...]
    unroll: int

    def schedule(
        self,
        params: NodeParams,
        batch: int,
        row_tiles: int,
        column_tiles: int,
        steps: int,
        formats: OperandFormats,
    ) -> Schedule:
        """Return the schedule of a product; parameters are those of `choose_schedule`."""
        tiles = (row_tiles, column_tiles)
        if self.swapped:
            tiles = tiles[::-1]
            formats = formats[::-1] if isinstance(formats, tuple) else formats
        return Schedule(
            params=params,
            batch=batch,
            register_tiles=tiles[0],
            memory_tiles=tiles[1],
            steps=steps,
            register_group=self.register_group,
            memory_group=self.memory_group,
            formats=formats,
            threads=self.threads,
            leads=self.leads,
            unroll=self.unroll,
        )


@dataclass(frozen=True)
class BlockCost:
    """The vector instructions of a block: those only for one slot, and those for either.

    Parameters
    ----------
    slot_0, slot_1, either
        Instructions.
    drain
        Those of them, for slot 0, that follow the last step.
    scalar
        Instructions that need no vector slot.

    """

    slot_0: int
    slot_1: int
    either: int
    drain: int
    scalar: int

    @staticmethod
    def of(schedule: Schedule, kind: BlockKind) -> BlockCost:
        """Return the cost of a block of a schedule."""
        tile, tiles = schedule.tile, kind.p * kind.q
        vectors = tiles * tile.result_vectors
        steps = schedule.steps * tiles
        _, _, repeats, tail = schedule.runs(kind)
        scalar = _BLOCK_INSTRUCTIONS + _RUN_INSTRUCTIONS * (repeats + tail)
        if tile.in_lanes:
            loads = schedule.vectors * (kind.p + kind.q)
            begin = 0 if schedule.accumulate else vectors
            return BlockCost(steps + begin, 0, loads + 2 * vectors - begin, vectors, scalar)
        loads, carried = schedule.vectors * kind.p, vectors if schedule.accumulate else 0
        return BlockCost(vectors, steps + carried, loads + vectors + carried, vectors, scalar)


def instructions(schedule: Schedule) -> int:
    """Return about how many instructions a program executes in all threads."""
    total = len(schedule.passes) * _THREAD_INSTRUCTIONS
    for p in (p for passes in schedule.passes for p in passes):
        cost = BlockCost.of(schedule, p.kind)
        vector = cost.slot_0 + cost.slot_1 + cost.either
        total += _PASS_INSTRUCTIONS + p.count * (vector + cost.scalar)
    return total


def estimate_cycles(schedule: Schedule) -> float:
    """Return about how many cycles a program takes.

    They are those of the slot that most instructions need, or of the longest thread, and what
    follows the last steps. The busy slot idles when every thread waits for the other: about
    `_WAITING` of what it would if each instruction took a random time (a closed queueing network
    of two servers and as many customers as threads; Ref: J. P. Buzen, "Computational algorithms for
    closed queueing networks with exponential servers", Communications of the ACM, 1973).
    """
    slot_0 = slot_1 = either = longest = drain = 0
    for passes in schedule.passes:
        thread = 0
        for p in passes:
            cost = BlockCost.of(schedule, p.kind)
            slot_0 += p.count * cost.slot_0
            slot_1 += p.count * cost.slot_1
            either += p.count * cost.either
            thread += p.count * (cost.slot_0 + cost.slot_1 + cost.either) + _PASS_CYCLES
        drain += cost.drain
        longest = max(longest, thread)
    busy = max(slot_0, slot_1)
    other = slot_0 + slot_1 - busy + either
    idle = waiting(busy, other, len(schedule.passes))
    return _START_CYCLES + max(busy + idle, longest) + drain


def waiting(busy: float, other: float, threads: int) -> float:
    """Return about how many cycles a slot is idle because every thread waits for the other one.

    Parameters
    ----------
    busy, other
        Cycles that instructions take in the slot, and in the other one.
    threads
        How many threads there are.

    """
    powers = [(other / busy) ** n for n in range(threads + 1)]
    return _WAITING * busy * (sum(powers) / sum(powers[:-1]) - 1)


def product_key(
    params: NodeParams,
    batch: int,
    row_tiles: int,
    column_tiles: int,
    steps: int,
    formats: OperandFormats,
) -> str:
    """Return the name of a product in `measured.json`."""
    name = "cfp8" if isinstance(formats, tuple) else "fp32" if formats == FP32 else "bf16"
    return f"{params.name} {name} {batch} x {row_tiles} x {column_tiles} x {steps}"


@lru_cache(maxsize=4096)
def choose_schedule(
    params: NodeParams,
    batch: int,
    row_tiles: int,
    column_tiles: int,
    steps: int,
    formats: OperandFormats,
) -> tuple[Schedule, bool]:
    """Return the schedule that is best for a product.

    Parameters
    ----------
    params, batch, steps
        As in `Schedule`.
    row_tiles, column_tiles
        Tiles of the result in each direction.
    formats
        BF16, FP32, or CFP8 of the left and the right operand.

    Returns
    -------
    schedule, swapped
        `swapped`: the right operand is on the register side and the result is transposed.

    """
    shape = (params, batch, row_tiles, column_tiles, steps, formats)
    measured = _measured().get(product_key(*shape))
    if measured:
        return measured.schedule(*shape), measured.swapped
    chosen = min(
        ((choice.schedule(*shape), choice.swapped) for choice in candidates(*shape)),
        key=lambda pair: (estimate_cycles(pair[0]), instructions(pair[0])),
    )
    return chosen


def candidates(
    params: NodeParams,
    batch: int,
    row_tiles: int,
    column_tiles: int,
    steps: int,
    formats: OperandFormats,
) -> Iterator[Choice]:
    """Yield what may be chosen for a product; parameters are those of `choose_schedule`."""
    tile = Tile(params, formats)
    for swapped in (False, True) if tile.is_square else (False,):
        register, memory = (column_tiles, row_tiles) if swapped else (row_tiles, column_tiles)
        for p, q in tile.block_sizes():
            if p <= register and q <= memory:
                yield Choice(swapped, p, q, params.threads, spread(params.threads, q), _UNROLL)


def spread(threads: int, q: int) -> tuple[int, ...]:
    """Return leads that let the threads finish their blocks at evenly spaced times."""
    return tuple((thread + 1) * q // threads % q for thread in range(threads))


def forget() -> None:
    """Forget what was chosen and read: `MEASURED` has changed."""
    choose_schedule.cache_clear()
    _measured.cache_clear()


@cache
def _measured() -> Mapping[str, Choice]:
    """Return the choice with the fewest cycles of every product that was measured."""
    products: dict[str, list[dict[str, Any]]] = json.loads(MEASURED.read_text())
    return {key: best(figures) for key, figures in products.items()}


def best(figures: list[dict[str, Any]]) -> Choice:
    """Return the choice that took the fewest cycles."""
    chosen = dict(min(figures, key=lambda figure: figure["cycles"])["choice"])
    return Choice(**chosen | {"leads": tuple(chosen["leads"])})
