"""Monitor of a node's retire trace."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge
from d1_golden.retire import RETIRE_DTYPE
from numpy.typing import NDArray

__all__ = ["RetireMonitor"]


class RetireMonitor:
    """Records the instructions that a node retires.

    Parameters
    ----------
    dut
        The cocotb handle of a component with an output `retire` of `RetireSignature`.

    """

    def __init__(self, dut: Any) -> None:
        self._records: list[tuple[int, ...]] = []
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut: Any) -> None:
        ports = {
            name: getattr(dut, f"retire__{name}")
            for name in ("pc", "insn", "rd", "rd_valid", "value")
        }
        while True:
            await FallingEdge(dut.clk)
            if int(dut.retire__valid.value):
                self._records.append(tuple(int(port.value) for port in ports.values()))

    def take(self) -> NDArray[np.void]:
        """Return the instructions retired since the last call, `RETIRE_DTYPE`[n]."""
        records = np.zeros(len(self._records), RETIRE_DTYPE)
        for record, values in zip(records, self._records, strict=True):
            for name, value in zip(("pc", "insn", "rd", "rd_valid", "value"), values, strict=True):
                record[name] = value
        self._records.clear()
        return records
