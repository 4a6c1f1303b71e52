"""Units that do the work of several in turns: a cycle of an FPGA's node has several clocks."""

import enum
from itertools import accumulate
from typing import Any

from amaranth.hdl import (
    Array,
    Cat,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from .clock_gate import ClockGate

__all__ = [
    "CYCLE_CLOCKS",
    "TURNS",
    "TURN_CLOCKS",
    "ClockKind",
    "TurnCounter",
    "Turns",
    "caught",
    "clocks_between",
    "collected",
    "delayed",
    "in_all_turns",
    "last_word",
    "word_of_turn",
]

#: Clocks of each turn of a cycle on an FPGA. In the first turn what the registers of the cycle
#: make, such as the choice of an address, has to get to where the turns use it.
TURN_CLOCKS = (4, 2, 2, 2)
#: Turns of a cycle.
TURNS = len(TURN_CLOCKS)
#: Clocks of a cycle.
CYCLE_CLOCKS = sum(TURN_CLOCKS)


class ClockKind(enum.Enum):
    """How often registers of an FPGA's node change: in each clock, each turn or each cycle."""

    CLOCK = "clock"
    TURN = "turn"
    CYCLE = "cycle"


#: The clocks of a cycle that end with a change of registers.
_EDGES = {
    ClockKind.CLOCK: range(1, CYCLE_CLOCKS + 1),
    ClockKind.TURN: tuple(accumulate(TURN_CLOCKS)),
    ClockKind.CYCLE: (CYCLE_CLOCKS,),
}


def clocks_between(launch: ClockKind, capture: ClockKind) -> int:
    """Return how many clocks a path has from registers of one kind to those of another.

    It is the fewest from a change of the former to the next of the latter.
    """
    return min(
        (end - begin - 1) % CYCLE_CLOCKS + 1 for begin in _EDGES[launch] for end in _EDGES[capture]
    )


class TurnCounter(wiring.Component):
    """Counts the turns of a cycle, in the domain `turn`; all of a design count alike.

    Golden twin: none; turns change nothing that a cycle does.

    Members
    -------
    number : Out(range(TURNS))
        From a register.
    last : Out(1)
        The cycle ends with this turn.
    """

    #: From a register.
    number: Out(range(TURNS))
    #: The cycle ends with this turn.
    last: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.d.turn += self.number.eq(self.number + 1)
        m.d.comb += self.last.eq(self.number == TURNS - 1)
        return m


class Turns(wiring.Component):
    """Lets the registers of a design change in the last turn of each cycle only.

    Their clock has an edge for each cycle, by a `ClockGate`, so that an analysis of timing knows
    how long a cycle is. What the design has in the domain `turn` changes at the end of each turn,
    with a clock of its own. A cycle is `TURNS` turns of `TURN_CLOCKS`, so that one unit can do what
    as many did in a cycle: with one number after the other. What comes of it is there in the last
    turn. Use as a `ClockGate`::

        turns = Turns()
        m.domains += turns.clock_domains
        m.submodules.turns = turns
        m.submodules.unit = turns.drive(unit)

    Golden twin: none; turns change nothing that a cycle does.

    Members
    -------
    last : Out(1)
        The cycle ends with this clock.
    """

    #: The cycle ends with this clock.
    last: Out(1)

    def __init__(self) -> None:
        self._turn_gate, self._cycle_gate = ClockGate(domain="turn"), ClockGate(domain="cycle")
        #: The domains `turn` and `cycle`; to be added to those of the module around.
        self.clock_domains = (self._turn_gate.clock_domain, self._cycle_gate.clock_domain)
        super().__init__()

    def drive(self, unit: Any) -> Any:
        """Return `unit` with the registers of its `sync` clocked at the end of each cycle."""
        return self._cycle_gate.drive(unit)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.turn_gate, m.submodules.cycle_gate = self._turn_gate, self._cycle_gate
        # One bit for each clock of the cycle: the gates are enabled by a register or a few.
        now = Signal(CYCLE_CLOCKS, init=1)
        m.d.sync += now.eq(now.rotate_left(1))
        m.d.comb += [
            self.last.eq(now[-1]),
            self._turn_gate.en.eq(Cat(now[end - 1] for end in _EDGES[ClockKind.TURN]).any()),
            self._cycle_gate.en.eq(self.last),
        ]
        return m


def word_of_turn(value: Value, number: Value, width: int) -> Value:
    """Return the word of a turn: word n of `value` in turn n."""
    return Array(value.word_select(n, width) for n in range(len(value) // width))[number]


def delayed(m: Module, value: Value, turns: int, name: str) -> Value:
    """Return a value so many turns later."""
    for n in range(turns):
        register = Signal(len(value), name=f"{name}_{n + 1}", reset_less=True)
        m.d.turn += register.eq(value)
        value = register
    return value


def collected(m: Module, value: Value, name: str) -> Value:
    """Return, in the last turn, the words that a value had in the turns of this cycle."""
    words = [value]
    for n in range(TURNS - 1):
        words.insert(0, delayed(m, words[0], 1, f"{name}_{n}"))
    return Cat(words)


def caught(m: Module, value: Value, now: Value, name: str) -> Value:
    """Return what a value was in the turn of this cycle in which `now` was high, or what it is."""
    kept = Signal(len(value), name=name, reset_less=True)
    with m.If(now):
        m.d.turn += kept.eq(value)
    return Mux(now, value, kept)


def last_word(line: Value) -> Value:
    """Return the word of a turn of a line that is `collected`: the last that came."""
    return line[-(len(line) // TURNS) :]


def in_all_turns(word: Value) -> Value:
    """Return a line in which a word is in each turn where `word_of_turn` finds it."""
    return word.replicate(TURNS)
