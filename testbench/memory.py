"""Memory agent: SRAM as its clients see it, for testing a client such as the core by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge
from d1_golden.params import LINE_BYTES

__all__ = ["MemoryAgent"]

_MASK_BITS, _DATA_BITS = LINE_BYTES, 8 * LINE_BYTES


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
    size
        Bytes of memory, a multiple of 64.
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
        size: int,
        stall: float = 0.0,
        seed: int = 0,
    ) -> None:
        if size <= 0 or size % LINE_BYTES:
            raise ValueError(f"size must be a positive multiple of {LINE_BYTES}, not {size!r}")
        if not 0 <= stall < 1:
            raise ValueError(f"stall must be in [0, 1), not {stall!r}")
        #: The memory's contents.
        self.contents = bytearray(size)
        #: Transfers made by each port.
        self.transfers: dict[str, int] = {name: 0 for name in (*reads, *writes)}
        self._line_bits = (size // LINE_BYTES - 1).bit_length()
        self._stall, self._rng = stall, random.Random(seed)
        for name in reads:
            cocotb.start_soon(self._serve_read(dut, name))
        for name in writes:
            cocotb.start_soon(self._serve_write(dut, name))

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
            payload = await self._granted(dut, name)
            start = self._line(payload & (1 << self._line_bits) - 1).start
            mask = payload >> self._line_bits
            data = (payload >> self._line_bits + _MASK_BITS).to_bytes(LINE_BYTES, "little")
            for byte in range(LINE_BYTES):
                if mask >> byte & 1:
                    self.contents[start + byte] = data[byte]
