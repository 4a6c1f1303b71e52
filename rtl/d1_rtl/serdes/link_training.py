"""Link training: whether the other end hears this one, and whether it is still the same."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.frame import SESSION_BITS
from d1_golden.serdes.params import LinkParams

from .link_words import HeardKind, LinkState, heard_layout

__all__ = ["LinkTraining"]


class LinkTraining(wiring.Component):
    """Runs the handshake of both ends, begins new sessions and trains again after silence.

    Each end has a session number that changes with its every reset, because the register alone
    is not reset. An end that hears a new number of the other one knows that it was reset and
    forgets what was sent and expected. `docs/link.md` has the states.

    Golden twin: `d1_golden.serdes.link_layer`, `_hear_status` and `_train`.

    Parameters
    ----------
    params
        Times.

    Members
    -------
    up : In(1)
        The lanes work.
    retrain : In(1)
        Train again.
    heard : In(heard_layout())
    state : Out(LinkState)
    session, peer : Out(16)
        The numbers of this end and of the other one, which is 0 before it is known.
    started : Out(1)
        The number of this end is valid: low in the first cycle after a reset.
    valid_status, valid_frame : Out(1)
        What is heard is of this session, and what it says of frames holds.
    clear : Out(1)
        A session begins: forget the last one.
    report : Out(1)
        With `clear`: there was one.
    peer_reset : Out(1)
        What is heard tells of a reset of the other end.
    fresh : Out(1)
        The session has begun and the other end does not know it.
    known : Out(1)
        The other end has told its limits in this session.
    goes_down : Out(1)
        The state becomes DOWN.
    """

    up: Signal
    retrain: Signal
    heard: Any
    state: Any
    session: Signal
    peer: Signal
    started: Signal
    valid_status: Signal
    valid_frame: Signal
    clear: Signal
    report: Signal
    peer_reset: Signal
    fresh: Signal
    known: Signal
    goes_down: Signal

    def __init__(self, params: LinkParams):
        self._retrain, self._silence = params.retrain_cycles, params.silence_cycles
        super().__init__(
            {
                "up": In(1),
                "retrain": In(1),
                "heard": In(heard_layout()),
                "state": Out(LinkState),
                "session": Out(SESSION_BITS),
                "peer": Out(SESSION_BITS),
                "started": Out(1),
                "valid_status": Out(1),
                "valid_frame": Out(1),
                "clear": Out(1),
                "report": Out(1),
                "peer_reset": Out(1),
                "fresh": Out(1),
                "known": Out(1),
                "goes_down": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        session = Signal(SESSION_BITS, reset_less=True)
        m.d.comb += self.session.eq(session)
        m.d.sync += self.started.eq(1)
        with m.If(~self.started):
            m.d.sync += session.eq(Mux(session.all(), 1, session + 1))

        status = self.heard.status
        is_status, same, seen, falls = (
            Signal(name=n) for n in ("is_status", "same", "seen", "falls")
        )
        hold = Signal(range(self._retrain + 1))  # cycles for which the link stays down
        silence = Signal(range(self._silence + 1))  # cycles since something good was heard
        silence_next = Signal.like(silence)
        state, peer_state = self.state.as_value(), status.state.as_value()
        up, ready = LinkState.UP.value, LinkState.READY.value
        is_down = self.state == LinkState.DOWN
        begun = Signal()
        m.d.comb += [
            self.fresh.eq(~begun),
            is_status.eq((self.heard.kind == HeardKind.STATUS) & (~is_down | (hold == 0))),
            same.eq(status.session == self.peer),
            seen.eq(status.seen == self.session),
            self.valid_frame.eq((self.heard.kind == HeardKind.FRAME) & (state >= ready)),
            self.valid_status.eq(is_status & same & seen & (state >= up) & (peer_state >= up)),
            self.peer_reset.eq(is_status & ~same & (self.peer != 0)),
            silence_next.eq(silence + 1),
            falls.eq(~self.up | self.retrain | (silence_next == self._silence)),
            self.goes_down.eq(falls & ~is_down),
        ]
        with m.If(is_down | self.valid_frame | (is_status & same)):
            m.d.comb += silence_next.eq(0)
        m.d.sync += [
            silence.eq(Mux(falls, 0, silence_next)),
            hold.eq(Mux(falls, self._retrain, Mux(hold == 0, 0, hold - 1))),
            self.clear.eq(is_status & ~same),
            self.report.eq(self.peer_reset),
            self.known.eq((self.known | self.valid_status) & ~self.clear),
            begun.eq(~self.clear & (begun | (state >= up))),
        ]
        with m.If(is_status):
            m.d.sync += self.peer.eq(status.session)
        self._move(m, is_status, same=same, seen=seen, falls=falls)
        return m

    def _move(self, m: Module, is_status: Value, *, same: Value, seen: Value, falls: Value) -> None:
        """Go from state to state."""
        peer_state = self.heard.status.state.as_value()
        with m.If(is_status):
            with m.If(~same | (self.state == LinkState.DOWN)):
                m.d.sync += self.state.eq(LinkState.INIT)
            with m.Elif(seen):
                with m.If((self.state == LinkState.INIT) | (peer_state < LinkState.UP.value)):
                    m.d.sync += self.state.eq(LinkState.UP)
                with m.Elif(self.state == LinkState.UP):
                    m.d.sync += self.state.eq(LinkState.READY)
                with m.Elif(peer_state >= LinkState.READY.value):
                    m.d.sync += self.state.eq(LinkState.OPEN)
        with m.If(self.valid_frame):
            m.d.sync += self.state.eq(LinkState.OPEN)
        with m.If(falls):
            m.d.sync += self.state.eq(LinkState.DOWN)
