"""The error-correcting code of the SRAM in hardware: check bytes, and correction by them."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Const, Module, Signal, Value
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
    raw : In(1)
        Leave every word as it is and find nothing; `syndrome` is there all the same.
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
    raw: Signal
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
                "raw": In(1),
                "fixed": Out(DATA_BITS * words),
                "syndrome": Out(CHECK_BITS * words),
                "corrected": Out(words),
                "uncorrectable": Out(words),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.encoder = encoder = EccEncoder(words=self._words)
        flipped = Signal.like(self.data)
        m.d.comb += [
            encoder.data.eq(self.data),
            self.syndrome.eq(encoder.check ^ self.check),
            self.fixed.eq(self.data ^ flipped),
        ]
        # That a syndrome is not zero is redundant in gates. The simulator passes over all the words
        # by it.
        wrong = self.syndrome.any() & ~self.raw
        for n in range(self._words):
            m.submodules[f"word_{n}"] = word = _WordLocator()
            m.d.comb += word.syndrome.eq(self.syndrome.word_select(n, CHECK_BITS))
            with m.If(wrong):
                flips = word.in_data << word.position if platform is None else word.flips
                m.d.comb += [
                    flipped.word_select(n, DATA_BITS).eq(flips),
                    self.corrected[n].eq(word.in_data | word.in_check),
                    self.uncorrectable[n].eq(word.nowhere),
                ]
        return m


class _WordEncoder(wiring.Component):
    """Makes the check byte of one word.

    Bit j of byte k has the column `SEEDS[k]` rotated by j, so byte k adds itself, rotated by
    `distance`, for every bit `distance` of its seed. Written by bytes, as Horner's scheme in the
    rotation, this costs a simulator a tenth of eight parities of masked words; the gates are the
    same.
    """

    data: In(DATA_BITS)
    check: Out(CHECK_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        check: Value = Const(0, CHECK_BITS)
        for distance in reversed(range(max(SEEDS).bit_length())):
            rotated = (
                self.data.word_select(k, 8) for k, seed in enumerate(SEEDS) if seed >> distance & 1
            )
            partial = Signal(CHECK_BITS, name=f"partial_{distance}")
            m.d.comb += partial.eq(reduce(xor, rotated, check.rotate_left(1)))
            check = partial
        m.d.comb += self.check.eq(check)
        return m


class _WordLocator(wiring.Component):
    """Finds the flipped bit by the syndrome.

    The number of the bit comes first and then the bit: a simulator looks the number up in a table,
    while a choice among 72 syndromes of all the bits is written out by it for every word there is.
    In gates it is the other way round: the bits of an FPGA do not wait for the number.
    """

    syndrome: In(CHECK_BITS)
    #: Where in the word, if it is there.
    position: Out(range(DATA_BITS))
    in_data: Out(1)
    in_check: Out(1)
    #: The bit of the word, on an FPGA.
    flips: Out(DATA_BITS)
    #: The syndrome is neither zero nor a column.
    nowhere: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.Switch(self.syndrome):
            with m.Case(0):
                pass
            for bit, column in enumerate(COLUMNS[:DATA_BITS]):
                with m.Case(column):
                    m.d.comb += [self.position.eq(bit), self.in_data.eq(1)]
            with m.Case(*COLUMNS[DATA_BITS:]):
                m.d.comb += self.in_check.eq(1)
            with m.Default():
                m.d.comb += self.nowhere.eq(1)
        if platform is not None:
            places = (self.syndrome == column for column in COLUMNS[:DATA_BITS])
            m.d.comb += self.flips.eq(Cat(places))
        return m


def _validated(words: int) -> int:
    if words < 1:
        raise ValueError(f"words must be at least 1, not {words!r}")
    return words
