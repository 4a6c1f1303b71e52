"""The assembler against LLVM's, and against what its programs do on the golden node."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from d1_golden.assembler import PSEUDO, REGISTER_NAMES, assemble, disassemble, load_immediate
from d1_golden.csr import CSRS
from d1_golden.isa import INSTRUCTIONS, Extension, Instruction, Operand, OperandKind, decode, encode
from d1_golden.node import GoldenNode
from d1_golden.params import preset
from elftools.elf.elffile import ELFFile

SEED = 9
SAMPLES = 40
PUBLIC = [row for row in INSTRUCTIONS if row.extension is not Extension.XD1]


def llvm_words(tmp_path: Path, text: str) -> list[int]:
    """Return the words that LLVM's assembler makes of a text."""
    source, output = tmp_path / "text.s", tmp_path / "text.o"
    source.write_text(text)
    target = ["-target", "riscv64-freestanding-none", "-mcpu=generic_rv64+m+zicsr+zifencei"]
    command = [sys.executable, "-m", "ziglang", "cc", *target, "-c", source, "-o", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with output.open("rb") as file:
        return np.frombuffer(ELFFile(file).get_section_by_name(".text").data(), "<u4").tolist()


def random_value(operand: Operand, rng: random.Random) -> int:
    if operand.kind is OperandKind.CSR:  # by its public name, or one without a name by number
        standard = [csr.number for csr in CSRS if not csr.name.startswith(("mcfp8", "mr", "mse"))]
        return rng.choice([*standard, 0x5C0, 0xFFF])
    steps = (operand.maximum - operand.minimum) // operand.alignment
    return operand.minimum + operand.alignment * rng.randint(0, steps)


def random_word(row: Instruction, rng: random.Random) -> int:
    return encode(row.name, **{o.name: random_value(o, rng) for o in row.operands})


def llvm_text(word: int) -> str:
    """Return the disassembly in LLVM's dialect: the operand of lui and auipc counts pages."""
    row = decode(word)
    assert row is not None
    text = disassemble(word)
    if row.name in ("lui", "auipc"):
        head, _, value = text.rpartition(" ")
        return f"{head} {int(value) >> 12 & 0xFFFFF:#x}"
    return text


def test_llvm_assembles_our_disassembly_to_the_same_words(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    words = [random_word(row, rng) for row in PUBLIC for _ in range(SAMPLES)]
    llvm = llvm_words(tmp_path, "\n".join(map(llvm_text, words)))
    fence = encode("fence")
    # LLVM writes all of FENCE's sets where none is given; the node ignores them.
    ours = [0x0FF0_000F if word == fence else word for word in words]
    assert [hex(w) for w in llvm] == [hex(w) for w in ours]
    assert decode(0x0FF0_000F) is decode(fence)


def test_pseudo_instructions_labels_and_directives_agree_with_llvm(tmp_path: Path) -> None:
    text = """
    start:
        nop
        mv a0, s1
        not t0, t1
        neg t2, t3
        seqz a1, a2
        snez a3, a4
        beqz a0, forward
        bnez a0, start
        j forward
        csrr a5, mepc
        csrw mtval, a6
    forward:
        bltu x5, x31, forward
        jal ra, start
        ret
        .word 0x12345678, forward - start
    """
    ours = text.replace("forward - start", "44")
    assert assemble(ours).code == np.array(llvm_words(tmp_path, text), "<u4").tobytes()


@pytest.mark.parametrize("row", INSTRUCTIONS, ids=lambda row: row.name)
def test_disassembly_assembles_to_the_same_word(row: Instruction) -> None:
    rng = random.Random(SEED)
    for _ in range(SAMPLES):
        word = random_word(row, rng)
        assert assemble(disassemble(word)).code == word.to_bytes(4, "little")


def test_an_illegal_word_disassembles_to_a_directive() -> None:
    assert disassemble(0xFFFF_FFFF) == ".word 0xffffffff"
    assert assemble(".word 0xffffffff").code == b"\xff" * 4


def test_branch_targets_are_absolute_where_the_address_is_known() -> None:
    word = encode("bne", rs1=10, rs2=0, imm=-8)
    assert disassemble(word) == "bne a0, zero, -8"
    assert disassemble(word, 0x108) == "bne a0, zero, 0x100"


def test_li_makes_every_constant_in_at_most_eight_instructions() -> None:
    rng = random.Random(SEED)
    constants = [sign << shift for shift in range(64) for sign in (1, -1)]
    constants += [c + d for c in constants for d in (-1, 1)]
    constants += [0x7FF, 0x800, -0x801, 0x7FFF_F7FF, 0x7FFF_F800, 0xFFFF_FFFF, 0x8000_0000]
    constants += [rng.getrandbits(rng.randrange(1, 65)) for _ in range(1000)]
    node = GoldenNode(preset("tiny"))
    for constant in constants:
        program = assemble(f"li a0, {constant}\necall")
        assert len(program.code) <= 9 * 4
        node.memory[: len(program.code)] = np.frombuffer(program.code, np.uint8)
        node.start(0, arg=0x5555)
        node.finish(20)
        assert node.x[10] == constant % (1 << 64), hex(constant)


def test_small_constants_take_one_instruction() -> None:
    assert len(load_immediate(5, -2048)) == len(load_immediate(5, 0x7000_0000)) == 1
    assert len(load_immediate(5, 0x1234_5678)) == 2


@pytest.mark.parametrize("distance", [4, 2044, 2048, 8192, 32760])
def test_la_gives_the_address_of_a_label_near_and_far(distance: int) -> None:
    node = GoldenNode(preset("tiny"))
    for text, expected in (
        (f"la a0, there\necall\n.zero {distance}\nthere:", 0x1000 + 12 + distance),
        (f"there: .zero {distance}\ncode: la a0, there\necall", 0x1000),
    ):
        program = assemble(text, 0x1000)
        node.memory[0x1000 : 0x1000 + len(program.code)] = np.frombuffer(program.code, np.uint8)
        node.start(program.labels.get("code", 0x1000))
        node.finish(10)
        assert node.x[10] == expected


def test_data_directives_place_values_and_padding() -> None:
    program = assemble(
        ".word -1\n.align 3\nhere:\t.dword here,  1 # comment\n.zero 3\n.align 2\nend:", 0x100
    )
    assert program.labels == {"here": 0x108, "end": 0x11C}
    expected = b"\xff" * 4 + bytes(4) + (0x108).to_bytes(8, "little") + b"\1" + bytes(11)
    assert program.code == expected


def test_registers_have_numbers_abi_names_and_an_alias() -> None:
    for number, name in enumerate(REGISTER_NAMES):
        assert assemble(f"mv {name}, x{number}").code == assemble(f"mv x{number}, {name}").code
    assert assemble("mv fp, x8").code == assemble("mv s0, s0").code


def test_every_pseudo_instruction_expands_to_one_of_the_table() -> None:
    examples = {"d": "a0", "s": "a1", "t": "there", "c": "mepc"}
    for name, (operands, _) in PSEUDO.items():
        text = f"there: {name} {', '.join(examples[o] for o in operands)}"
        word = int.from_bytes(assemble(text).code, "little")
        assert decode(word) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nop\nfrob a0", "line 2: instruction must be one of the ISA table, not 'frob'"),
        ("add a0, a1", "line 1: add must be `add rd, rs1, rs2`, not 'add a0, a1'"),
        ("add a0, a1, v2", "rs2 must be a scalar register, not 'v2'"),
        ("vld a0, 0(a1)", "vd must be a register v<n>, not 'a0'"),
        ("mzero v1", "acc_d must be a register acc<n>, not 'v1'"),
        ("mand m1, v2, m3", "ms1 must be a register m<n>, not 'v2'"),
        ("mand m1, m2, m8", r"ms2 must be in 0\.\.7, not 8"),
        ("vld v32, 0(a1)", r"vd must be in 0\.\.31, not 32"),
        ("j nowhere", "imm_j must be a number or a label, not 'nowhere'"),
        ("mv a0", "mv must have 2 operands, not 1"),
        ("li a0", "li must be `li rd, constant`, not 'li a0'"),
        ("li a0, b", "constant of li must be a number, not 'b'"),
        ("la a0, b", "la must name a label, not 'b'"),
        ("a: nop\na: nop", "line 2: label must be defined once, not 'a' again"),
        (".word b", r"line 1: \.word must be numbers or labels, not 'b'"),
        (".zero b", r"line 1: \.zero must be a number, not 'b'"),
        ("addi a0, a0, 2048", r"line 1: addi: imm_i must be in -2048\.\.2047, not 2048"),
    ],
)
def test_a_line_that_cannot_be_assembled_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assemble(text)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("vldb v3, -4(a2)", 0xFFC6_218B),
        ("vld.m v3, (a2), m5", 0x0A06_318B),
        ("vst.m v3, (a2), m5", 0x1A06_318B),
        ("vgather v3, (a2), v4", 0x2046_318B),
        ("vscatter.m v3, (a2), v4, m7", 0x5E46_318B),
        ("vfle.f32 m6, v1, v2", 0x2420_C35B),
        ("vsel v1, v2, v3, m4", 0x0831_60DB),
        ("mandn m1, m2, m3", 0x4031_60DB),
        ("vmv.x.m a0, m7", 0x6003_E55B),
        ("vbc.l v1, v2, 3", 0x0E31_70DB),
        ("vpad.b16 v1, v2, a0", 0x1425_70DB),
        ("vslide v1, v2, v3, 17", 0x6231_70DB),
        ("push a0, a1, 31", 0x00B5_6FAB),
        ("post a0, 30", 0x07E5_602B),
        ("swait 30", 0x0C0F_602B),
        ("barrier 0b1010", 0x0E05_602B),
        ("lfind a0, a1, a2", 0x12C5_E52B),
    ],
)
def test_operands_of_xd1_are_written_after_their_names_and_memory_in_parentheses(
    text: str, word: int
) -> None:
    assert hex(int.from_bytes(assemble(text).code, "little")) == hex(word)
