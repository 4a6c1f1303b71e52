"""The receiving half of the physical layer: lanes to rows."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from .block_lock import BlockLock
from .blocks import Block, RowMode, lanes_layout, peer_report_layout, received_row_layout
from .descrambler import Descrambler
from .deserializer import Deserializer
from .deskew_buffer import DeskewBuffer
from .lane_aligner import LaneAligner
from .lane_bond import LaneBond
from .lane_monitor import LaneMonitor
from .receive_gearbox import ReceiveGearbox
from .row_collector import RowCollector

__all__ = ["PhysicalReceiver"]


class PhysicalReceiver(wiring.Component):
    """Finds blocks, lanes and rows in what arrives, and gives on the rows that carry data.

    Latency 4 cycles from the last bits of a row in `lanes` to the row in `o`. From reset it finds
    everything by itself: block boundaries, crossed wires, lanes in reverse order, skew of up to
    `skew_limit` blocks, dead lanes and how the other end spreads rows over those that are left.

    Golden twin: `d1_golden.serdes.receiver.PhysicalReceiver`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    lanes : In(lanes_layout(params))
        What arrives on each wire; bit 0 first.
    disabled : In(lanes)
        Wires that must not be used.
    restart : In(1)
        Look for everything anew.
    o : Out(stream of received_row_layout(params), always ready)
    up : Out(1)
        The lanes are bonded; without, no rows come.
    mode : Out(RowMode)
        How rows are spread over the lanes.
    report : Out(peer_report_layout(params))
        What arrives here: for the transmitter of this end.
    peer : Out(peer_report_layout(params))
        What arrives at the other end, as it last said.
    locked : Out(lanes)
        Wires with block lock.
    bad_headers : Out(lanes)
        For one cycle: an invalid sync header on a wire with block lock.
    inverted : Out(lanes)
        Lanes whose wires are crossed.
    reversed : Out(1)
        Lane n is wire number last but n.
    """

    lanes: Any
    disabled: Signal
    restart: Signal
    o: stream.Interface
    up: Signal
    mode: Any
    report: Any
    peer: Any
    locked: Signal
    bad_headers: Signal
    inverted: Signal
    reversed: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        lanes = params.lanes
        super().__init__(
            {
                "lanes": In(lanes_layout(params)),
                "disabled": In(lanes),
                "restart": In(1),
                "o": Out(stream.Signature(received_row_layout(params), always_ready=True)),
                "up": Out(1),
                "mode": Out(RowMode),
                "report": Out(peer_report_layout(params)),
                "peer": Out(peer_report_layout(params)),
                "locked": Out(lanes),
                "bad_headers": Out(lanes),
                "inverted": Out(lanes),
                "reversed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params, lanes = self._params, self._params.lanes
        valid = Signal(lanes)
        blocks = Signal(data.ArrayLayout(Block, lanes))
        self._find_blocks(m, valid, blocks)
        m.submodules.bond = bond = LaneBond(params)
        m.submodules.monitor = monitor = LaneMonitor(params)
        m.submodules.collector = collector = RowCollector(params)
        marked = Cat(bond.lanes[n].marked for n in range(lanes))
        mirrored = sum(bond.lanes[n].mirrored for n in range(lanes))
        turns = Signal()
        m.d.comb += turns.eq(~marked.any() & (mirrored >= lanes // 2))
        m.d.sync += self.reversed.eq(self.reversed ^ turns)
        for n in range(lanes):
            wire, mirror = n, lanes - 1 - n
            m.submodules[f"descrambler_{n}"] = descrambler = Descrambler()
            m.submodules[f"aligner_{n}"] = aligner = LaneAligner(params, index=n)
            m.submodules[f"buffer_{n}"] = buffer = DeskewBuffer(params)
            wiring.connect(m, descrambler.o, aligner.i)
            m.d.comb += [
                descrambler.i.valid.eq(Mux(self.reversed, valid[mirror], valid[wire])),
                descrambler.i.payload.eq(Mux(self.reversed, blocks[mirror], blocks[wire])),
                descrambler.drop.eq(turns),
                aligner.locked.eq(Mux(self.reversed, self.locked[mirror], self.locked[wire])),
                aligner.forget.eq(turns),
                self.inverted[n].eq(aligner.inverted),
                buffer.store.eq(aligner.store),
                buffer.store_row.eq(aligner.row),
                buffer.stored.eq(aligner.stored),
                buffer.read.eq(bond.read),
                buffer.read_row.eq(bond.row),
                collector.words[n].eq(buffer.word),
                bond.lanes[n].eq(aligner.lane),
            ]
        m.d.comb += [
            monitor.lanes.eq(bond.lanes),
            monitor.restart.eq(self.restart),
            bond.changes.eq(collector.changes),
            *(getattr(collector, name).eq(getattr(bond, name)) for name in _BOND_TO_COLLECTOR),
            self.up.eq(bond.up),
            self.mode.eq(bond.mode),
            self.report.up.eq(bond.up),
            self.report.arriving.eq(monitor.arriving),
            self.peer.eq(monitor.peer),
        ]
        wiring.connect(m, wiring.flipped(self.o), collector.o)
        return m

    def _find_blocks(self, m: Module, valid: Signal, blocks: Any) -> None:
        """Cut what arrives on each wire into blocks."""
        width = self._params.lane_width
        for n in range(self._params.lanes):
            gearbox: Any = Deserializer() if width == 1 else ReceiveGearbox(width)
            m.submodules[f"gearbox_{n}"] = gearbox
            m.submodules[f"lock_{n}"] = lock = BlockLock()
            m.d.comb += [
                gearbox.i.eq(self.lanes[n]),
                gearbox.slip.eq(lock.slip),
                lock.valid.eq(gearbox.o.valid),
                lock.header.eq(gearbox.o.payload.header),
                lock.restart.eq(self.restart | self.disabled[n]),
                valid[n].eq(gearbox.o.valid),
                blocks[n].eq(gearbox.o.payload),
                self.locked[n].eq(lock.locked),
                self.bad_headers[n].eq(lock.bad & lock.locked),
            ]


_BOND_TO_COLLECTOR = ("valid", "odd", "mode", "up")
