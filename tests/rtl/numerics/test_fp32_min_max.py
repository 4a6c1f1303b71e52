# amaranth: UnusedElaboratable=no
"""The choice of the lesser or greater number against golden."""

import numpy as np
import pytest
from d1_golden.numerics import FP32
from d1_golden.numerics.fp32 import maximum_array, minimum_array
from d1_golden.numerics.vector_stimulus import FmaKind, fma_operands, fp32_corners
from d1_rtl.numerics.fp32_min_max import Fp32MinMax
from d1_rtl.sim.native import NativeModel

SEED = 15
PAIRS = 500_000


@pytest.fixture(scope="module")
def operands():
    """Every corner with every other, and numbers beside each other."""
    print(f"seed {SEED}")
    corners = fp32_corners()
    crossed = np.array(np.meshgrid(corners, corners)).reshape(2, -1)
    rng = np.random.default_rng(SEED)
    random = fma_operands(rng, PAIRS, FmaKind.CANCELLING, unit_factor=True)[[0, 2]]
    random[1] ^= rng.integers(0, 2, PAIRS, np.uint32) << 31
    return np.concatenate([crossed, random], axis=1)


@pytest.mark.parametrize(("maximum", "golden"), [(0, minimum_array), (1, maximum_array)])
def test_the_chosen_one_is_that_of_golden_but_for_the_bits_of_a_nan(operands, maximum, golden):
    a, b = operands
    with NativeModel(Fp32MinMax(), name="fp32_min_max") as model:
        chosen = model.play({"a": a, "b": b, "maximum": np.full(len(a), maximum, np.uint8)},
                            ["chosen"])["chosen"][:, 0]  # fmt: skip
    assert ((chosen == a) | (chosen == b)).all()
    nan = chosen & 0x7FFFFFFF > FP32.infinity_code
    assert np.array_equal(np.where(nan, FP32.nan_code, chosen), golden(a, b))
