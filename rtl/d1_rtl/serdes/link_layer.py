"""Link layer: packets in and out, nothing lost, doubled or reordered."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import SESSION_BITS
from d1_golden.serdes.link_layer import PLANES
from d1_golden.serdes.params import LinkParams

from ..node.interfaces import packet_layout
from .blocks import received_row_layout, row_layout
from .link_counters import LinkCounters
from .link_receiver import LinkReceiver
from .link_training import LinkTraining
from .link_transmitter import LinkTransmitter
from .link_words import HeardKind, LinkState, counters_layout, report_layout

__all__ = ["LinkLayer"]


class LinkLayer(wiring.Component):
    """One end of a link above its physical layer.

    A packet that enters while nothing else is there is in a row at `o_row` 4 cycles later; it is at
    an output 4 cycles after the last row of its frame arrived. A frame of 5 packets per 7 rows, on
    8 lanes, sustained. `docs/link.md` says what rows hold and how both ends deal with errors.

    All outputs come straight from registers.

    Golden twin: `d1_golden.serdes.link_layer`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
        Packets to send, by plane.
    o_request, o_reply : Out(stream.Signature(packet_layout()))
        Packets received.
    o_row : Out(stream.Signature(row_layout(params)))
        There is always a row but for the first cycles after a reset.
    i_row : In(stream.Signature(received_row_layout(params), always_ready=True))
    up : In(1)
        The lanes work; rows that arrive while they do not are left out.
    retrain : In(1)
        Train again; the other end does so too.
    state : Out(LinkState)
    session, peer : Out(16)
        Session numbers of this end and of the other one, 0 before it is known.
    report : Out(report_layout())
        `valid` in one cycle after a reset of the other end: how many packets, the last that were
        sent, may not have left its buffer.
    counters : Out(counters_layout())
    """

    i_request: Any
    i_reply: Any
    o_request: Any
    o_reply: Any
    o_row: Any
    i_row: Any
    up: Signal
    retrain: Signal
    state: Any
    session: Signal
    peer: Signal
    report: Any
    counters: Any

    def __init__(self, params: LinkParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_request": Out(packet),
                "o_reply": Out(packet),
                "o_row": Out(stream.Signature(row_layout(params))),
                "i_row": In(stream.Signature(received_row_layout(params), always_ready=True)),
                "up": In(1),
                "retrain": In(1),
                "state": Out(LinkState),
                "session": Out(SESSION_BITS),
                "peer": Out(SESSION_BITS),
                "report": Out(report_layout()),
                "counters": Out(counters_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params = self._params
        m.submodules.transmitter = transmitter = LinkTransmitter(params)
        m.submodules.receiver = receiver = LinkReceiver(params)
        m.submodules.training = training = LinkTraining(params)
        m.submodules.counters = counters = LinkCounters()
        for name, part in (
            *(("i_request", transmitter), ("i_reply", transmitter), ("o_row", transmitter)),
            *(("o_request", receiver), ("o_reply", receiver)),
        ):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(part, name))
        m.d.comb += [
            receiver.i_row.valid.eq(self.i_row.valid & self.up),
            receiver.i_row.payload.eq(self.i_row.payload),
            training.up.eq(self.up),
            training.retrain.eq(self.retrain),
            training.heard.eq(receiver.heard),
            transmitter.heard.eq(receiver.heard),
            transmitter.started.eq(training.started),
            receiver.fresh.eq(training.fresh),
            *(getattr(transmitter, name).eq(getattr(receiver, name)) for name in _TOLD),
            *(getattr(self, name).eq(getattr(training, name)) for name in _SHOWN),
            self.counters.eq(counters.counts),
        ]
        for name in (*_SHOWN, "valid_status", "valid_frame", "clear"):
            for part in (transmitter, receiver):
                m.d.comb += getattr(part, name).eq(getattr(training, name))
        m.d.sync += self.report.valid.eq(training.report)
        with m.If(training.report):
            for plane in range(PLANES):
                away = Mux(training.known, transmitter.away[plane], 0)
                m.d.sync += self.report.away[plane].eq(away)
        m.d.comb += [
            counters.events.bad_rows.eq(receiver.bad_row),
            counters.events.bad_frames.eq(receiver.heard.kind == HeardKind.BAD),
            counters.events.lost_frames.eq(receiver.missed),
            counters.events.replays.eq(transmitter.replays),
            counters.events.retrains.eq(training.goes_down),
            counters.events.peer_resets.eq(training.peer_reset),
        ]
        return m


#: What the training tells everybody, and what the receiver has the transmitter tell the other end.
_SHOWN = ("state", "session", "peer")
_TOLD = ("expected", "want", "allowed")
