"""Programs of graphs: how long each kernel takes."""

import numpy as np
import pytest
from d1.c_compiler import CompileError
from d1.compiler.builder import Builder
from d1.compiler.executable import Program, build
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.compiler.objects import machine_code, stack_bytes
from d1.compiler.passes import optimized
from d1.device import shared_device
from d1_golden.assembler import assemble
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


def test_a_kernel_has_as_much_stack_as_it_takes() -> None:
    """75 operands are more addresses than there are registers."""
    builder = Builder(preset("tiny"))
    shape = (2, 2, 3)
    # Of other shapes each, so that nothing is at the same place in two of them.
    more = [[n // 5**k % 5 for k in range(3)] for n in range(75)]
    sizes = [tuple(size + m for size, m in zip(shape, by, strict=True)) for by in more]
    whole = [builder.input(size, DType.F32) for size in sizes]
    parts = [x.slice(0, 0, 2).slice(1, 0, 2).slice(2, 0, 3) for x in whole]

    def total(*elements: Expr) -> Expr:
        result = elements[0]
        for element in elements[1:]:
            result = Expr.op("vadd.i32", result, element)
        return result

    builder.output(builder.elementwise(total, *parts, dtype=DType.F32))
    compiled = build(builder.graph)
    (part,) = compiled.parts
    (kernel,) = part.kernels
    assert stack_bytes(machine_code({"it": kernel.text})["it"]) > 512
    device = shared_device("golden", "tiny")
    rng = np.random.default_rng(1)
    inputs = [rng.integers(0, 1 << 16, t.words, np.uint32) for t in compiled.graph.inputs]
    (result,) = compiled.run(device, inputs)
    (output,) = compiled.graph.outputs
    expected = np.zeros(shape, np.uint32)
    for tensor, words in zip(compiled.graph.inputs, inputs, strict=True):
        rows = words.reshape(*tensor.shape[:-1], tensor.pitch)
        expected += rows[:2, :2, :3]
    assert np.array_equal(result.reshape(*shape[:-1], output.pitch)[..., :3], expected)


def test_the_stack_of_a_function_is_read_from_its_code() -> None:
    def code(text: str) -> bytes:
        return assemble(text).code

    assert stack_bytes(code("addi a0, a0, -8\nret")) == 0
    assert stack_bytes(code("addi sp, sp, -32\naddi sp, sp, -2032\naddi sp, sp, 2047")) == 2064
    with pytest.raises(CompileError, match="must be changed by addi, not sub"):
        stack_bytes(code("addi sp, sp, -32\nsub sp, sp, t0"))


def test_numbers_of_any_size_are_within_the_code_of_a_function() -> None:
    text = """define void @KERNEL(i64 %arguments, i64 %thread) {
      %pointer = inttoptr i64 %arguments to ptr
      %product = mul i64 %thread, -8148143905337944345
      store i64 %product, ptr %pointer
      ret void
    }
    """
    # What is elsewhere would have to be linked, which is refused.
    code = machine_code({"wide": text})["wide"]
    device = shared_device("golden", "tiny")
    call = assemble("auipc t0, 0\nli a1, 3\njalr ra, 16(t0)\necall").code
    with device.data.scratch(64) as base:
        (found,) = device.call(call + code, base, outputs=[(base, 8)], max_cycles=1000)
    assert int(found.view(np.uint64)[0]) == -8148143905337944345 * 3 % (1 << 64)
