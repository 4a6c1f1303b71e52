"""The transmitting half of the physical layer: rows to lanes."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import LinkParams

from .blocks import RowMode, lanes_layout, peer_report_layout, row_layout
from .row_distributor import RowDistributor
from .scrambler import Scrambler
from .serializer import Serializer
from .transmit_gearbox import TransmitGearbox

__all__ = ["PhysicalTransmitter"]


class PhysicalTransmitter(wiring.Component):
    """Sends rows over the lanes, and markers while there are none: blocks, scrambled, bit by bit.

    Latency 2 cycles from a row being taken to its first bits in `lanes`. `lane_width` rows in 66
    cycles, less one in `marker_interval`; half of that over half of the lanes.

    Golden twin: `d1_golden.serdes.transmitter.PhysicalTransmitter`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    i : In(stream of row_layout(params))
    report : In(peer_report_layout(params))
        What arrives here, from the receiver; the other end is told.
    peer : In(peer_report_layout(params))
        What arrives at the other end, from the receiver, too. Without `up` no row is taken.
    mode : Out(RowMode)
        How rows are spread over the lanes.
    lanes : Out(lanes_layout(params))
        What each lane carries; bit 0 first.
    """

    i: stream.Interface
    report: Any
    peer: Any
    mode: Any
    lanes: Any

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(row_layout(params))),
                "report": In(peer_report_layout(params)),
                "peer": In(peer_report_layout(params)),
                "mode": Out(RowMode),
                "lanes": Out(lanes_layout(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        width = self._params.lane_width
        m.submodules.distributor = distributor = RowDistributor(self._params)
        wiring.connect(m, wiring.flipped(self.i), distributor.i)
        m.d.comb += [
            distributor.report.eq(self.report),
            distributor.peer.eq(self.peer),
            self.mode.eq(distributor.mode),
        ]
        for n in range(self._params.lanes):
            m.submodules[f"scrambler_{n}"] = scrambler = Scrambler()
            gearbox: Any = Serializer() if width == 1 else TransmitGearbox(width)
            m.submodules[f"gearbox_{n}"] = gearbox
            m.d.comb += [
                scrambler.i.eq(distributor.o[n]),
                scrambler.en.eq(gearbox.i.ready),
                gearbox.i.payload.eq(scrambler.o),
                self.lanes[n].eq(gearbox.o),
            ]
            if n == 0:  # all lanes take blocks in the same cycles
                m.d.comb += distributor.pull.eq(gearbox.i.ready)
        return m
