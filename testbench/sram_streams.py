"""All ports of the SRAM busy at once, each in a bank of its own: what it moves at most."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from d1_golden.params import LINE_BYTES, NodeParams
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.sram import Sram
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

from .layouts import pack_rows

__all__ = ["SramStreams", "play_sram_streams", "run_sram_streams"]

_CYCLES = 500
_WORDS = LINE_BYTES // 8
_SCALAR_BYTES = 8


class SramStreams(NamedTuple):
    """What came of the streams.

    Members
    -------
    bytes_per_cycle
        What the requests granted have moved, "r" read and "w" written.
    read : dict[str, uint64[cycles, 8]]
        What a vector port and the network read, by name of the port.
    expected : dict[str, uint64[cycles, 8]]
        What was written there before.
    """

    bytes_per_cycle: dict[str, float]
    read: dict[str, NDArray[np.uint64]]
    expected: dict[str, NDArray[np.uint64]]


def play_sram_streams(model: NativeModel, params: NodeParams, *, seed: int) -> SramStreams:
    """Let every port ask in every cycle, for the line after its last.

    Vectors are in the upper half of the SRAM, network and scalars in the lower one.

    Parameters
    ----------
    model
        An `Sram`, just reset.
    params
        Its node.
    seed
        Of what is written.

    """
    rng = np.random.default_rng(seed)
    cycles, half = _CYCLES, params.sram_bytes // LINE_BYTES // 2
    n = np.arange(cycles, dtype=np.uint64)
    lines = rng.integers(0, 1 << 64, (2, cycles, _WORDS), np.uint64)
    stored = rng.integers(0, 1 << 64, cycles, np.uint64)
    word = rng.integers(0, _WORDS, cycles)
    everything = np.full(cycles, (1 << LINE_BYTES) - 1, np.uint64)
    scalar_mask = (0xFF << 8 * word).astype(np.uint64)

    def write(place: int, data: NDArray[np.uint64], mask: NDArray[np.uint64]) -> NDArray[np.uint32]:
        fields = {"line": n + np.uint64(place), "data": data, "mask": mask}
        return pack_rows(sram_write_layout(params), **fields)

    # A bank of its own for each, in every cycle.
    reads = {"r_vector_0": half, "r_vector_1": half + 1, "r_network": 2, "r_scalar": 3}
    inputs = {
        "w_vector": write(half + 4, lines[0], everything),
        "w_scalar": write(5, np.repeat(stored[:, None], _WORDS, axis=1), scalar_mask),
        "w_network": write(6, lines[1], everything),
    } | {client: n + np.uint64(place) for client, place in reads.items()}
    ports = {f"{client}__request__payload": rows for client, rows in inputs.items()}
    ports |= {f"{client}__request__valid": np.ones(cycles, np.uint64) for client in inputs}
    outputs = [f"{client}__request__ready" for client in inputs]
    outputs += [f"{client}__data" for client in ("r_vector_0", "r_network")]
    recorded = model.play(ports, outputs)

    def moved(kind: str) -> float:
        return sum(
            (_SCALAR_BYTES if client.endswith("scalar") else LINE_BYTES)
            * float(recorded[f"{client}__request__ready"].mean())
            for client in inputs
            if client.startswith(kind)
        )

    # Line k is read 5 cycles after row k; by then a store has changed a word of the network's.
    changed = lines[1].copy()
    changed[n[:-1], word[1:]] = stored[1:]
    return SramStreams(
        {kind: moved(kind) for kind in "rw"},
        {
            port: recorded[f"{port}__data"].view(np.uint64)[5:]
            for port in ("r_vector_0", "r_network")
        },
        {"r_vector_0": lines[0][:-5], "r_network": changed[:-5]},
    )


def run_sram_streams(params: NodeParams, *, seed: int = 6) -> SramStreams:
    """Do so on the RTL of a node's SRAM.

    Raises
    ------
    ValueError
        What was read is not what was written.

    """
    with NativeModel(Sram(params), name=f"sram_{params.name}") as model:
        model.set("write", 0)
        model.reset()
        streams = play_sram_streams(model, params, seed=seed)
    for port, found in streams.read.items():
        if not np.array_equal(found, streams.expected[port]):
            raise ValueError(f"{port} must read what was written, seed {seed}")
    return streams
