# amaranth: UnusedElaboratable=no
"""The fused multiply-add against golden: every corner with every other, and random operands."""

import numpy as np
import pytest
from d1_golden.numerics.fp32 import fma_array
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from d1_rtl.numerics.fp32_fma import Fp32Fma
from d1_rtl.sim.native import NativeModel

SEED = 14
LATENCY = 2
OPERATIONS = 250_000


@pytest.fixture(scope="module")
def lane():
    with NativeModel(Fp32Fma(), name="fp32_fma") as model:
        model.reset()
        yield model


def check(model, operands):
    """Play operands one a cycle and compare all results."""
    a, b, c = (np.concatenate([o, np.zeros(LATENCY, np.uint32)]) for o in operands)
    actual = model.play({"a": a, "b": b, "c": c}, ["result"])["result"][LATENCY:, 0]
    expected = fma_array(*operands)
    wrong = np.flatnonzero(actual != expected)[:3]
    assert not wrong.size, [
        [f"{int(x):#010x}" for x in (*operands[:, n], expected[n], actual[n])] for n in wrong
    ]


def test_corners_crossed_with_each_other_equal_golden(lane):
    corners = fp32_corners()
    operands = np.array(np.meshgrid(corners, corners, corners, indexing="ij")).reshape(3, -1)
    assert len(np.unique(fma_array(*operands))) > 1000
    check(lane, operands)


@pytest.mark.parametrize("unit_factor", [False, True])
@pytest.mark.parametrize("kind", FmaKind)
def test_random_operands_equal_golden(lane, kind, unit_factor):
    print(f"seed {SEED}")
    rng = np.random.default_rng([SEED, kind])
    check(lane, fma_operands(rng, OPERATIONS, kind, unit_factor=unit_factor))
