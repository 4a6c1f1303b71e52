"""Random bits for stochastic rounding."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics.random import ROUNDS

__all__ = ["RandomWord"]

_WORD = 32


class RandomWord(wiring.Component):
    """Hash a lane's seed to 32 random bits: half of the rounds before a register, half after.

    Latency 1 cycle, one word per cycle. The register in the middle has no reset.

    Golden twin: `d1_golden.numerics.random.random_bits`.

    Parameters
    ----------
    lane : int
        Number of the lane, from 0.

    Members
    -------
    seed : In(64)
        Counter below, key above.
    en : In(1)
        Take `seed`.
    word : Out(32)
        The random bits of the seed taken last.

    Raises
    ------
    ValueError
        If the number of the lane is negative.

    """

    seed: In(64)  #: counter below, key above
    en: In(1)  #: take `seed`
    word: Out(32)  #: random bits

    def __init__(self, *, lane: int):
        if lane < 0:
            raise ValueError(f"lane must be 0 or more, not {lane!r}")
        self._lane = lane
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        """Build the circuit."""
        m = Module()
        x, y = Signal(_WORD), self.seed[_WORD:]
        m.d.comb += x.eq(self.seed[:_WORD] + self._lane)
        for i in range(ROUNDS):
            if i == ROUNDS // 2:
                held_x, held_y = (Signal(_WORD, name=n, reset_less=True) for n in ("x", "y"))
                with m.If(self.en):
                    m.d.sync += [held_x.eq(x), held_y.eq(y)]
                x, y = held_x, held_y
            total, mixed = Signal(_WORD, name=f"x_{i}"), Signal(_WORD, name=f"y_{i}")
            m.d.comb += [
                total.eq((x.rotate_right(8) + y)[:_WORD] ^ i),
                mixed.eq(y.rotate_left(3) ^ total),
            ]
            x, y = total, mixed
        m.d.comb += self.word.eq(x)
        return m
