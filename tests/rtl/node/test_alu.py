# amaranth: UnusedElaboratable=no
"""The ALU against Python integers."""

import itertools

import numpy as np
import pytest
from d1_rtl.node.alu import Alu
from d1_rtl.node.micro_op import SIMPLE_OPS, AluOp
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

_SEED = 5
_M64 = (1 << 64) - 1
_CORNERS = [
    value & _M64
    for value in (0, 1, 2, 31, 32, 33, 63, 64, -1, -2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
                  -0x8000_0000, (1 << 63) - 1, 1 << 63, 0x5555_5555_5555_5555)
]  # fmt: skip


def _signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


_OPERATIONS = {
    AluOp.ADD: lambda a, b, _: a + b,
    AluOp.SUB: lambda a, b, _: a - b,
    AluOp.SLL: lambda a, b, bits: a << b % bits,
    AluOp.SLT: lambda a, b, bits: int(_signed(a, bits) < _signed(b, bits)),
    AluOp.SLTU: lambda a, b, _: int(a < b),
    AluOp.XOR: lambda a, b, _: a ^ b,
    AluOp.SRL: lambda a, b, bits: (a & (1 << bits) - 1) >> b % bits,
    AluOp.SRA: lambda a, b, bits: _signed(a, bits) >> b % bits,
    AluOp.OR: lambda a, b, _: a | b,
    AluOp.AND: lambda a, b, _: a & b,
}
#: RV64I has no other operations on 32 bits.
_WORD_OPERATIONS = (AluOp.ADD, AluOp.SUB, AluOp.SLL, AluOp.SRL, AluOp.SRA)


def _expected(op: AluOp, word: bool, a: int, b: int) -> int:
    result = _OPERATIONS[op](a, b, 32 if word else 64)
    return (_signed(result, 32) if word else result) & _M64


@pytest.mark.parametrize("on_fpga", [False, True], ids=["simulator", "FPGA"])
@pytest.mark.parametrize("ops", [tuple(AluOp), SIMPLE_OPS], ids=["all", "simple"])
def test_every_operation_agrees_with_python_integers(ops, on_fpga):
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    pairs = list(itertools.product(_CORNERS, repeat=2))
    pairs += [tuple(map(int, row)) for row in rng.integers(0, 1 << 64, (500, 2), np.uint64)]
    operations = [(op, False) for op in AluOp] + [(op, True) for op in _WORD_OPERATIONS]
    cases = [(op, word, a, b) for op, word in operations for a, b in pairs]
    alu = OnFpga(Alu(ops), in_turns=False) if on_fpga else Alu(ops)
    with NativeModel(alu, name="alu") as model:
        results = model.play(
            {
                "op": np.array([op.value for op, *_ in cases], np.uint32),
                "word": np.array([word for _, word, *_ in cases], np.uint32),
                "a": np.array([a for *_, a, _ in cases], np.uint64),
                "b": np.array([b for *_, b in cases], np.uint64),
            },
            ["result"],
        )["result"]
    for case, result in zip(cases, results.view(np.uint64)[:, 0].tolist(), strict=True):
        assert result == (_expected(*case) if case[0] in ops else 0), case
