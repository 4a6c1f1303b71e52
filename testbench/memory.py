"""Memory agent: SRAM as its clients see it, for testing a client such as the core by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from d1_golden.params import LINE_BYTES, NodeParams
from d1_rtl.node.interfaces import sram_write_layout

from .stream import check_probability

__all__ = ["MemoryAgent"]


class MemoryAgent:
    """Answers the read and write ports of SRAM clients from one array of bytes.

    A granted read is answered in the next cycle, a granted write is visible to reads granted later,
    as `SramReadSignature` and `SramWriteSignature` say. Refusals are random, so a client meets
    every pattern of bank conflicts.

    Parameters
    ----------
    dut
        The cocotb handle of the client.
    reads, writes
        Names of its read and write ports.
    params
        The node, which gives the size of the memory.
    stall
        Probability with which a port is refused in a cycle.
    seed
        Seed of the refusals.

    """

    def __init__(
        self,
        dut: Any,
        *,
        reads: Iterable[str],
        writes: Iterable[str],
        params: NodeParams,
        stall: float = 0.0,
        seed: int = 0,
    ) -> None:
        #: The memory's contents.
        self.contents = bytearray(params.sram_bytes)
        self.stall = stall
        #: Transfers made by each port.
        self.transfers: dict[str, int] = {name: 0 for name in (*reads, *writes)}
        self._layout = sram_write_layout(params)
        self._rng = random.Random(seed)
        for name in reads:
            cocotb.start_soon(self._serve_read(dut, name))
        for name in writes:
            cocotb.start_soon(self._serve_write(dut, name))

    @property
    def stall(self) -> float:
        """Probability with which a port is refused in a cycle."""
        return self._stall

    @stall.setter
    def stall(self, value: float) -> None:
        check_probability("stall", value)
        self._stall = value

    def load(self, address: int, data: bytes) -> None:
        """Put `data` at `address`, at once."""
        if address + len(data) > len(self.contents):
            raise ValueError(
                f"data must end by {len(self.contents):#x}, not {address + len(data):#x}"
            )
        self.contents[address : address + len(data)] = data

    def _line(self, number: int) -> slice:
        if (number + 1) * LINE_BYTES > len(self.contents):
            raise IndexError(f"line must be below {len(self.contents) // LINE_BYTES}, not {number}")
        return slice(number * LINE_BYTES, (number + 1) * LINE_BYTES)

    async def _granted(self, dut: Any, name: str) -> int:
        """Wait until the port is granted, at the end of a cycle, and return its payload."""
        valid = getattr(dut, f"{name}__request__valid")
        ready = getattr(dut, f"{name}__request__ready")
        payload = getattr(dut, f"{name}__request__payload")
        while True:
            grant = self._rng.random() >= self._stall
            ready.value = int(grant)
            await FallingEdge(dut.clk)
            taken = grant and int(valid.value)
            value = int(payload.value) if taken else 0
            await RisingEdge(dut.clk)
            if taken:
                self.transfers[name] += 1
                return value

    async def _serve_read(self, dut: Any, name: str) -> None:
        data = getattr(dut, f"{name}__data")
        await RisingEdge(dut.clk)
        while True:
            line = self._line(await self._granted(dut, name))
            data.value = int.from_bytes(self.contents[line], "little")

    async def _serve_write(self, dut: Any, name: str) -> None:
        await RisingEdge(dut.clk)
        while True:
            write: Any = self._layout.from_bits(await self._granted(dut, name))
            start, mask = self._line(write.line).start, write.mask
            data = write.data.to_bytes(LINE_BYTES, "little")
            for byte in range(LINE_BYTES):
                if mask >> byte & 1:
                    self.contents[start + byte] = data[byte]
