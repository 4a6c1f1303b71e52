"""The physical layer of one end of a link: both directions."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from .blocks import RowMode, lanes_layout, peer_report_layout, received_row_layout, row_layout
from .physical_receiver import PhysicalReceiver
from .physical_transmitter import PhysicalTransmitter

__all__ = ["PhysicalLayer"]


class PhysicalLayer(wiring.Component):
    """A transmitter and a receiver that tell the other end through it what arrives.

    Latency and rate are those of `PhysicalTransmitter` and `PhysicalReceiver`.

    Golden twins: `d1_golden.serdes.transmitter.PhysicalTransmitter` and
    `d1_golden.serdes.receiver.PhysicalReceiver`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i : In(stream of row_layout(params))
        Taken while the other end is up. Words must not be markers.
    o : Out(stream of received_row_layout(params), always ready)
    lanes_o : Out(lanes_layout(params))
    lanes_i : In(lanes_layout(params))
    disabled, restart, up, report, peer, locked, bad_headers, inverted, reversed
        As in `PhysicalReceiver`.
    transmit_mode, receive_mode : Out(RowMode)
        How rows are spread over the lanes of each direction.
    """

    i: stream.Interface
    o: stream.Interface
    lanes_o: Any
    lanes_i: Any
    disabled: Signal
    restart: Signal
    up: Signal
    report: Any
    peer: Any
    locked: Signal
    bad_headers: Signal
    inverted: Signal
    reversed: Signal
    transmit_mode: Any
    receive_mode: Any

    def __init__(self, params: LinkParams):
        self._params = params
        lanes = params.lanes
        super().__init__(
            {
                "i": In(stream.Signature(row_layout(params))),
                "o": Out(stream.Signature(received_row_layout(params), always_ready=True)),
                "lanes_o": Out(lanes_layout(params)),
                "lanes_i": In(lanes_layout(params)),
                "disabled": In(lanes),
                "restart": In(1),
                "up": Out(1),
                "report": Out(peer_report_layout(params)),
                "peer": Out(peer_report_layout(params)),
                "locked": Out(lanes),
                "bad_headers": Out(lanes),
                "inverted": Out(lanes),
                "reversed": Out(1),
                "transmit_mode": Out(RowMode),
                "receive_mode": Out(RowMode),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.transmitter = transmitter = PhysicalTransmitter(self._params)
        m.submodules.receiver = receiver = PhysicalReceiver(self._params)
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        wiring.connect(m, wiring.flipped(self.o), receiver.o)
        m.d.comb += [
            self.lanes_o.eq(transmitter.lanes),
            self.transmit_mode.eq(transmitter.mode),
            transmitter.report.eq(receiver.report),
            transmitter.peer.eq(receiver.peer),
            receiver.lanes.eq(self.lanes_i),
            receiver.disabled.eq(self.disabled),
            receiver.restart.eq(self.restart),
            self.receive_mode.eq(receiver.mode),
            *(getattr(self, name).eq(getattr(receiver, name)) for name in _RECEIVER_STATUS),
        ]
        return m


_RECEIVER_STATUS = ("up", "report", "peer", "locked", "bad_headers", "inverted", "reversed")
