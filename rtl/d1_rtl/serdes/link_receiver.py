"""Link receiver: rows to packets, each once and in order."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import MAX_SLOTS, SESSION_BITS
from d1_golden.serdes.link_layer import PLANES
from d1_golden.serdes.params import LIMIT_BITS, SEQUENCE_BITS, LinkParams

from ..node.interfaces import packet_layout
from .blocks import received_row_layout
from .credit_issuer import CreditIssuer
from .frame_decoder import FrameDecoder
from .frame_stage import FrameStage
from .link_words import HeardKind, LinkState, heard_layout
from .packet_queue import PacketQueue
from .sequence_checker import SequenceChecker

__all__ = ["LinkReceiver"]


class LinkReceiver(wiring.Component):
    """The receiving half of a link layer.

    A packet is at its output 4 cycles after the last row of its frame, if nothing is before it.

    Golden twin: `d1_golden.serdes.link_layer`, `_check_row`, `_check_sequence` and `_deliver`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i_row : In(stream.Signature(received_row_layout(params), always_ready=True))
    o_request, o_reply : Out(stream.Signature(packet_layout()))
    session, peer : In(16)
    state : In(LinkState)
    valid_status, valid_frame, clear, fresh : In(1)
        As in `LinkTraining`.
    heard : Out(heard_layout())
        What has been received and checked.
    expected : Out(7)
    want : Out(1)
        As in `SequenceChecker`.
    allowed : Out(2 x 9)
        What the other end may send, by plane.
    bad_row, missed : Out(1)
        A row was no row; a frame is missing.
    """

    i_row: Any
    o_request: Any
    o_reply: Any
    session: Signal
    peer: Signal
    state: Any
    valid_status: Signal
    valid_frame: Signal
    clear: Signal
    fresh: Signal
    heard: Any
    expected: Signal
    want: Signal
    allowed: Any
    bad_row: Signal
    missed: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        packet = stream.Signature(packet_layout())
        super().__init__(
            {
                "i_row": In(stream.Signature(received_row_layout(params), always_ready=True)),
                "o_request": Out(packet),
                "o_reply": Out(packet),
                "session": In(SESSION_BITS),
                "peer": In(SESSION_BITS),
                "state": In(LinkState),
                "valid_status": In(1),
                "valid_frame": In(1),
                "clear": In(1),
                "fresh": In(1),
                "heard": Out(heard_layout()),
                "expected": Out(SEQUENCE_BITS),
                "want": Out(1),
                "allowed": Out(data.ArrayLayout(LIMIT_BITS, PLANES)),
                "bad_row": Out(1),
                "missed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        heard = self.heard
        m.submodules.decoder = decoder = FrameDecoder(self._params)
        m.submodules.stage = stage = FrameStage()
        checker = SequenceChecker()
        m.submodules.checker = ResetInserter(self.clear)(checker)
        wiring.connect(m, wiring.flipped(self.i_row), decoder.i)
        wiring.connect(m, decoder.o, stage.i)
        m.d.comb += [
            decoder.session.eq(Cat(self.peer, self.session)),
            heard.eq(decoder.heard),
            checker.heard.eq(self.valid_status | self.valid_frame),
            checker.is_frame.eq(self.valid_frame),
            checker.round.eq(heard.control.round),
            checker.number.eq(heard.control.sequence),
            checker.bad.eq(
                (heard.kind == HeardKind.BAD) & (self.state.as_value() >= LinkState.READY.value)
            ),
            stage.checked.eq(heard.kind != HeardKind.NOTHING),
            stage.accept.eq(checker.accept),
            stage.packets.eq(heard.packets),
            stage.replies.eq(heard.control.replies),
            self.expected.eq(checker.expected),
            self.want.eq(checker.want),
            self.bad_row.eq(decoder.bad_row),
            self.missed.eq(checker.missed),
        ]
        credits = (self._params.request_credits, self._params.reply_credits)
        for plane, (o, depth) in enumerate(
            zip((self.o_request, self.o_reply), credits, strict=True)
        ):
            m.submodules[f"queue_{plane}"] = queue = PacketQueue(packet_layout(), depth=depth)
            m.submodules[f"issuer_{plane}"] = issuer = CreditIssuer(depth)
            wiring.connect(m, queue.o, wiring.flipped(o))
            is_of_plane = [
                (n < heard.packets) & (heard.control.replies[n] == plane) for n in range(MAX_SLOTS)
            ]
            m.d.comb += [
                queue.i.valid.eq(stage.o.valid & (stage.o.payload.plane == plane)),
                queue.i.payload.eq(stage.o.payload.packet),
                issuer.accepted.eq(Mux(checker.accept, sum(is_of_plane), 0)),
                issuer.taken.eq(queue.o.valid & queue.o.ready),
                issuer.fresh.eq(self.fresh | self.clear),
                self.allowed[plane].eq(issuer.allowed),
            ]
        return m
