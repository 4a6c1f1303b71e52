"""The gearbox of a transmitting lane: blocks of 66 bits to a lane of any width."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.params import BLOCK_BITS

from .blocks import Block

__all__ = ["TransmitGearbox", "block_stream"]


def block_stream() -> stream.Signature:
    """Return the stream of blocks into a lane: there always is one."""
    return stream.Signature(Block, always_valid=True)


class TransmitGearbox(wiring.Component):
    """Sends blocks one after the other, `width` bits in every cycle, the lowest bit first.

    Latency 1 cycle from a block taken to its first bit. A block is taken when less than `width`
    bits are left, so never more than 65 wait: `width` blocks in 66 cycles.

    Golden twin: `d1_golden.serdes.gearbox.gear_down`.

    Parameters
    ----------
    width
        Bits of the lane in one cycle, 2 to 66. For 1 there is `Serializer`.

    Members
    -------
    i : In(stream of Block, always valid)
    o : Out(width)
        What the lane carries; bit 0 first.

    Raises
    ------
    ValueError
        If `width` is out of range.

    References
    ----------
    IEEE Std 802.3-2018, 49.2.7.
    """

    i: stream.Interface
    o: Signal

    def __init__(self, width: int):
        if not 2 <= width <= BLOCK_BITS:
            raise ValueError(f"width must be in 2..{BLOCK_BITS}, not {width!r}")
        self._width = width
        #: Bits that wait, zeros above, and their number. For proofs; nobody else looks at them.
        self.waiting = Signal(BLOCK_BITS - 1)
        self.level = Signal(range(BLOCK_BITS))
        super().__init__({"i": In(block_stream()), "o": Out(width)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        width, level, waiting = self._width, self.level, self.waiting
        block = Signal(BLOCK_BITS)  # the one that is taken
        bits = Signal(BLOCK_BITS + width - 1)  # those that wait and the block
        m.d.comb += [
            self.i.ready.eq(level < width),
            block.eq(Mux(self.i.ready, self.i.payload, 0)),
            bits.eq(waiting | block << level),
        ]
        m.d.sync += [
            self.o.eq(bits[:width]),
            waiting.eq(bits[width:]),
            level.eq(level + Mux(self.i.ready, BLOCK_BITS, 0) - width),
        ]
        return m
