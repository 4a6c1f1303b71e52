"""The error-correcting code of the SRAM in hardware: check bytes, and correction by them."""

from functools import reduce
from operator import xor

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS, COLUMNS, DATA_BITS, SEEDS
from d1_golden.params import LINE_BYTES

__all__ = ["LINE_WORDS", "EccDecoder", "EccEncoder"]

#: Words of a line that have a check byte each.
LINE_WORDS = 8 * LINE_BYTES // DATA_BITS


class EccEncoder(wiring.Component):
    """Makes the check byte of each of several words.

    Combinational; every check bit is the parity of 26 data bits.

    Golden twin: `d1_golden.ecc.encode`.

    Parameters
    ----------
    words
        Number of words, by default those of a line.

    Members
    -------
    data : In(64 * words)
    check : Out(8 * words)
        The check byte of word n is byte n.

    Raises
    ------
    ValueError
        If `words` is less than 1.

    """

    data: Signal
    check: Signal

    def __init__(self, *, words: int = LINE_WORDS):
        self._words = _validated(words)
        super().__init__({"data": In(DATA_BITS * words), "check": Out(CHECK_BITS * words)})

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        for n in range(self._words):
            m.submodules[f"word_{n}"] = word = _WordEncoder()
            m.d.comb += [
                word.data.eq(self.data.word_select(n, DATA_BITS)),
                self.check.word_select(n, CHECK_BITS).eq(word.check),
            ]
        return m


class EccDecoder(wiring.Component):
    """Corrects one flipped bit in each of several words and detects two.

    Combinational. There is no corrected check byte: whoever writes a word back encodes it anyway.

    Golden twin: `d1_golden.ecc.decode`.

    Parameters
    ----------
    words
        Number of words, by default those of a line.

    Members
    -------
    data : In(64 * words)
    check : In(8 * words)
        The check byte of word n is byte n.
    fixed : Out(64 * words)
        `data` with the flipped bit of every `corrected` word flipped back.
    syndrome : Out(8 * words)
        Of each word: zero when nothing is wrong.
    corrected : Out(words)
        One bit of the word or of its check byte was flipped.
    uncorrectable : Out(words)
        More than one bit was flipped; the word in `fixed` is as in `data`.

    Raises
    ------
    ValueError
        If `words` is less than 1.

    """

    data: Signal
    check: Signal
    fixed: Signal
    syndrome: Signal
    corrected: Signal
    uncorrectable: Signal

    def __init__(self, *, words: int = LINE_WORDS):
        self._words = _validated(words)
        super().__init__(
            {
                "data": In(DATA_BITS * words),
                "check": In(CHECK_BITS * words),
                "fixed": Out(DATA_BITS * words),
                "syndrome": Out(CHECK_BITS * words),
                "corrected": Out(words),
                "uncorrectable": Out(words),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        for n in range(self._words):
            m.submodules[f"word_{n}"] = word = _WordDecoder()
            m.d.comb += [
                word.data.eq(self.data.word_select(n, DATA_BITS)),
                word.check.eq(self.check.word_select(n, CHECK_BITS)),
                self.fixed.word_select(n, DATA_BITS).eq(word.fixed),
                self.syndrome.word_select(n, CHECK_BITS).eq(word.syndrome),
                self.corrected[n].eq(word.corrected),
                self.uncorrectable[n].eq(word.uncorrectable),
            ]
        return m


class _WordEncoder(wiring.Component):
    """Makes the check byte of one word.

    Check bit r is the parity of the bits in `ROWS[r]`. The rows are made of circulant blocks, so
    all eight are had at once from the word's bytes, each rotated by the bits of its seed: the same
    gates, and a third of the simulator's work.
    """

    data: In(DATA_BITS)
    check: Out(CHECK_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Byte k is the part of the check byte that comes from byte k of the word.
        parts = Signal(DATA_BITS)
        m.d.comb += parts.eq(
            reduce(xor, (_rotate_bytes(self.data, n) for n in range(max(SEEDS).bit_length())))
        )
        m.d.comb += self.check.eq(
            reduce(xor, (parts.word_select(k, 8) for k in range(DATA_BITS // 8)))
        )
        return m


class _WordDecoder(wiring.Component):
    """Corrects one word; the ports are those of `EccDecoder`."""

    data: In(DATA_BITS)
    check: In(CHECK_BITS)
    fixed: Out(DATA_BITS)
    syndrome: Out(CHECK_BITS)
    corrected: Out(1)
    uncorrectable: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.encoder = encoder = _WordEncoder()
        flipped = Signal(DATA_BITS)
        m.d.comb += [
            encoder.data.eq(self.data),
            self.syndrome.eq(encoder.check ^ self.check),
            self.fixed.eq(self.data ^ flipped),
        ]
        # A choice among 73 cases rather than 64 comparisons: the simulator looks for one of them.
        with m.Switch(self.syndrome):
            with m.Case(0):
                pass
            for bit, column in enumerate(COLUMNS[:DATA_BITS]):
                with m.Case(column):
                    m.d.comb += [flipped.eq(1 << bit), self.corrected.eq(1)]
            with m.Case(*COLUMNS[DATA_BITS:]):
                m.d.comb += self.corrected.eq(1)
            with m.Default():
                m.d.comb += self.uncorrectable.eq(1)
        return m


def _rotate_bytes(word: Value, distance: int) -> Value:
    """Return the bytes of `word` whose seed has the bit `distance`, rotated left by it."""
    places = [8 * k for k, seed in enumerate(SEEDS) if seed >> distance & 1]
    upper = sum((0xFF << distance & 0xFF) << place for place in places)
    lower = sum((0xFF >> 8 - distance) << place for place in places)
    return (word << distance)[:DATA_BITS] & upper ^ (word >> 8 - distance) & lower


def _validated(words: int) -> int:
    if words < 1:
        raise ValueError(f"words must be at least 1, not {words!r}")
    return words
