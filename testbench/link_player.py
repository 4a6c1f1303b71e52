"""Plays a record of the golden link layer to the RTL of one end and compares every output."""

from __future__ import annotations

from typing import Any

import numpy as np
from d1_golden.serdes.link_bench import LinkRecord
from d1_golden.serdes.link_layer import COUNTERS
from d1_golden.serdes.params import LIMIT_BITS, LinkParams
from d1_rtl.serdes.link_layer import LinkLayer
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

__all__ = ["open_link_layer", "play_record"]

_PACKET_PORTS = ("request", "reply")


def open_link_layer(params: LinkParams) -> NativeModel:
    """Return the compiled RTL of one end."""
    return NativeModel(LinkLayer(params), name=f"link_layer_{params.name}", design_key=repr(params))


def _words(array: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return 64-bit words, along the last axis, as 32-bit ones."""
    return np.ascontiguousarray(array).view(np.uint32)


def _small(array: NDArray[Any]) -> NDArray[np.uint32]:
    return np.asarray(array, np.uint32)[:, np.newaxis]


def _inputs(params: LinkParams, given: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    marks = given["row_control"] | given["row_error"] << params.lanes
    inputs = {
        "rst": _small(given["reset"]),
        "i_row__payload": np.hstack([_words(given["words"][:, : params.lanes]), _small(marks)]),
        "i_row__valid": _small(given["row_valid"]),
        "o_row__ready": _small(given["row_ready"]),
        "up": _small(given["up"]),
        "retrain": _small(given["retrain"]),
    }
    for plane, name in enumerate(_PACKET_PORTS):
        inputs[f"i_{name}__payload"] = _words(given["packets"][:, plane])
        inputs[f"i_{name}__valid"] = _small(given[f"{name}_valid"])
        inputs[f"o_{name}__ready"] = _small(given[f"{name}_ready"])
    return inputs


def _expected(params: LinkParams, golden: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    """Return what each output has to be; a payload counts only with its `valid`."""
    row = np.hstack([_words(golden["words"][:, : params.lanes]), _small(golden["row_control"])])
    report = (
        golden["report_valid"]
        | golden["report_request"] << 1
        | golden["report_reply"] << 1 + LIMIT_BITS
    )
    expected = {
        "o_row__payload": row,
        "o_row__valid": _small(golden["row_valid"]),
        "state": _small(golden["state"]),
        "session": _small(golden["session"]),
        "peer": _small(golden["peer"]),
        "report": _small(report),
        "counters": np.hstack([_small(golden[name]) for name in COUNTERS]),
    }
    for plane, name in enumerate(_PACKET_PORTS):
        expected[f"o_{name}__payload"] = _words(golden["packets"][:, plane])
        expected[f"o_{name}__valid"] = _small(golden[f"{name}_valid"])
        expected[f"i_{name}__ready"] = _small(golden[f"{name}_ready"])
    return expected


def play_record(model: NativeModel, params: LinkParams, record: LinkRecord, end: int) -> None:
    """Play the inputs of one end and compare its outputs, all of them in every clock.

    Successive records are parts of one run: nothing is reset in between.

    Raises
    ------
    AssertionError
        With the first clock of the record in which an output differs, and its values.
    """
    first_clock = model.cycles
    expected = _expected(params, record.outputs[:, end])
    played = model.play(_inputs(params, record.inputs[:, end]), list(expected))
    for port, want in expected.items():
        differs = (played[port] != want).any(axis=1)
        if port.endswith("__payload"):
            differs &= expected[port.replace("__payload", "__valid")][:, 0] != 0
        if differs.any():
            clock = int(np.argmax(differs))
            raise AssertionError(
                f"end {end}, clock {first_clock + clock}: {port} must be "
                f"{want[clock][::-1]}, not {played[port][clock][::-1]}"
            )
