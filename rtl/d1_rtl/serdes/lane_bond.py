"""The bond: when all lanes that carry data have a row, and what to do when they do not fit."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes import receiver
from d1_golden.serdes.params import LinkParams

from .blocks import ROW_BITS, RowMode, aligned_lane_layout, required_lanes

__all__ = ["BondState", "LaneBond"]


class BondState(enum.Enum, shape=2):
    """What lanes are together: :class:`d1_golden.serdes.receiver.BondState`."""

    DOWN = receiver.BondState.DOWN
    CATCH_UP = receiver.BondState.CATCH_UP
    UP = receiver.BondState.UP


class LaneBond(wiring.Component):
    """Reads row after row as soon as every lane that carries data has its word of it.

    When the lanes arrive that the other end says it uses, it begins with a row that the slowest
    lane allowed has left behind, passes over one row a cycle until a lane has no next one yet, and
    is up: from then on a row is read in the cycle after its last word was stored. It goes down
    when a lane is lost or says another number than it should, when lanes are further apart than
    the buffers hold, and when a marker row says that rows are spread in another way.

    Golden twin: the fields `state`, `read`, `mode`, `valid` and `odd` in `ReceiveState` of
    `d1_golden.serdes.receiver`.

    Parameters
    ----------
    params
        The link.

    Members
    -------
    lanes : In(array of aligned_lane_layout(params))
    changes : In(1)
        A marker row says another mode.
    read : Out(1)
        A row is read, or passed over.
    row : Out(8)
        Its number.
    valid : Out(1)
        In the cycle before, a row was read that counts.
    odd : Out(1)
        Its number is odd.
    mode : Out(RowMode)
    up : Out(1)
    """

    lanes: Any
    changes: Signal
    read: Signal
    row: Signal
    valid: Signal
    odd: Signal
    mode: Any
    up: Signal

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "lanes": In(data.ArrayLayout(aligned_lane_layout(params), params.lanes)),
                "changes": In(1),
                "read": Out(1),
                "row": Out(ROW_BITS),
                "valid": Out(1),
                "odd": Out(1),
                "mode": Out(RowMode),
                "up": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        params, state = self._params, Signal(BondState)
        lanes = [self.lanes[n] for n in range(params.lanes)]
        required = Signal(params.lanes)
        m.d.comb += required.eq(required_lanes(self.mode, params.lanes))
        m.submodules.start = start = _BondStart(params)
        lost, empty, far, early = (Signal(params.lanes, name=n) for n in _CONDITIONS)
        for n, lane in enumerate(lanes):
            lag = Signal(ROW_BITS, name=f"lag_{n}")  # rows stored and not yet read
            m.d.comb += [
                lag.eq(lane.write - self.row),
                lost[n].eq(~lane.marked | lane.moved),
                empty[n].eq(lag == 0),
                far[n].eq(lag > params.deskew_rows),
                early[n].eq(lag[-1]),
            ]

        def some(conditions: Signal) -> Any:
            return (conditions & required).any()

        m.d.comb += [start.lanes.eq(self.lanes), self.up.eq(state == BondState.UP)]
        m.d.sync += self.valid.eq(self.read & self.up)
        with m.Switch(state):
            with m.Case(BondState.DOWN), m.If(start.ready):
                m.d.sync += [self.row.eq(start.row), self.mode.eq(start.mode)]
                m.d.sync += state.eq(BondState.CATCH_UP)
            with m.Case(BondState.CATCH_UP):
                with m.If(some(lost) | some(early) | (some(empty) & some(far))):
                    m.d.sync += state.eq(BondState.DOWN)
                with m.Elif(some(empty)):
                    m.d.sync += state.eq(BondState.UP)
                with m.Else():
                    m.d.comb += self.read.eq(1)
            with m.Case(BondState.UP):
                with m.If(some(lost) | some(far) | self.changes):
                    m.d.sync += state.eq(BondState.DOWN)
                with m.Else():
                    m.d.comb += self.read.eq(~some(empty))
        with m.If(self.read):
            m.d.sync += [self.odd.eq(self.row[0]), self.row.eq(self.row + 1)]
        return m


_CONDITIONS = ("lost", "empty", "far", "early")


class _BondStart(wiring.Component):
    """Tells whether the lanes arrive that the other end says it uses, and where to begin.

    Who says so is the first lane of a half that arrives as a whole.
    """

    lanes: Any
    ready: Signal
    row: Signal
    mode: Any

    def __init__(self, params: LinkParams):
        self._params = params
        super().__init__(
            {
                "lanes": In(data.ArrayLayout(aligned_lane_layout(params), params.lanes)),
                "ready": Out(1),
                "row": Out(ROW_BITS),
                "mode": Out(RowMode),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params, half = self._params, self._params.lanes // 2
        marked = Signal(params.lanes)
        low, high = Signal(), Signal()
        reference: Any = Signal(aligned_lane_layout(params))
        missing = required_lanes(self.mode, params.lanes) & ~marked
        m.d.comb += [
            marked.eq(Cat(self.lanes[n].marked for n in range(params.lanes))),
            low.eq(marked[:half].all()),
            high.eq(marked[half:].all()),
            reference.eq(Mux(low, self.lanes[0], self.lanes[half])),
            self.mode.eq(reference.mode),
            self.row.eq(reference.write - params.skew_limit - 1),
            self.ready.eq((low | high) & ~missing.any()),
        ]
        return m
