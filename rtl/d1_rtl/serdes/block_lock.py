"""Block lock: where blocks begin on a lane, found by their sync headers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.block_lock import LOCK_HEADERS, LOSS_HEADERS

__all__ = ["BlockLock"]


class BlockLock(wiring.Component):
    """Locks after 64 valid sync headers in a row, and lets go after 16 invalid ones among 64.

    `slip` is combinational, so the gearbox moves on before it completes another block; `locked`
    follows a header by one cycle.

    Golden twin: `d1_golden.serdes.block_lock.judge_header`.

    Members
    -------
    valid : In(1)
        There is a block.
    header : In(2)
        Its sync header.
    restart : In(1)
        Let go and begin a new search.
    bad : Out(1)
        The block has an invalid header.
    slip : Out(1)
        Blocks begin elsewhere: one bit later.
    locked : Out(1)

    References
    ----------
    IEEE Std 802.3-2018, 49.2.9 and Figure 49-12 (sh_cnt, sh_invalid_cnt, SLIP).
    """

    #: There is a block.
    valid: In(1)
    #: Its sync header.
    header: In(2)
    #: Let go and begin a new search.
    restart: In(1)
    #: The header is invalid.
    bad: Out(1)
    #: Blocks begin one bit later.
    slip: Out(1)
    #: Where they begin is known.
    locked: Out(1)

    def __init__(self) -> None:
        #: Headers of the present test, and invalid ones. For proofs; nobody else looks at them.
        self.tested = Signal(range(LOCK_HEADERS))
        self.invalid = Signal(range(LOSS_HEADERS))
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        tested, invalid = self.tested, self.invalid
        last = invalid == LOSS_HEADERS - 1
        m.d.comb += [
            self.bad.eq(self.valid & (self.header[0] == self.header[1])),
            self.slip.eq(self.bad & (~self.locked | last)),
        ]
        with m.If(self.valid):
            m.d.sync += [tested.eq(tested + 1), invalid.eq(invalid + self.bad)]
            with m.If(tested == LOCK_HEADERS - 1):
                m.d.sync += [tested.eq(0), invalid.eq(0)]
                with m.If(~self.bad & (invalid == 0)):
                    m.d.sync += self.locked.eq(1)
        with m.If(self.slip | self.restart):
            m.d.sync += [tested.eq(0), invalid.eq(0), self.locked.eq(0)]
        return m
