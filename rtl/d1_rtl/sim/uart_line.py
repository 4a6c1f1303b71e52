"""The host's end of the serial line of a simulated design: bytes to levels and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from d1_golden.fpga.uart import BITS, UartParams
from numpy.typing import NDArray

from d1_rtl.sim.native import NativeModel

__all__ = ["UartLine"]

_IDLE = 1


class UartLine:
    """Drives `rx` of a model with bytes and reads bytes from its `tx`, at the exact baud rate.

    Parameters
    ----------
    model
        A design with the ports `rx` and `tx`: RTL or a netlist.
    params
        Clock and rate.

    """

    def __init__(self, model: NativeModel, params: UartParams) -> None:
        self._model = model
        self._step, self._modulus = params.step, params.modulus
        self._levels = np.zeros(0, np.uint8)  # of rx, a bit each, that are to come
        self._phase = 0  # of the first of them, in 1 / step cycles
        self._seen = np.zeros(0, np.uint8)  # of tx, a cycle each, that are not decoded yet
        # Cycles from the one in which a start bit begins to the middles of the bits after it.
        self._middles = (np.arange(1, BITS) * 2 + 1) * self._modulus // (2 * self._step)
        model.set("rx", _IDLE)

    @property
    def unsent(self) -> int:
        """Bytes given to `send` of which bits are left."""
        return -(-len(self._levels) // BITS)

    def send(self, line: bytes) -> None:
        """Queue bytes; they go on the line without a pause, when it runs."""
        data = np.unpackbits(np.frombuffer(line, np.uint8)[:, None], axis=1, bitorder="little")
        framed = np.pad(data, ((0, 0), (1, 1)))
        framed[:, -1] = _IDLE
        self._levels = np.concatenate([self._levels, framed.reshape(-1)])

    def run(
        self, cycles: int, inputs: Mapping[str, NDArray[np.unsignedinteger[Any]]] | None = None
    ) -> bytes:
        """Let cycles pass; return the bytes whose stop bit has come.

        Parameters
        ----------
        cycles
            How many.
        inputs
            Other inputs, as for `NativeModel.play`.

        """
        places = (self._phase + self._step * np.arange(cycles + 1)) // self._modulus
        padded = np.pad(self._levels, (0, 1), constant_values=_IDLE)
        rows = {"rx": padded[np.minimum(places[:-1], len(self._levels))], **(inputs or {})}
        used = int(places[-1])
        end = self._phase + self._step * cycles
        self._phase = end % self._modulus if used < len(self._levels) else 0
        self._levels = self._levels[used:]
        recorded = self._model.play(rows, ["tx"])["tx"][:, 0].astype(np.uint8)
        self._seen = np.concatenate([self._seen, recorded])
        return self._decode()

    def _decode(self) -> bytes:
        """Return the bytes that are whole, and keep what follows them."""
        received, place = bytearray(), 0
        lows = np.flatnonzero(self._seen == 0)
        while True:
            following = np.searchsorted(lows, place)
            if following == len(lows):
                place = len(self._seen)
                break
            start = lows[following]
            if start + self._middles[-1] >= len(self._seen):
                place = start
                break
            levels = self._seen[start + self._middles]
            if levels[-1] == _IDLE:  # else it is no byte
                received += np.packbits(levels[:-1], bitorder="little").tobytes()
            place = start + self._middles[-1]
        self._seen = self._seen[place:]
        return bytes(received)
