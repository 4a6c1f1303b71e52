# amaranth: UnusedElaboratable=no
"""The branch unit against Python integers."""

import itertools

import numpy as np
from d1_rtl.node.branch_unit import BranchUnit
from d1_rtl.node.micro_op import BranchOp
from d1_rtl.sim.native import NativeModel

_SEED = 6
_M64 = (1 << 64) - 1
_VALUES = [v & _M64 for v in (0, 1, -1, 0x7FFF_FFFF, (1 << 63) - 1, 1 << 63, (1 << 63) + 1)]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_TAKEN = {
    BranchOp.BEQ: lambda a, b: a == b,
    BranchOp.BNE: lambda a, b: a != b,
    BranchOp.BLT: lambda a, b: _signed(a) < _signed(b),
    BranchOp.BGE: lambda a, b: _signed(a) >= _signed(b),
    BranchOp.BLTU: lambda a, b: a < b,
    BranchOp.BGEU: lambda a, b: a >= b,
    BranchOp.JAL: lambda a, b: True,
    BranchOp.JALR: lambda a, b: True,
}


def test_conditions_targets_and_links_agree_with_python_integers():
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    cases = list(itertools.product(BranchOp, _VALUES, _VALUES))
    pcs = 4 * rng.integers(0, 1 << 22, len(cases), np.uint64)
    immediates = rng.integers(-(1 << 20), 1 << 20, len(cases))
    with NativeModel(BranchUnit(), name="branch_unit") as model:
        outputs = model.play(
            {
                "op": np.array([op.value for op, _, _ in cases], np.uint32),
                "x1": np.array([a for _, a, _ in cases], np.uint64),
                "x2": np.array([b for _, _, b in cases], np.uint64),
                "pc": pcs,
                "immediate": immediates.astype(np.int32).view(np.uint32),
            },
            ["taken", "target", "link"],
        )
    targets = outputs["target"].view(np.uint64)[:, 0].tolist()
    links = outputs["link"].view(np.uint64)[:, 0].tolist()
    for n, (op, a, b) in enumerate(cases):
        base = a if op is BranchOp.JALR else int(pcs[n])
        assert outputs["taken"][n, 0] == _TAKEN[op](a, b), (op, a, b)
        assert targets[n] == (base + int(immediates[n])) & _M64 & ~1, (op, a, b)
        assert links[n] == int(pcs[n]) + 4
