"""The registers of a link's end at a die's edge."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import SIDES
from d1_golden.memory_map import SerdesCommand, SerdesRegister
from d1_golden.serdes.params import LinkParams

from ..serdes.link_words import end_counters_layout, link_status_layout
from .interfaces import edge_access_layout

__all__ = ["EdgeRegisters"]

_COUNT_BITS = 32
#: Bits of a field of STATUS, LANES and SESSIONS.
_LANES_BITS, _SESSION_BITS = 8, 16


class EdgeRegisters(wiring.Component):
    """Shows status and counters of a link's end, and starts and stops it.

    A register that `access` names is in `read` from the second cycle after that until the next
    access; what is written holds from the next cycle on. One access per cycle.

    Golden twin: `d1_golden.fabric.golden_edge.GoldenEdge`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    access : In(edge_access_layout())
    side : In(2)
        The bit of `access.select` that means these registers.
    read : Out(64)
    status : In(link_status_layout(params))
    counters : In(end_counters_layout())
        Of the link's end.
    refused : In(2)
        Packets that are refused or dropped in this cycle, a bit each.
    retrain, restart : Out(1)
        For one cycle after COMMAND is written.
    disabled : Out(lanes)
    off : Out(1)
        All wires are disabled.
    """

    access: Any
    side: Signal
    read: Signal
    status: Any
    counters: Any
    refused: Signal
    retrain: Signal
    restart: Signal
    disabled: Signal
    off: Signal

    def __init__(self, params: LinkParams):
        super().__init__(
            {
                "access": In(edge_access_layout()),
                "side": In(range(len(SIDES))),
                "read": Out(64),
                "status": In(link_status_layout(params)),
                "counters": In(end_counters_layout()),
                "refused": In(2),
                "retrain": Out(1),
                "restart": Out(1),
                "disabled": Out(params.lanes),
                "off": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        selected, refused = Signal(), Signal(_COUNT_BITS)
        command = Signal(len(SerdesCommand))
        commands = {SerdesCommand.RETRAIN: self.retrain, SerdesCommand.RESTART: self.restart}
        m.d.comb += [
            selected.eq(self.access.select.bit_select(self.side, 1)),
            self.off.eq(self.disabled.all()),
            *(out.eq((command & bit).any()) for bit, out in commands.items()),
        ]
        m.d.sync += [
            refused.eq(refused + self.refused[0] + self.refused[1]),
            command.eq(0),
        ]
        with m.If(selected):
            with m.Switch(self.access.number):
                for register, value in self._values(refused).items():
                    with m.Case(register):
                        m.d.sync += self.read.eq(value)
                with m.Default():
                    m.d.sync += self.read.eq(0)
            with m.If(self.access.write), m.Switch(self.access.number):
                with m.Case(SerdesRegister.COMMAND):
                    m.d.sync += command.eq(self.access.data)
                with m.Case(SerdesRegister.DISABLED):
                    m.d.sync += self.disabled.eq(self.access.data)
        return m

    def _values(self, refused: Value) -> dict[SerdesRegister, Value]:
        """Return what the registers hold; those that are not among them are 0."""
        status, layer, lanes = self.status, self.counters.layer, self.counters.lanes
        of_lanes = (status.arriving, status.peer_arriving, status.locked, status.inverted)
        modes = (status.receive_mode, status.transmit_mode)
        flags = (status.up, status.peer_up, status.reversed)
        counters = {
            SerdesRegister.LOST_REQUESTS: lanes.lost_requests,
            SerdesRegister.LOST_REPLIES: lanes.lost_replies,
            SerdesRegister.BAD_ROWS: layer.bad_rows,
            SerdesRegister.BAD_FRAMES: layer.bad_frames,
            SerdesRegister.LOST_FRAMES: layer.lost_frames,
            SerdesRegister.REPLAYS: layer.replays,
            SerdesRegister.RETRAINS: layer.retrains,
            SerdesRegister.PEER_RESETS: layer.peer_resets,
            SerdesRegister.BAD_HEADERS: lanes.bad_headers,
            SerdesRegister.BOND_LOSSES: lanes.bond_losses,
        }
        return {
            SerdesRegister.STATUS: Cat(
                status.state.as_value(), *(mode.as_value() for mode in modes), *flags
            ),
            SerdesRegister.LANES: Cat(*(_extended(bits, _LANES_BITS) for bits in of_lanes)),
            SerdesRegister.SESSIONS: Cat(
                *(_extended(number, _SESSION_BITS) for number in (status.session, status.peer))
            ),
            SerdesRegister.DISABLED: self.disabled,
            SerdesRegister.REFUSED: refused,
            **counters,
        }


def _extended(value: Value, bits: int) -> Value:
    """Return a value with zeros above, as wide as its field."""
    return Cat(value, Const(0, bits - len(value)))
