"""Plays a record of two whole golden ends to the RTL and compares every output in every clock."""

from __future__ import annotations

import numpy as np
from d1_golden.serdes.end_bench import EndBench, EndRecord
from d1_golden.serdes.link_end import LANE_COUNTERS
from d1_golden.serdes.link_layer import COUNTERS
from d1_golden.serdes.link_users import ENDS
from d1_golden.serdes.params import LinkParams
from d1_rtl.serdes.link_end import LinkEnd
from d1_rtl.serdes.link_words import link_status_layout
from d1_rtl.sim.closing import Closing
from d1_rtl.sim.native import NativeModel
from numpy.typing import NDArray

from testbench.layouts import pack_lanes, pack_rows
from testbench.link_player import compare, packet_inputs, packet_outputs, small

__all__ = ["EndPair", "open_end", "play_end"]


def open_end(params: LinkParams) -> NativeModel:
    """Return the compiled RTL of an end, one build for all ends of the same parameters."""
    return NativeModel(LinkEnd(params), name=f"link_end_{params.name}", design_key=repr(params))


def _inputs(params: LinkParams, record: EndRecord, end: int) -> dict[str, NDArray[np.uint32]]:
    given, controls = record.inputs[:, end], record.controls[:, end]
    return {
        **packet_inputs(given),
        "lanes_i": pack_lanes(params.lane_width, record.lanes_i[:, end]),
        "disabled": small(controls[:, 0]),
        "restart": small(controls[:, 1]),
    }


def _expected(params: LinkParams, golden: NDArray[np.void]) -> dict[str, NDArray[np.uint32]]:
    status = link_status_layout(params)
    return {
        **packet_outputs(golden),
        "lanes_o": pack_lanes(params.lane_width, golden["lanes_o"][:, : params.lanes]),
        "status": pack_rows(
            status, **{name: golden[name].astype(np.uint64) for name in status.members}
        ),
        "counters": np.hstack([small(golden[name]) for name in (*COUNTERS, *LANE_COUNTERS)]),
    }


def play_end(model: NativeModel, params: LinkParams, record: EndRecord, end: int) -> int:
    """Play the inputs of one end and compare its outputs, all of them in every clock.

    Successive records are parts of one run: nothing is reset in between.

    Returns
    -------
    int
        Packets that the RTL handed to its users.

    Raises
    ------
    AssertionError
        With the first clock in which an output differs, and its values.
    """
    inputs = _inputs(params, record, end)
    played = compare(model, inputs, _expected(params, record.outputs[:, end]), end)
    return sum(
        int((played[f"o_{plane}__valid"] & inputs[f"o_{plane}__ready"] & ~inputs["rst"]).sum())
        for plane in ("request", "reply")
    )


class EndPair(Closing):
    """The RTL of both ends of a bench, which is played everything that its golden ends do.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    models : tuple[NativeModel, NativeModel]
        The ends.
    packets : int
        Packets of the present bench that the RTL has handed to its users.
    """

    models: tuple[NativeModel, NativeModel]
    packets: int

    def __init__(self, params: LinkParams):
        self.models = (open_end(params), open_end(params))

    def join(self, bench: EndBench) -> None:
        """Reset both ends, in a bench and in RTL, and give them the RTL's session numbers."""
        self._bench, self.packets = bench, 0
        session = link_status_layout(bench.params)["session"]
        mask = (1 << session.width) - 1
        for end in range(ENDS):
            bench.reset(end)
        bench.run(1)
        for end, model in enumerate(self.models):
            model.set("rst", 1)
            model.step()
            model.set("rst", 0)
            bench.ends["session"][end] = model.get("status") >> session.offset & mask

    def run(self, clocks: int) -> EndRecord:
        """Run the bench, compare the RTL of both ends in every clock, return the record."""
        record = self._bench.record(clocks)
        for end, model in enumerate(self.models):
            self.packets += play_end(model, self._bench.params, record, end)
        return record

    def close(self) -> None:
        """Free the models."""
        for model in self.models:
            model.close()
