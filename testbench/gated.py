"""A unit in a gated clock domain, as a node holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from d1_rtl.clock_gate import ClockGate
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

from .layouts import pack_rows

__all__ = ["GatedUnit", "play_operations", "play_streams"]


class GatedUnit(wiring.Component):
    """A unit with streams `i` or `i_*` and an output `busy`, clocked while any has work to do.

    Parameters
    ----------
    unit
        The unit; this component has its ports.
    gated
        As in `ClockGate`.

    """

    def __init__(self, unit: Any, *, gated: bool = True):
        self._unit = unit
        self._gated = gated
        super().__init__(unit.signature)

    def elaborate(self, platform: object) -> Module:
        """Put the unit into its domain."""
        m = Module()
        gate = ClockGate(domain="unit", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        m.submodules.unit = gate.drive(self._unit)
        wiring.connect(m, wiring.flipped(self), self._unit)
        inputs = [name for name in self._unit.signature.members if f"{name}_".startswith("i_")]
        arrives = Cat(getattr(self._unit, name).valid for name in inputs).any()
        m.d.comb += gate.en.eq(arrives | self._unit.busy)
        return m


def play_operations(
    model: NativeModel,
    layout: data.StructLayout,
    rng: np.random.Generator,
    operations: dict[str, NDArray[np.unsignedinteger]],
    *,
    latency: int,
) -> NDArray[np.uint32]:
    """Play operations as `play_streams` does, each with a result on `o`; return these."""
    count = len(next(iter(operations.values())))
    results = {"o": np.ones(count, bool)}
    return play_streams(model, layout, rng, operations, latency=latency, results=results)["o"]


def play_streams(
    model: NativeModel,
    layout: data.StructLayout,
    rng: np.random.Generator,
    operations: dict[str, NDArray[np.unsignedinteger]],
    *,
    latency: int,
    results: Mapping[str, NDArray[np.bool_]],
) -> dict[str, NDArray[np.uint32]]:
    """Play operations with pauses through a gated unit that is always ready; return its results.

    There are long dense stretches and sparse ones, in which the clock stops.

    Parameters
    ----------
    model
        A `GatedUnit` around a unit with a stream `i` and streams of results.
    layout
        That of `i.payload`.
    rng
        Chooses the pauses.
    operations
        As for `pack_rows`.
    latency
        Cycles from each transfer to its result.
    results
        For each stream of results, which operations have one there.

    Returns
    -------
    dict
        For each stream its results in order, as rows of words.

    Raises
    ------
    AssertionError
        If a result comes in another cycle, or `busy` is high in others than from the cycle after
        a transfer to that of its result.

    """
    count = len(next(iter(operations.values())))
    pause = np.repeat(rng.choice([0.0, 0.1, 0.6], -(-count // 50)), 50)[:count]
    gaps = np.where(rng.random(count) < pause, rng.integers(1, 9, count), 0)
    transfers = np.cumsum(gaps + 1) - 1
    cycles = transfers[-1] + latency + 2
    row = np.minimum(np.searchsorted(transfers, np.arange(cycles)), count - 1)
    valid = np.zeros(cycles, np.uint8)
    valid[transfers] = 1
    payload = pack_rows(layout, **operations)[row]
    ports = [f"{name}__{port}" for name in results for port in ("valid", "payload")]
    outputs = model.play({"i__payload": payload, "i__valid": valid}, [*ports, "busy"])
    taken = {}
    for name, chosen in results.items():
        done = np.flatnonzero(outputs[f"{name}__valid"][:, 0])
        assert np.array_equal(done, transfers[chosen] + latency), f"{name} comes after the latency"
        taken[name] = outputs[f"{name}__payload"][done]
    busy = np.zeros(cycles, bool)
    for distance in range(1, latency + 1):
        busy[transfers + distance] = True
    assert np.array_equal(outputs["busy"][:, 0], busy)
    return taken
