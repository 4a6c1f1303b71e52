"""Source and sink of a valid/ready stream, for any component of the project.

Both drive just after the rising edge of the clock and look at the falling edge, when every
combinational path has settled: a transfer seen there is the one that the next rising edge makes.
So the agents are free of races in every simulator and serve registered and combinational
handshakes alike.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import Event, FallingEdge, RisingEdge

__all__ = ["StreamSink", "StreamSource", "check_probability"]


def check_probability(name: str, value: float) -> None:
    """Raise ValueError if the probability of a stall is not in [0, 1)."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), not {value!r}")


class _StreamAgent:
    """What source and sink share: the ports of a stream, seeded stalls and callbacks."""

    def __init__(self, dut: Any, name: str, stall: float, rng: random.Random | None) -> None:
        check_probability("stall", stall)
        self._clk = dut.clk
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready")
        self._payload = getattr(dut, f"{name}__payload")
        self._stall, self._rng = stall, rng or random.Random(0)
        #: Called with each payload at the moment it is transferred.
        self.callbacks: list[Callable[[int], None]] = []

    def _stalls(self) -> bool:
        return self._rng.random() < self._stall

    def _transferred(self, payload: int) -> None:
        for callback in self.callbacks:
            callback(payload)


class StreamSource(_StreamAgent):
    """Drives payloads into a stream, in order, each held until it is taken.

    Parameters
    ----------
    dut
        The cocotb handle of the component.
    name
        The stream's name, such as `i_request`.
    stall
        Probability with which a payload waits for another cycle before it becomes valid.
    rng
        Source of the stalls; seed it to make them repeatable.

    """

    def __init__(
        self, dut: Any, name: str, *, stall: float = 0.0, rng: random.Random | None = None
    ) -> None:
        super().__init__(dut, name, stall, rng)
        self._queue: deque[int] = deque()
        self._wake, self._drained = Event(), Event()
        self._drained.set()
        self._valid.value = 0
        self._payload.value = 0
        cocotb.start_soon(self._run())

    def send(self, payload: int) -> None:
        """Queue a payload; returns at once."""
        self._queue.append(payload)
        self._drained.clear()
        self._wake.set()

    async def drain(self) -> None:
        """Wait until everything queued has been transferred."""
        await self._drained.wait()

    async def _run(self) -> None:
        await RisingEdge(self._clk)
        while True:
            if not self._queue:
                self._valid.value = 0
                self._drained.set()
                self._wake.clear()
                await self._wake.wait()
                await RisingEdge(self._clk)
            if self._stalls():
                self._valid.value = 0
                await RisingEdge(self._clk)
                continue
            payload = self._queue[0]
            self._payload.value = payload
            self._valid.value = 1
            await FallingEdge(self._clk)
            while not int(self._ready.value):
                await FallingEdge(self._clk)
            await RisingEdge(self._clk)
            self._queue.popleft()
            self._transferred(payload)


class StreamSink(_StreamAgent):
    """Takes payloads from a stream and hands each to its callbacks.

    Parameters
    ----------
    dut
        The cocotb handle of the component.
    name
        The stream's name, such as `o_reply`.
    stall
        Probability with which `ready` is low in a cycle.
    rng
        Source of the stalls; seed it to make them repeatable.

    """

    def __init__(
        self, dut: Any, name: str, *, stall: float = 0.0, rng: random.Random | None = None
    ) -> None:
        super().__init__(dut, name, stall, rng)
        self._ready.value = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        while True:
            await RisingEdge(self._clk)
            ready = not self._stalls()
            self._ready.value = int(ready)
            await FallingEdge(self._clk)
            if ready and int(self._valid.value):
                self._transferred(int(self._payload.value))
