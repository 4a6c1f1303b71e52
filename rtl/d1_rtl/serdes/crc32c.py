"""CRC-32C over rows."""

from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.crc32c import CRC_BITS, PRESET, advance, retreat
from d1_golden.serdes.params import WORD_BITS, LinkParams

__all__ = ["Crc32c", "byte_step"]


class Crc32c(wiring.Component):
    """Computes the CRC-32C of the words of successive rows, in two steps.

    A row that is shown with `load` is the one meant in the next cycle: `value` is then what the
    rows since `first`, this one included, come to. One row per cycle. `value` is the inverse of
    the check of all but the row's last 32 bits, exclusive-or these bits: with zeros there it is
    what has to be put there, inverted, and with the right check there it is all ones. So
    transmitter and receiver are the same.

    Golden twin: `d1_golden.serdes.crc32c`.

    Parameters
    ----------
    params
        The lanes.

    Members
    -------
    words : In(lanes x 64)
    load : In(1)
        There is a row.
    first : In(1)
        The row of the cycle before begins a frame or status row.
    session : In(32)
        With `first`: what precedes its words, both session numbers, or zero if nothing does.
    keep : In(1)
        More rows follow that of the cycle before.
    value : Out(32)
    """

    words: Any
    load: Signal
    first: Signal
    session: Signal
    keep: Signal
    value: Signal

    def __init__(self, params: LinkParams):
        self._lanes = params.lanes
        super().__init__(
            {
                "words": In(data.ArrayLayout(WORD_BITS, params.lanes)),
                "load": In(1),
                "first": In(1),
                "session": In(CRC_BITS),
                "keep": In(1),
                "value": Out(CRC_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        bits = self._lanes * WORD_BITS
        columns = _columns(bits)
        parts = [Signal(CRC_BITS, name=f"part_{n}") for n in range(self._lanes)]
        with m.If(self.load):
            for n, part in enumerate(parts):
                word_columns = columns[n * WORD_BITS : (n + 1) * WORD_BITS]
                m.d.sync += part.eq(_product(word_columns, self.words[n]))
        # The register stands 32 bits before the end of the row: that is what makes the row's last
        # bits enter as they are. Its start is moved back by as much.
        register = Signal(CRC_BITS)
        start = Const(retreat(PRESET, CRC_BITS), CRC_BITS) ^ self.session
        before = Signal(CRC_BITS)
        m.d.comb += [
            before.eq(Mux(self.first, start, register)),
            self.value.eq(
                reduce(xor, parts, _product([advance(1 << n, bits) for n in range(32)], before))
            ),
        ]
        with m.If(self.keep):
            m.d.sync += register.eq(self.value)
        return m


def _columns(bits: int) -> list[int]:
    """Return what each bit of a row adds to the register 32 bits before its end."""
    columns = [1 << n for n in range(CRC_BITS)]
    value = 1
    for _ in range(bits - CRC_BITS):
        value = advance(value, 1)
        columns.insert(0, value)
    return columns


def _product(columns: list[int], vector: Value) -> Value:
    """Return the product of a matrix, given by columns, with a vector of bits."""
    rows = [sum((c >> row & 1) << n for n, c in enumerate(columns)) for row in range(CRC_BITS)]
    return Cat((vector & row).xor() for row in rows)


def byte_step(register: Value, byte: Value) -> Value:
    """Return the register after eight bits, the least significant first.

    Golden twin: `d1_golden.serdes.crc32c.update_bytes`.
    """
    return _product([advance(1 << n, 8) for n in range(CRC_BITS)], register ^ byte)
