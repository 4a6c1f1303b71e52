"""Die comparison: the die of separate instances against the die as one Verilog top."""

from __future__ import annotations

import numpy as np
from d1_golden.fabric.place import Place
from d1_golden.params import DieParams
from d1_rtl.fabric.die import Die
from d1_rtl.sim.die_link import DieLink, die_parts
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

from testbench.die_traffic import DieTraffic

__all__ = ["DieComparison"]

_RESET_CYCLES = 2
#: Cycles after which what was recorded is compared; they take about 6 kB each in a 3 x 3 die.
_ROUND = 2000
#: Packets that the host sends in each round.
_HOST_PACKETS = 40


class DieComparison:
    """A `DieLink` under random traffic, and `Die` with the same inputs at its doors.

    Compared are all ports of `Die` in each cycle: the streams of all doors, whether each node is
    idle, and what it retires.

    Parameters
    ----------
    params
        The die.
    seed
        Of traffic and stalls.
    stall_probability
        As for `DieLink`.
    threads
        Likewise.

    Members
    -------
    link : DieLink
        What is compared.
    retired : int
        Instructions seen to retire.
    packets : int
        Packets seen to leave by doors.

    """

    def __init__(
        self, params: DieParams, seed: int, *, stall_probability: float = 0.2, threads: int = 2
    ) -> None:
        self.link = DieLink(params, threads=threads, stall_probability=stall_probability, seed=seed)
        self._places = [Place(*place) for place in params.live_nodes]
        self._traffic = DieTraffic(params, seed)
        self._flat = NativeModel(
            Die(params),
            name=f"die_{params.columns}x{params.rows}_{params.node.name}",
            design_key=repr(params),
            parts=die_parts(params),
        )
        self.retired = self.packets = 0
        self.link.start_recording()
        self.link.reset(_RESET_CYCLES)
        self._flat.reset(_RESET_CYCLES)
        self._compare(skipped=_RESET_CYCLES)

    def run(self, cycles: int) -> None:
        """Run for at least so many cycles.

        Raises
        ------
        AssertionError
            Something differs; says what, and in which cycle.

        """
        end = self.link.cycles + cycles
        while self.link.cycles < end:
            busy = self.link.busy_nodes
            packets = [
                self._traffic.programs(sorted(set(self._places) - set(busy))),
                self._traffic.posts(busy),
                self._traffic.host_packets(_HOST_PACKETS),
            ]
            self.link.exchange(np.concatenate(packets), 100 * _ROUND)
            self._compare()
            self.link.advance(min(_ROUND, max(0, end - self.link.cycles)))
            self._compare()

    def close(self) -> None:
        """Free both."""
        self.link.close()
        self._flat.close()

    def _compare(self, skipped: int = 0) -> None:
        recorded = {port: rows[skipped:] for port, rows in self.link.take_recorded().items()}
        first = self.link.cycles - len(next(iter(recorded.values())))
        inputs: dict[str, NDArray] = {}
        outputs: dict[str, NDArray] = {}
        for port, rows in recorded.items():
            (inputs if self._flat.ports[port].is_input else outputs)[port] = rows
        expected = self._flat.play(inputs, list(outputs))
        for port, rows in outputs.items():
            mask = _meaning(port, recorded)
            differs = ((rows != expected[port]) & mask).any(axis=1)
            if differs.any():
                k = int(np.argmax(differs))
                raise AssertionError(
                    f"{port} in cycle {first + k} must be {_hex(expected[port][k])}, as in one "
                    f"Verilog top, not {_hex(rows[k])}"
                )
            if port.startswith("retire__"):
                self.retired += int((rows[:, 0] & 1).sum())
            elif port.endswith("__valid"):
                ready = recorded[port.removesuffix("valid") + "ready"]
                self.packets += int((rows & ready).sum())


def _meaning(port: str, recorded: dict[str, NDArray[np.uint32]]) -> NDArray[np.bool_]:
    """Return in which cycles a port means something."""
    if port.endswith("__payload"):
        return recorded[port.removesuffix("payload") + "valid"] != 0
    return np.ones((1, 1), np.bool_)


def _hex(words: NDArray[np.uint32]) -> str:
    return f"{int.from_bytes(words.astype('<u4').tobytes(), 'little'):#x}"
