"""Random bits for stochastic rounding."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RandomWord"]

_WORD = 32


class RandomWord(wiring.Component):
    """Hash a lane's counter and key to 32 random bits.

    Latency 1 cycle, one word per cycle. The register between the halves of the hash has no reset.

    Golden twin: `d1_golden.numerics.random.random_bits`.

    Parameters
    ----------
    lane : int
        Number of the lane, from 0.

    Members
    -------
    counter : In(32)
        The lower half of the seed.
    en : In(1)
        Take `counter`.
    key : In(32)
        The upper half of the seed, from the cycle after `counter` on.
    word : Out(32)
        The random bits of the counter taken last.

    Raises
    ------
    ValueError
        If the number of the lane is negative.

    """

    counter: In(32)  #: lower half of the seed
    en: In(1)  #: take `counter`
    key: In(32)  #: upper half of the seed, one cycle after `counter`
    word: Out(32)  #: random bits

    def __init__(self, *, lane: int):
        if lane < 0:
            raise ValueError(f"lane must be 0 or more, not {lane!r}")
        self._lane = lane
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        """Build the circuit."""
        m = Module()

        def word(value: Value) -> Value:
            """Return a signal with the value modulo 2^32."""
            signal = Signal(_WORD, name="state")
            m.d.comb += signal.eq(value)
            return signal

        def up(value: Value, places: int) -> Value:
            return Cat(Const(0, places), value[:-places])

        state = word(self.counter + self._lane)
        state = word(state + up(state, 12) + 0x7ED55D16)
        state = word(state ^ 0xC761C23C ^ state[19:])
        half = Signal(_WORD, reset_less=True)
        with m.If(self.en):
            m.d.sync += half.eq(state + up(state, 5) + 0x165667B1)
        state = word(half ^ self.key)
        state = word((state + 0xD3A2646C)[:_WORD] ^ up(state, 9))
        state = word(state + up(state, 3) + 0xFD7046C5)
        m.d.comb += self.word.eq(state ^ 0xB55A4F09 ^ state[16:])
        return m
