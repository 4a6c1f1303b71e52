# amaranth: UnusedElaboratable=no
"""The ALU of a vector lane against golden: every operation on corners, neighbours and any words."""

import numpy as np
import pytest
from d1_golden.numerics import fp32, lanes
from d1_golden.numerics.vector_stimulus import fp32_corners
from d1_rtl.numerics.lane_alu import AluKind, LaneAlu, LaneAluOp, LaneOperation
from d1_rtl.sim.native import NativeModel

from testbench.layouts import pack_rows

SEED = 15
LATENCY = 2
PAIRS = 500_000
INTEGER_CORNERS = np.array(
    [0, 1, 2, 31, 32, 0xFFFF, 0x10000, 0xFFFFFF, 0x1000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF],
    np.uint32,
)

#: The operation of two words of golden for each operation of the lane.
GOLDEN = {
    (LaneAluOp.ADD, AluKind.UNSIGNED): lanes.add,
    (LaneAluOp.SUB, AluKind.UNSIGNED): lanes.sub,
    (LaneAluOp.MUL, AluKind.UNSIGNED): lanes.mul,
    (LaneAluOp.AND, AluKind.UNSIGNED): lanes.bit_and,
    (LaneAluOp.OR, AluKind.UNSIGNED): lanes.bit_or,
    (LaneAluOp.XOR, AluKind.UNSIGNED): lanes.bit_xor,
    (LaneAluOp.SHIFT_LEFT, AluKind.UNSIGNED): lanes.shift_left,
    (LaneAluOp.SHIFT_RIGHT, AluKind.UNSIGNED): lanes.shift_right,
    (LaneAluOp.SHIFT_RIGHT, AluKind.SIGNED): lanes.shift_right_signed,
    (LaneAluOp.MIN, AluKind.SIGNED): lanes.minimum,
    (LaneAluOp.MAX, AluKind.SIGNED): lanes.maximum,
    (LaneAluOp.MIN, AluKind.UNSIGNED): lanes.minimum_unsigned,
    (LaneAluOp.MAX, AluKind.UNSIGNED): lanes.maximum_unsigned,
    (LaneAluOp.EQUAL, AluKind.UNSIGNED): lanes.equal,
    (LaneAluOp.LESS, AluKind.SIGNED): lanes.less,
    (LaneAluOp.LESS, AluKind.UNSIGNED): lanes.less_unsigned,
    (LaneAluOp.MIN, AluKind.FP32): fp32.minimum,
    (LaneAluOp.MAX, AluKind.FP32): fp32.maximum,
    (LaneAluOp.EQUAL, AluKind.FP32): fp32.equal,
    (LaneAluOp.LESS, AluKind.FP32): fp32.less,
    (LaneAluOp.LESS_EQUAL, AluKind.FP32): fp32.less_equal,
}


@pytest.fixture(scope="module")
def lane():
    with NativeModel(LaneAlu(), name="lane_alu") as model:
        model.reset()
        yield model


@pytest.fixture(scope="module")
def pairs():
    """Every corner with every other; any words; neighbours and equals, up to the sign bit."""
    print(f"seed {SEED}")
    corners = np.concatenate([fp32_corners(), INTEGER_CORNERS])
    crossed = np.array(np.meshgrid(corners, corners)).reshape(2, -1)
    rng = np.random.default_rng(SEED)
    random = rng.integers(0, 1 << 32, (2, PAIRS), np.uint32)
    near = random[0] + rng.integers(-1, 2, PAIRS).astype(np.uint32)
    near ^= rng.integers(0, 2, PAIRS, np.uint32) << 31
    random[1] = np.where(rng.random(PAIRS) < 0.5, near, random[1])
    return np.concatenate([crossed, random], axis=1)


@pytest.mark.parametrize(("op", "kind"), GOLDEN)
def test_operation_equals_golden_after_two_cycles(lane, pairs, op, kind):
    a, b = (np.concatenate([word, np.zeros(LATENCY, np.uint32)]) for word in pairs)
    products = (a & 0xFFFFFF).astype(np.uint64) * (b & 0xFFFFFF)
    operation = pack_rows(
        LaneOperation.as_shape(),
        op=np.full(len(a), op.value, np.uint8),
        kind=np.full(len(a), kind.value, np.uint8),
    )
    inputs = {"a": a, "b": b, "operation": operation}
    inputs["product"] = np.roll(products, 1).astype(np.uint32)
    actual = lane.play(inputs, ["value"])["value"][LATENCY:, 0]
    expected = np.vectorize(GOLDEN[op, kind], otypes=[np.uint32])(*pairs)
    wrong = np.flatnonzero(actual != expected)[:3]
    assert not wrong.size, [
        [f"{int(x):#010x}" for x in (*pairs[:, n], expected[n], actual[n])] for n in wrong
    ]
