"""Monitor of a node's retire trace."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from d1_rtl.node.interfaces import RetiredSlot, ScalarResult
from d1_rtl.sim.retire_order import LATE_DTYPE, SLOT_DTYPE, RetireOrder
from numpy.typing import NDArray

__all__ = ["RetireMonitor"]


class _Recorder:
    """Records one kind of struct of the trace from its ports."""

    def __init__(self, dut: Any, kind: str, struct: Any, dtype: np.dtype[np.void]) -> None:
        self._shape = struct.as_shape()
        self._dtype = dtype
        self._records: list[tuple[int, int]] = []
        self._ports: list[Any] = []
        while (port := getattr(dut, f"retire__{kind}__{len(self._ports)}", None)) is not None:
            self._ports.append(port)
        if not self._ports:
            raise ValueError(f"a component must have the port retire__{kind}__0")

    def sample(self, cycle: int) -> None:
        for port in self._ports:
            if (bits := int(port.value)) & 1:  # valid is the lowest bit
                self._records.append((cycle, bits))

    def take(self) -> NDArray[np.void]:
        records = np.zeros(len(self._records), self._dtype)
        for record, (cycle, bits) in zip(records, self._records, strict=True):
            record["cycle"] = cycle
            fields = self._shape.from_bits(bits)
            for name, _ in self._shape:
                if name != "valid":
                    record[name] = fields[name]
        self._records.clear()
        return records


class RetireMonitor:
    """Records the instructions that a node retires.

    Parameters
    ----------
    dut
        The cocotb handle of a component with an output `retire` of `RetireSignature`.

    """

    def __init__(self, dut: Any) -> None:
        self._slots = _Recorder(dut, "slots", RetiredSlot, SLOT_DTYPE)
        self._late = _Recorder(dut, "late", ScalarResult, LATE_DTYPE)
        self._order = RetireOrder()
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut: Any) -> None:
        cycle = 0
        while True:
            await FallingEdge(dut.clk)
            self._slots.sample(cycle)
            self._late.sample(cycle)
            cycle += 1

    def take(self) -> NDArray[np.void]:
        """Return the instructions retired since the last call, `LINK_RETIRE_DTYPE`[n].

        They come as `RetireOrder` says; `cycle` counts from when the monitor was made.
        """
        return self._order.take(self._slots.take(), self._late.take())
