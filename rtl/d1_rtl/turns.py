"""Units that do the work of several in turns: a cycle of an FPGA's node has several clocks."""

from typing import Any

from amaranth.hdl import (
    Array,
    Cat,
    ClockDomain,
    ClockSignal,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from .clock_gate import ClockGate

__all__ = [
    "TURNS",
    "TurnCounter",
    "Turns",
    "caught",
    "collected",
    "delayed",
    "in_all_turns",
    "last_word",
    "word_of_turn",
]

#: Clocks, and turns, of a cycle on an FPGA.
TURNS = 4


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
    how long a cycle is. What the design has in the domain `turn` changes with every clock. A cycle
    is `TURNS` clocks, so that one unit can do what as many did in a cycle: with one number after
    the other. What comes of it is there in the last turn. Use as a `ClockGate`::

        turns = Turns()
        m.domains += turns.clock_domains
        m.submodules.turns = turns
        m.submodules.unit = turns.drive(unit)

    Golden twin: none; turns change nothing that a cycle does.

    Members
    -------
    last : Out(1)
        The cycle ends with this turn.
    """

    #: The cycle ends with this turn.
    last: Out(1)

    def __init__(self) -> None:
        self._gate = ClockGate(domain="cycle")
        #: The domains `turn` and `cycle`; to be added to those of the module around.
        self.clock_domains = (ClockDomain("turn", local=True), self._gate.clock_domain)
        super().__init__()

    def drive(self, unit: Any) -> Any:
        """Return `unit` with the registers of its `sync` clocked at the end of each cycle."""
        return self._gate.drive(unit)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.counter = counter = TurnCounter()
        m.submodules.gate = self._gate
        m.d.comb += [
            self._gate.en.eq(counter.last),
            ClockSignal("turn").eq(ClockSignal("sync")),
            ResetSignal("turn").eq(ResetSignal("sync")),
            self.last.eq(counter.last),
        ]
        return m


def word_of_turn(value: Value, number: Value, width: int) -> Value:
    """Return the word of a turn: word n of `value` in turn n."""
    return Array(value.word_select(n, width) for n in range(len(value) // width))[number]


def delayed(m: Module, value: Value, clocks: int, name: str) -> Value:
    """Return a value so many clocks later."""
    for n in range(clocks):
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
