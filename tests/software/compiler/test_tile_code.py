"""Virtual registers, and the text that LLVM gets."""

import pytest
from d1.compiler.llvm_ir import function
from d1.compiler.objects import machine_code, statistics
from d1.compiler.tile_code import Code, RegisterPressureError, Vector, allocate
from d1_golden.assembler import disassemble


def loaded(code: Code, count: int) -> list[Vector]:
    vectors = [code.vector() for _ in range(count)]
    for n, vector in enumerate(vectors):
        code.emit("vld", vd=vector, rs1=code.thread, imm=n)
    return vectors


def store(code: Code, vector: Vector) -> None:
    code.emit("vst", vs2=vector, rs1=code.thread, imm=0)


def test_registers_are_given_out_again_once_they_are_not_needed():
    code = Code()
    for _ in range(50):
        store(code, loaded(code, 1)[0])
    assert set(allocate(code).registers.values()) <= set(range(32))


def test_what_lives_at_the_same_time_has_registers_of_its_own():
    code = Code()
    vectors = loaded(code, 32)
    for vector in vectors:
        store(code, vector)
    registers = allocate(code).registers
    assert sorted(registers[vector] for vector in vectors) == list(range(32))


def test_more_than_there_are_is_an_error():
    code = Code()
    for vector in loaded(code, 33):
        store(code, vector)
    with pytest.raises(RegisterPressureError, match="no register is left for vld"):
        allocate(code)


def test_what_a_loop_reads_again_is_kept_to_its_end():
    code = Code()
    (kept,) = loaded(code, 1)
    with code.loop(0, 10):
        store(code, kept)
        temporary = loaded(code, 1)[0]
        store(code, temporary)
    registers = allocate(code).registers
    assert registers[kept] != registers[temporary]


def test_a_copy_of_what_is_not_needed_any_more_is_no_instruction():
    code = Code()
    (source,) = loaded(code, 1)
    copy = code.vector()
    code.emit("vor.i32", vd=copy, vs1=source, vs2=source)
    code.emit("vfadd.f32", vd=copy, vs1=copy, vs2=copy)
    store(code, copy)
    assert "0x5b, 5" not in function("KERNEL", code)
    store(code, source)
    assert "0x5b, 5" in function("KERNEL", code)


def test_instructions_come_out_of_llvm_as_they_went_in_and_are_compiled_once():
    code = Code()
    with code.loop(0, 4) as n:
        vector = code.vector()
        code.emit("vld", vd=vector, rs1=code.add(code.argument(0), code.multiply(n, 64)), imm=3)
        code.emit("vfexp2.f32", vd=vector, vs1=vector)
        code.emit("vst", vs2=vector, rs1=code.argument(1), imm=-1)
    text = function("KERNEL", code)
    words = machine_code({"it": text})["it"]
    before = dict(statistics)
    assert machine_code({"it": text})["it"] == words
    assert statistics == before
    lines = [
        disassemble(int.from_bytes(words[n : n + 4], "little")) for n in range(0, len(words), 4)
    ]
    vector_lines = [line for line in lines if line.startswith("v")]
    assert [line.split()[0] for line in vector_lines] == 4 * ["vld", "vfexp2.f32", "vst"]
    assert lines[-1] == "jalr zero, 0(ra)"
