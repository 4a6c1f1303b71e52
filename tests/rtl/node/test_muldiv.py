# amaranth: UnusedElaboratable=no
"""Multiplication and division against Python integers."""

import itertools
import random

import pytest
from d1_rtl.node.micro_op import MulDivOp
from d1_rtl.node.muldiv import MulDiv, muldiv_layout
from d1_rtl.sim.native import NativeModel

_SEED = 7
_M64 = (1 << 64) - 1
_CORNERS = [
    value & _M64
    for value in (0, 1, 2, -1, -2, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000,
                  -0x8000_0000, (1 << 63) - 1, 1 << 63, 0xAAAA_AAAA_AAAA_AAAA)
]  # fmt: skip
_MULTIPLY = (MulDivOp.MUL, MulDivOp.MULH, MulDivOp.MULHSU, MulDivOp.MULHU)
_HAS_WORD_FORM = (MulDivOp.MUL, MulDivOp.DIV, MulDivOp.DIVU, MulDivOp.REM, MulDivOp.REMU)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _divide(a: int, b: int) -> tuple[int, int]:
    """Return quotient and remainder as RISC-V defines them, rounded toward zero."""
    if b == 0:
        return -1, a
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - b * quotient


def _expected(op: MulDivOp, word: bool, a: int, b: int) -> int:
    bits = 32 if word else 64
    signed = _signed(a, bits), _signed(b, bits)
    unsigned = a & (1 << bits) - 1, b & (1 << bits) - 1
    result = {
        MulDivOp.MUL: lambda: a * b,
        MulDivOp.MULH: lambda: signed[0] * signed[1] >> 64,
        MulDivOp.MULHSU: lambda: signed[0] * unsigned[1] >> 64,
        MulDivOp.MULHU: lambda: a * b >> 64,
        MulDivOp.DIV: lambda: _divide(*signed)[0],
        MulDivOp.DIVU: lambda: _divide(*unsigned)[0],
        MulDivOp.REM: lambda: _divide(*signed)[1],
        MulDivOp.REMU: lambda: _divide(*unsigned)[1],
    }[op]()
    return (_signed(result, 32) if word else result) & _M64


@pytest.fixture(scope="module")
def model():
    with NativeModel(MulDiv(), name="muldiv") as model:
        model.reset()
        model.set("o__ready", 0)
        yield model


def _run(model: NativeModel, op: MulDivOp, word: bool, a: int, b: int) -> tuple[int, int]:
    """Return the result and the cycles from the transfer of the operands to the result."""
    payload = muldiv_layout().const({"op": op, "word": word, "a": a, "b": b}).as_bits()
    model.set("i__payload", payload)
    model.set("i__valid", 1)
    assert model.get("i__ready") == 1
    model.step()
    model.set("i__valid", 0)
    model.set("i__payload", 0)
    cycles = 1 + model.run_until("o__valid", max_cycles=100)
    result = model.get("o__payload")
    model.step(3)
    assert model.get("o__valid") == 1 and model.get("o__payload") == result, "held until taken"
    model.set("o__ready", 1)
    model.step()
    model.set("o__ready", 0)
    return result, cycles


@pytest.mark.parametrize("op", MulDivOp)
def test_every_pair_of_corners_and_random_operands_agree_with_python(model, op):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    pairs = list(itertools.product(_CORNERS, repeat=2))
    pairs += [(rng.getrandbits(64), rng.getrandbits(rng.choice((8, 32, 64)))) for _ in range(200)]
    for word in (False, True) if op in _HAS_WORD_FORM else (False,):
        for a, b in pairs:
            result, _ = _run(model, op, word, a, b)
            assert result == _expected(op, word, a, b), (op, word, hex(a), hex(b))


@pytest.mark.parametrize("op", MulDivOp)
def test_latency_is_what_the_documentation_says(model, op):
    _, cycles = _run(model, op, False, 1 << 63, 3)
    assert cycles == (3 if op in _MULTIPLY else 67)
