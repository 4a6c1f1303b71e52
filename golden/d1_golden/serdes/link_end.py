"""One end of a link, whole: link layer and physical layer, clock by clock; compiled.

Golden twin of `d1_rtl.serdes.link_end`: every output has the value of the RTL's in every clock.
`link_layer`, `transmitter` and `receiver` are its parts, wired here as they are there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .block_lock import is_valid_header
from .link_layer import INPUTS, Shape, make_end, row_controls, step
from .params import LinkParams
from .receiver import BondState, ReceiveState, new_receive_state, receive_cycle, reset_receiver
from .transmitter import TransmitState, new_transmit_state, reset_transmitter, transmit_cycle

__all__ = ["LANE_COUNTERS", "EndState", "end_cycle", "new_end_state"]

#: What an end counts beside `d1_golden.serdes.link_layer.COUNTERS`, modulo 2^32, and what each is.
LANE_COUNTERS: dict[str, str] = {
    "bad_headers": "blocks with an invalid sync header, on all wires with block lock",
    "bond_losses": "times that rows stopped coming: a lane lost, or another number of lanes",
    "lost_requests": "requests that may not have left the other end before its resets",
    "lost_replies": "replies likewise",
}

_COUNTER_MASK = (1 << 32) - 1
_UP = int(BondState.UP)
_REGISTERS = np.dtype([("was_up", np.int64), *((name, np.int64) for name in LANE_COUNTERS)])


class EndState(NamedTuple):
    """All registers of an end.

    Members
    -------
    layer : LINK_END[1]
        The link layer.
    transmitter : TransmitState
    receiver : ReceiveState
        The physical layer.
    inputs : INPUTS[1]
        Of the link layer. What its users drive is set before each clock; rows are filled in.
    lanes : [1]
        The counters of `LANE_COUNTERS`, and `was_up`, whether rows were delivered.
    """

    layer: NDArray[np.void]
    transmitter: TransmitState
    receiver: ReceiveState
    inputs: NDArray[np.void]
    lanes: NDArray[np.void]


def new_end_state(
    params: LinkParams,
    *,
    layer: NDArray[np.void] | None = None,
    inputs: NDArray[np.void] | None = None,
) -> EndState:
    """Return an end as it is before its first clock.

    Parameters
    ----------
    params
        The link.
    layer, inputs
        Arrays of one `LINK_END` and one `INPUTS` to be used, by default new ones.
    """
    return EndState(
        layer=make_end() if layer is None else layer,
        transmitter=new_transmit_state(params),
        receiver=new_receive_state(params),
        inputs=np.zeros(1, INPUTS) if inputs is None else inputs,
        lanes=np.zeros(1, _REGISTERS),
    )


@njit(cache=True)
def _count(state):
    """Count what the registers show before the clock."""
    lanes, receiver, layer = state.lanes[0], state.receiver, state.layer[0]
    for wire in range(receiver.lanes):
        block = receiver.blocks[wire]
        if (
            receiver.locks[wire]["locked"]
            and block["valid"]
            and not is_valid_header(block["header"])
        ):
            lanes.bad_headers = lanes.bad_headers + 1 & _COUNTER_MASK
    up = 1 if receiver.bond[0]["state"] == _UP else 0
    lanes.bond_losses = lanes.bond_losses + (lanes.was_up & (1 - up)) & _COUNTER_MASK
    lanes.was_up = up
    if layer.report_valid != 0:
        lanes.lost_requests = lanes.lost_requests + layer.report[0] & _COUNTER_MASK
        lanes.lost_replies = lanes.lost_replies + layer.report[1] & _COUNTER_MASK


@njit(cache=True)
def _reset_lanes(state):
    reset_transmitter(state.transmitter)
    reset_receiver(state.receiver)
    lanes = state.lanes[0]
    lanes.was_up = lanes.bad_headers = lanes.bond_losses = 0
    lanes.lost_requests = lanes.lost_replies = 0


@njit(cache=True)
def end_cycle(
    shape: Shape,
    state: EndState,
    arrived: NDArray[np.uint64],
    disabled: int,
    restart: bool,
) -> None:
    """Run one clock; what the lanes carry in the next one is then in `state.transmitter.out`.

    Parameters
    ----------
    shape
        Of the parameters.
    state
        The end. Its `inputs` say what users and software do; `row_ready`, `up` and those of the
        row that arrives are set here.
    arrived
        What the wires carry.
    disabled
        Bit n: wire n must not be used.
    restart
        Whether all lanes are to be looked for anew.
    """
    layer, inputs, receiver = state.layer[0], state.inputs[0], state.receiver
    _count(state)
    bond = receiver.bond[0]
    up, arriving = bond["state"] == _UP, bond["arriving"]
    peer_up, peer_arriving = bond["peer_up"], bond["peer_arriving"]
    taken = transmit_cycle(
        state.transmitter,
        layer.rows[2],
        row_controls(shape.lanes, layer.row_kinds[2]),
        layer.row_valid[2] != 0,
        *(arriving, up),
        *(peer_arriving, peer_up),
    )
    delivered = receive_cycle(receiver, arrived, disabled, restart)
    inputs.up = 1 if up else 0
    inputs.row_ready = 1 if taken else 0
    inputs.row_valid = 1 if delivered else 0
    if delivered:
        inputs.row_control, inputs.row_error = receiver.row_flags[0], receiver.row_flags[1]
        for lane in range(shape.lanes):
            inputs.words[lane] = receiver.row_words[lane]
    step(shape, layer, inputs)
    if inputs.reset != 0:
        _reset_lanes(state)
