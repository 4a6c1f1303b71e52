"""Playing units whose cycles have several clocks, as on an FPGA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.turns import TURNS
from numpy.typing import NDArray

from .gated import GatedUnit

__all__ = ["CycleModel", "gated_model"]


class CycleModel:
    """A model of an `OnFpga` that runs in cycles, whose inputs are the same in all turns."""

    def __init__(self, model: NativeModel):
        self._model = model

    def play(
        self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.uint32]]:
        """Play a row in each cycle; return what outputs are in the last turns."""
        stretched = {name: np.repeat(rows, TURNS, axis=0) for name, rows in inputs.items()}
        played = self._model.play(stretched, outputs)
        return {name: rows[TURNS - 1 :: TURNS] for name, rows in played.items()}

    def step(self, cycles: int = 1) -> None:
        """Run some cycles; then `get` shows outputs in the first turn."""
        self._model.step(cycles * TURNS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


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
