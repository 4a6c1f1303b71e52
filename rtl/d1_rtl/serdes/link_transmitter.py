"""Link transmitter: packets to rows, again if need be."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import SESSION_BITS
from d1_golden.serdes.link_layer import PLANES
from d1_golden.serdes.params import LIMIT_BITS, SEQUENCE_BITS, LinkParams

from ..node.elastic_buffer import ElasticBuffer
from ..node.interfaces import packet_layout
from .blocks import row_layout
from .credit_counter import CreditCounter
from .frame_encoder import FrameEncoder
from .limit_teller import LimitTeller
from .link_words import LinkState, heard_layout
from .plane_chooser import PlaneChooser
from .replay_buffer import ReplayBuffer
from .row_sealer import RowSealer

__all__ = ["LinkTransmitter"]


class LinkTransmitter(wiring.Component):
    """The transmitting half of a link layer.

    A packet that enters while nothing else is there is in a row at `o_row` 4 cycles later.

    Golden twin: `d1_golden.serdes.link_layer`, `_transmit`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i_request, i_reply : In(stream.Signature(packet_layout()))
    o_row : Out(stream.Signature(row_layout(params)))
    heard : In(heard_layout())
        What the receiver heard.
    valid_status, valid_frame : In(1)
        It is of this session.
    state : In(LinkState)
    session, peer : In(16)
    started : In(1)
    clear : In(1)
        As in `LinkTraining`.
    expected : In(7)
    want : In(1)
        As in `SequenceChecker`.
    allowed : In(2 x 9)
        What the other end may send, by plane.
    away : Out(2 x 9)
        Packets not known to have left the other end's buffer, by plane.
    replays : Out(1)
        Frames will be sent again.
    """

    i_request: Any
    i_reply: Any
    o_row: Any
    heard: Any
    valid_status: Signal
    valid_frame: Signal
    state: Any
    session: Signal
    peer: Signal
    started: Signal
    clear: Signal
    expected: Signal
    want: Signal
    allowed: Any
    away: Any
    replays: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        limits = data.ArrayLayout(LIMIT_BITS, PLANES)
        super().__init__(
            {
                "i_request": In(packet),
                "i_reply": In(packet),
                "o_row": Out(stream.Signature(row_layout(params))),
                "heard": In(heard_layout()),
                "valid_status": In(1),
                "valid_frame": In(1),
                "state": In(LinkState),
                "session": In(SESSION_BITS),
                "peer": In(SESSION_BITS),
                "started": In(1),
                "clear": In(1),
                "expected": In(SEQUENCE_BITS),
                "want": In(1),
                "allowed": In(limits),
                "away": Out(limits),
                "replays": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params, control = self._params, self.heard.control
        chooser, replay = PlaneChooser(), ReplayBuffer(params)
        m.submodules.chooser = ResetInserter(self.clear)(chooser)
        m.submodules.replay = ResetInserter(self.clear)(replay)
        m.submodules.encoder = encoder = FrameEncoder(params)
        m.submodules.sealer = sealer = RowSealer(params)
        wiring.connect(m, replay.o, encoder.i_again)
        wiring.connect(m, sealer.o, wiring.flipped(self.o_row))
        self._enter(m, chooser)
        self._count(m, chooser)

        # The round in which frames are sent, and the one that the other end wants.
        round_, wanted = Signal(), Signal()
        is_valid = self.valid_status | self.valid_frame
        with m.If(is_valid):
            m.d.sync += wanted.eq(control.want)
        with m.If(self.replays):
            m.d.sync += round_.eq(wanted)
        with m.If(self.clear):
            m.d.sync += [round_.eq(0), wanted.eq(0)]
        is_open = self.state == LinkState.OPEN
        m.d.comb += [
            encoder.i.valid.eq(chooser.o.valid),
            encoder.i.payload.eq(chooser.o.payload),
            chooser.o.ready.eq(encoder.i.ready),
            replay.i.valid.eq(encoder.i.valid & encoder.i.ready),
            replay.i.payload.eq(chooser.o.payload),
            replay.close.eq(encoder.close),
            replay.heard.eq(is_valid),
            replay.acknowledge.eq(control.acknowledge),
            self.replays.eq((round_ != wanted) & encoder.idle & encoder.pull & ~self.clear),
            replay.rewind.eq(self.replays),
            encoder.start.eq(is_open & (round_ == wanted) & (replay.again | replay.room)),
            encoder.go_on.eq(is_open),
            encoder.again.eq(replay.again),
            encoder.abort.eq(self.clear),
            encoder.pull.eq(sealer.pull & self.started),
            sealer.valid.eq(self.started),
            sealer.row.eq(encoder.o),
            sealer.session.eq(Cat(self.session, self.peer)),
        ]
        self._say(m, encoder, round_, replay.sequence)
        return m

    def _enter(self, m: Module, chooser: PlaneChooser) -> None:
        """Take packets in."""
        for name in ("i_request", "i_reply"):
            m.submodules[name] = entry = ElasticBuffer(packet_layout())
            wiring.connect(m, wiring.flipped(getattr(self, name)), entry.i)
            wiring.connect(m, entry.o, getattr(chooser, name))

    def _count(self, m: Module, chooser: PlaneChooser) -> None:
        """Keep account of credits."""
        control, status = self.heard.control, self.heard.status
        credits = (self._params.request_credits, self._params.reply_credits)
        limits = (status.limit_request, status.limit_reply)
        for plane, (limit, count) in enumerate(zip(limits, credits, strict=True)):
            counter = CreditCounter(count)
            m.submodules[f"credits_{plane}"] = ResetInserter(self.clear)(counter)
            is_told = self.valid_frame & (control.limit_plane == plane)
            m.d.comb += [
                counter.told.eq(self.valid_status | is_told),
                counter.limit.eq(Mux(self.valid_status, limit, control.limit)),
                counter.take.eq(
                    chooser.o.valid & chooser.o.ready & (chooser.o.payload.plane == plane)
                ),
                chooser.free[plane].eq(counter.free),
                self.away[plane].eq(counter.away),
            ]

    def _say(self, m: Module, encoder: FrameEncoder, round_: Value, sequence: Value) -> None:
        """Fill in what status rows and control words say."""
        m.submodules.teller = teller = LimitTeller()
        status, control = encoder.status, encoder.control
        m.d.comb += [
            teller.allowed.eq(self.allowed),
            teller.told.eq(encoder.told),
            teller.both.eq(~encoder.close),
            status.state.eq(self.state),
            status.session.eq(self.session),
            status.seen.eq(self.peer),
            status.limit_request.eq(self.allowed[0]),
            status.limit_reply.eq(self.allowed[1]),
            control.round.eq(round_),
            control.want.eq(self.want),
            control.one.eq(1),
            control.sequence.eq(sequence),
            control.acknowledge.eq(self.expected),
            control.limit_plane.eq(teller.plane),
            control.limit.eq(teller.limit),
        ]
