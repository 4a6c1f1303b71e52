"""Playing units whose cycles have several clocks, as on an FPGA."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import wiring
from d1_rtl.node.sram import EARLY_CLIENT, READ_CLIENTS, Sram
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.turns import CYCLE_CLOCKS, TURNS, TurnCounter, collected, word_of_turn
from numpy.typing import NDArray

from .gated import GatedUnit

__all__ = ["LINE_PORTS", "CycleModel", "SteadyClient", "SteadySram", "gated_model"]

#: The ports of SRAM and network interface where a line is whole in the last turn.
LINE_PORTS = frozenset(
    {f"r_{client}__{part}" for client in READ_CLIENTS for part in ("data", "uncorrectable")}
    | {"o_request__payload", "o_reply__payload"}
)


class CycleModel:
    """A model of an `OnFpga` that runs in cycles, whose inputs are the same in all its clocks.

    Parameters
    ----------
    model
        The model.
    late
        Outputs that are there in the last clock. An input that is set after a look at one is one
        of the next cycle. The others are looked at in the clock that it is.

    """

    def __init__(self, model: NativeModel, *, late: Collection[str] = ()):
        self._model = model
        self._late = late
        self._clock = 0  # of the cycle

    def play(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.uint32]]:
        """Play a row in each cycle; return what outputs are in the last turns."""
        self._go_to(0)
        stretched = {name: np.repeat(rows, CYCLE_CLOCKS, axis=0) for name, rows in inputs.items()}
        played = self._model.play(stretched, outputs)
        return {name: rows[CYCLE_CLOCKS - 1 :: CYCLE_CLOCKS] for name, rows in played.items()}

    def reset(self) -> None:
        """Reset it."""
        self._model.reset()
        self._clock = 0

    def step(self, cycles: int = 1) -> None:
        """Run to the begin of the next cycle, and some more."""
        self._model.step(cycles * CYCLE_CLOCKS - self._clock)
        self._clock = 0

    def set(self, name: str, value: int) -> None:
        """Set an input."""
        self._go_to(0)
        self._model.set(name, value)

    def get(self, name: str) -> int:
        """Return an output."""
        if name in self._late:
            self._go_to(CYCLE_CLOCKS - 1)
        return self._model.get(name)

    def _go_to(self, clock: int) -> None:
        """Run to a clock of the cycle, without a step if it is this one."""
        if clocks := (clock - self._clock) % CYCLE_CLOCKS:
            self._model.step(clocks)
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class SteadySram(wiring.Component):
    """An SRAM on an FPGA whose `EARLY_CLIENT` sees its line until the last turn.

    Parameters
    ----------
    sram
        The SRAM; this component has its ports.

    """

    def __init__(self, sram: Sram):
        self._sram = sram
        super().__init__(sram.signature)

    def elaborate(self, platform: object) -> Module:
        """Keep what the line is in the first turn."""
        m = Module()
        m.submodules.sram = sram = self._sram
        m.submodules.turns = turns = TurnCounter()
        early = f"r_{EARLY_CLIENT}"
        for (path, member, inner), (_, _, outer) in _pairs(sram, self):
            if member.flow == wiring.In:
                m.d.comb += inner.eq(outer)
            elif path[0] == early and path[1] != "request":
                kept = Signal.like(inner, name=f"kept_{path[1]}")
                with m.If(turns.number == 0):
                    m.d.turn += kept.eq(inner)
                m.d.comb += outer.eq(kept)
            else:
                m.d.comb += outer.eq(inner)
        return m


class SteadyClient(wiring.Component):
    """A client of the SRAM on an FPGA that gets and gives whole lines.

    What it reads must be there in all turns; what it writes is there in the last turn.

    Parameters
    ----------
    client
        The client, with `sram_read`, `sram_write` or both; this component has its ports.

    """

    def __init__(self, client: Any):
        self._client = client
        super().__init__(client.signature)

    def elaborate(self, platform: object) -> Module:
        """Shift lines as the SRAM does."""
        m = Module()
        m.submodules.client = client = self._client
        m.submodules.turns = turns = TurnCounter()

        def shifted(line: Value, name: str) -> Value:
            word = word_of_turn(line, turns.number, len(line) // TURNS)
            return collected(m, word, name)

        for (path, member, inner), (_, _, outer) in _pairs(client, self):
            name = "_".join(map(str, path))
            if isinstance(outer, Const):  # of a stream that is always ready
                continue
            if member.flow == wiring.In:
                is_line = path[:2] in (("sram_read", "data"), ("sram_read", "uncorrectable"))
                m.d.comb += inner.eq(shifted(outer, name) if is_line else outer)
            elif path == ("sram_write", "request", "payload"):
                m.d.comb += [outer.eq(inner), outer.data.eq(shifted(inner.data, name))]
            else:
                m.d.comb += outer.eq(inner)
        return m


def _pairs(inner: Any, outer: Any) -> Any:
    """Return the members of two components with the same ports."""
    return zip(inner.signature.flatten(inner), outer.signature.flatten(outer), strict=True)


def gated_model(unit: Any, *, name: str, on_fpga: bool = False) -> Any:
    """Return the model of a unit in a gated domain, as a simulator or an FPGA has it, reset.

    Parameters
    ----------
    unit
        As of `GatedUnit`.
    name
        Name of the top module.
    on_fpga
        Whether it is as on an FPGA; it is played cycle by cycle nevertheless.

    """
    design = GatedUnit(unit, gated=not on_fpga)
    model = NativeModel(OnFpga(design) if on_fpga else design, name=name)
    model.reset()
    return CycleModel(model) if on_fpga else model
