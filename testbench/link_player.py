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

__all__ = [
    "compare",
    "open_link_layer",
    "packet_inputs",
    "packet_outputs",
    "play_record",
    "small",
]

_PACKET_PORTS = ("request", "reply")


def open_link_layer(params: LinkParams) -> NativeModel:
    """Return the compiled RTL of one end."""
    return NativeModel(LinkLayer(params), name=f"link_layer_{params.name}", design_key=repr(params))


def _words(array: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return 64-bit words, along the last axis, as 32-bit ones."""
    return np.ascontiguousarray(array).view(np.uint32)


def small(array: NDArray[Any]) -> NDArray[np.uint32]:
    """Return values of at most 32 bits as rows of a port."""
    return np.asarray(array, np.uint32)[:, np.newaxis]


def packet_inputs(given: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    """Return what users and software drive: streams of packets, `rst` and `retrain`."""
    inputs = {"rst": small(given["reset"]), "retrain": small(given["retrain"])}
    for plane, name in enumerate(_PACKET_PORTS):
        inputs[f"i_{name}__payload"] = _words(given["packets"][:, plane])
        inputs[f"i_{name}__valid"] = small(given[f"{name}_valid"])
        inputs[f"o_{name}__ready"] = small(given[f"{name}_ready"])
    return inputs


def packet_outputs(golden: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    """Return what the streams of packets and the report have to be."""
    report = (
        golden["report_valid"]
        | golden["report_request"] << 1
        | golden["report_reply"] << 1 + LIMIT_BITS
    )
    outputs = {"report": small(report)}
    for plane, name in enumerate(_PACKET_PORTS):
        outputs[f"o_{name}__payload"] = _words(golden["packets"][:, plane])
        outputs[f"o_{name}__valid"] = small(golden[f"{name}_valid"])
        outputs[f"i_{name}__ready"] = small(golden[f"{name}_ready"])
    return outputs


def compare(
    model: NativeModel,
    inputs: dict[str, NDArray[np.uint32]],
    expected: dict[str, NDArray[np.uint32]],
    end: int,
) -> dict[str, NDArray[np.uint32]]:
    """Play inputs and compare the outputs; return them. A payload counts only with its `valid`.

    Raises
    ------
    AssertionError
        With the first clock in which an output differs, and its values.
    """
    first_clock = model.cycles
    played = model.play(inputs, list(expected))
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
    return played


def _inputs(params: LinkParams, given: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    marks = given["row_control"] | given["row_error"] << params.lanes
    return {
        **packet_inputs(given),
        "i_row__payload": np.hstack([_words(given["words"][:, : params.lanes]), small(marks)]),
        "i_row__valid": small(given["row_valid"]),
        "o_row__ready": small(given["row_ready"]),
        "up": small(given["up"]),
    }


def _expected(params: LinkParams, golden: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    row = np.hstack([_words(golden["words"][:, : params.lanes]), small(golden["row_control"])])
    return {
        **packet_outputs(golden),
        "o_row__payload": row,
        "o_row__valid": small(golden["row_valid"]),
        "state": small(golden["state"]),
        "session": small(golden["session"]),
        "peer": small(golden["peer"]),
        "counters": np.hstack([small(golden[name]) for name in COUNTERS]),
    }


def play_record(model: NativeModel, params: LinkParams, record: LinkRecord, end: int) -> None:
    """Play the inputs of one end and compare its outputs, all of them in every clock.

    Successive records are parts of one run: nothing is reset in between.

    Raises
    ------
    AssertionError
        With the first clock of the record in which an output differs, and its values.
    """
    compare(
        model,
        _inputs(params, record.inputs[:, end]),
        _expected(params, record.outputs[:, end]),
        end,
    )
