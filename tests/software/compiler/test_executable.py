"""Programs of graphs: how long each kernel takes."""

import numpy as np
import pytest
from d1.compiler.builder import Builder
from d1.compiler.executable import Program, build
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.compiler.passes import optimized
from d1.device import shared_device
from d1_golden.params import preset


def program() -> Program:
    """Return a sum of columns of a square, times a number: two kernels."""
    builder = Builder(preset("tiny"))
    x = builder.input((12, 20), DType.F32)
    total = builder.reduce("vfadd.f32", x, [0], keepdim=True)
    builder.output(
        builder.elementwise(lambda a, b: Expr.op("vfmul.f32", a, b), x, total, dtype=DType.F32)
    )
    return build(optimized(builder.graph)[0])


@pytest.mark.parametrize("kind", ["golden", "rtl"])
def test_a_profile_has_the_results_of_a_run_and_the_time_of_each_kernel(kind: str) -> None:
    compiled = program()
    device = shared_device(kind, "tiny")
    words = np.arange(12 * compiled.graph.inputs[0].pitch, dtype=np.float32).view(np.uint32)
    results, _ = compiled.profile(device, [words])
    before = device.cycles
    again, cycles = compiled.profile(device, [words])
    whole = device.cycles - before
    expected = compiled.run(device, [words])
    assert all(np.array_equal(a, b) for a, b in zip(results, expected, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))
    assert len(cycles) == len(compiled.graph.kernels) == 2 and min(cycles) > 0
    if kind == "rtl":
        assert sum(cycles) < whole
        assert compiled.profile(device, [words])[1] == cycles
