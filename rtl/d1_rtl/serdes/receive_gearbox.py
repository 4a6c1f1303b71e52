"""The gearbox of a receiving lane: a lane of any width to blocks of 66 bits."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import BLOCK_BITS

from .blocks import Block

__all__ = ["ReceiveGearbox", "received_blocks"]


def received_blocks() -> stream.Signature:
    """Return the stream of blocks out of a lane: nobody can stop it."""
    return stream.Signature(Block, always_ready=True)


class ReceiveGearbox(wiring.Component):
    """Cuts what arrives into blocks, the first bit the lowest.

    Latency 1 cycle from the last bit of a block; `width` blocks in 66 cycles. Where blocks begin
    is anywhere at first, and one bit later with each cycle of `slip`.

    Golden twin: `d1_golden.serdes.gearbox.gear_up`.

    Parameters
    ----------
    width
        Bits of the lane in one cycle, 2 to 66. For 1 there is `Deserializer`.

    Members
    -------
    i : In(width)
        What arrives; bit 0 first.
    slip : In(1)
        One bit is lost before the next block.
    o : Out(stream of Block, always ready)

    Raises
    ------
    ValueError
        If `width` is out of range.

    References
    ----------
    IEEE Std 802.3-2018, 49.2.9.
    """

    i: Signal
    slip: Signal
    o: stream.Interface

    def __init__(self, width: int):
        if not 2 <= width <= BLOCK_BITS:
            raise ValueError(f"width must be in 2..{BLOCK_BITS}, not {width!r}")
        self._width = width
        #: Bits that wait, zeros above, and their number. For proofs; nobody else looks at them.
        self.waiting = Signal(BLOCK_BITS - 1)
        self.level = Signal(range(BLOCK_BITS))
        super().__init__({"i": In(width), "slip": In(1), "o": Out(received_blocks())})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        width, level, waiting = self._width, self.level, self.waiting
        arrived = Signal(BLOCK_BITS - 1 + width)  # bits that wait and those that come
        bits = Signal.like(arrived)  # but for one that is lost
        count = Signal(range(BLOCK_BITS + width))
        m.d.comb += [
            arrived.eq(waiting | self.i << level),
            bits.eq(Mux(self.slip, arrived[1:], arrived)),
            count.eq(level + width - self.slip),
        ]
        m.d.sync += [self.o.valid.eq(0), waiting.eq(bits), level.eq(count)]
        with m.If(count >= BLOCK_BITS):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.eq(bits[:BLOCK_BITS]),
                waiting.eq(bits[BLOCK_BITS:]),
                level.eq(count - BLOCK_BITS),
            ]
        return m
