# amaranth: UnusedElaboratable=no
"""The fused dot product behind its operand decoders, against the golden block."""

import itertools

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics import BF16, FP32, DotProductParams, dot_block
from d1_golden.numerics.dot_product import TERMS
from d1_golden.numerics.stimulus import OperandKind, corner_codes, dot_operands
from d1_golden.params import PRESETS
from d1_rtl.numerics.dot_product import DotProduct
from d1_rtl.numerics.operand_decoder import OperandDecoder
from d1_rtl.sim.native import NativeModel

SEED = 6
BLOCKS = 1_000_000
#: Narrowest, the accumulator's own, that of the presets (which is the widest).
FRACTION_BITS = sorted({16, 23, *(params.dot_fraction_bits for params in PRESETS.values())})
LATENCY = 3


class DotOfRows(wiring.Component):
    """Two rows of BF16 and an accumulator to a result, `LATENCY` cycles later.

    The accumulator is wanted a cycle after the rows: it goes straight to the dot product.
    """

    a: In(64)
    b: In(64)
    acc: In(32)
    first: In(1)
    en: In(1)
    result: Out(32)

    def __init__(self, fraction_bits):
        self._fraction_bits = fraction_bits
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.dot = dot = DotProduct(fraction_bits=self._fraction_bits)
        m.submodules.a = a = OperandDecoder()
        m.submodules.b = b = OperandDecoder()
        for decoder, row, side in ((a, self.a, dot.a), (b, self.b, dot.b)):
            wiring.connect(m, decoder.o, side)
            m.d.comb += [decoder.row.eq(row), decoder.en.eq(self.en)]
        m.d.comb += [
            dot.acc.eq(self.acc),
            dot.first.eq(self.first),
            self.result.eq(dot.result),
        ]
        return m


@pytest.fixture(scope="module", params=FRACTION_BITS)
def machine(request):
    with NativeModel(DotOfRows(request.param), name=f"dot_of_rows_{request.param}") as model:
        yield model, DotProductParams(fraction_bits=request.param)


def play(model, acc, a, b, first=None):
    """Return the result of one block each cycle."""
    blocks = len(acc)
    first = np.zeros(blocks, np.uint8) if first is None else first

    def delayed(array, cycles):
        return np.concatenate([array[:1].repeat(cycles, 0), array, array[:1].repeat(3 - cycles, 0)])

    inputs = {
        "a": delayed(np.ascontiguousarray(a).view(np.uint64)[:, 0], 0),
        "b": delayed(np.ascontiguousarray(b).view(np.uint64)[:, 0], 0),
        "acc": delayed(acc, 1),
        "first": delayed(first, 1),
        "en": np.ones(blocks + LATENCY, np.uint8),
    }
    return model.play(inputs, ["result"])["result"][LATENCY:, 0]


@pytest.mark.parametrize("kind", OperandKind, ids=lambda kind: kind.name)
def test_every_kind_of_block_equals_golden_one_a_cycle(machine, kind):
    model, params = machine
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    acc, a, b = dot_operands(rng, BLOCKS // len(OperandKind) + 1, TERMS, BF16, kind)
    first = rng.integers(0, 8, len(acc)) == 0
    expected = dot_block(np.where(first, 0, acc).astype(np.uint32), a, b, params)
    assert np.array_equal(play(model, acc, a, b, first.astype(np.uint8)), expected)


def test_all_pairs_of_corners_meet_each_other_and_every_corner_of_the_accumulator(machine):
    """Two products of corners with all their neighbours, and each corner as accumulator."""
    model, params = machine
    corners = corner_codes(BF16)
    factors = np.array(list(itertools.product(corners, repeat=2)), np.uint16)
    accumulators = corner_codes(FP32)
    # Triples of factor, factor and accumulator, the product at each of the four places.
    blocks = []
    for place in range(TERMS):
        pairs = factors.repeat(len(accumulators), 0)
        a = np.zeros((len(pairs), TERMS), np.uint16)
        b = np.zeros_like(a)
        a[:, place], b[:, place] = pairs.T
        blocks.append((np.tile(accumulators, len(factors)), a, b))
    # All pairs of products, at neighbouring places.
    quads = np.array(list(itertools.product(range(len(factors)), repeat=2)))
    a = np.zeros((len(quads), TERMS), np.uint16)
    b = np.zeros_like(a)
    for column, place in enumerate((1, 2)):
        a[:, place], b[:, place] = factors[quads[:, column]].T
    blocks.append((np.zeros(len(quads), np.uint32), a, b))
    acc, a, b = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    expected = dot_block(acc, a, b, params)
    assert {0x7FC0_0000, 0x7F80_0000, 0xFF80_0000, 0} <= set(expected.tolist())
    assert np.array_equal(play(model, acc, a, b), expected)


def test_operands_that_are_not_taken_leave_the_ones_before(machine):
    model, params = machine
    rng = np.random.default_rng(SEED)
    acc, a, b = dot_operands(rng, 64, TERMS, BF16, OperandKind.NEAR)
    play(model, acc, a, b)
    held = {
        "a": a.view(np.uint64)[:, 0],
        "b": b.view(np.uint64)[:, 0],
        "acc": acc,
        "first": np.zeros(64, np.uint8),
        "en": np.zeros(64, np.uint8),
    }
    result = model.play(held, ["result"])["result"][2:, 0]
    last = dot_block(acc[:-2], a[:1].repeat(62, 0), b[:1].repeat(62, 0), params)
    assert np.array_equal(result, last), "play ends with the first operands"


@pytest.mark.parametrize("fraction_bits", [15, 27, 25.0])
def test_fraction_bits_out_of_range_are_rejected(fraction_bits):
    with pytest.raises(ValueError, match=r"fraction_bits must be in 16\.\.26, not"):
        DotProduct(fraction_bits=fraction_bits)
