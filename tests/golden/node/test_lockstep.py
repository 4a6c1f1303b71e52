"""The golden core in lockstep with QEMU's RV64 core, registers compared at every instruction.

Unicorn calls a hook before each of its instructions; there the golden node must be at the same
address with the same registers, and is then stepped. Memory is compared at the end.
"""

import itertools
import os
from collections import Counter

import numpy as np
import pytest
from d1_golden.assembler import load_immediate
from d1_golden.isa import INSTRUCTIONS, Extension, Unit, decode, encode
from d1_golden.node import GoldenNode
from d1_golden.node.random_programs import CORNERS, SCALAR_MIX, ProgramOptions, random_program
from d1_golden.params import preset
from unicorn import UC_ARCH_RISCV, UC_HOOK_CODE, UC_MODE_RISCV64, Uc
from unicorn.riscv_const import UC_RISCV_REG_X0

PARAMS = preset("d1")
SEED = int(os.environ.get("SEED", "20250118"))
#: Instructions in lockstep over all programs.
STEPS = 1_000_000
PROGRAMS = 12
SPECIFIED = (Extension.RV64I, Extension.RV64M)
#: RV64IM without what ends or stops a program.
OPCODES = {
    row.name for row in INSTRUCTIONS if row.extension in SPECIFIED and row.unit is not Unit.SYSTEM
}
_REGISTERS = [UC_RISCV_REG_X0 + n for n in range(32)]


def run_in_lockstep(node: GoldenNode, end: int, limit: int) -> Counter[str]:
    """Run what is in the node's memory from 0 to `end` on both; return the instructions run."""
    oracle = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
    oracle.mem_map(0, node.memory.size)
    oracle.mem_write(0, node.memory.tobytes())
    node.start(0)
    x, memory = node.x, node.state.memory32
    words: Counter[int] = Counter()
    failures: list[str] = []

    def compare(oracle: Uc, address: int, size: int, data: object) -> None:
        expected = oracle.reg_read_batch(_REGISTERS)
        actual = tuple(x.tolist())
        if address != node.pc or actual != expected:
            wrong = [f"x{n}" for n in range(32) if actual[n] != expected[n]]
            failures.append(f"before {address:#x}: golden pc {node.pc:#x}, wrong {wrong}")
            oracle.emu_stop()
            return
        words[int(memory[address // 4])] += 1
        node.run(1)

    oracle.hook_add(UC_HOOK_CODE, compare)
    oracle.emu_start(0, end, count=limit + 1)
    assert not failures, failures[0]
    assert node.pc == end, f"golden ends at {node.pc:#x}, not at {end:#x}"
    assert tuple(x.tolist()) == oracle.reg_read_batch(_REGISTERS)
    assert node.memory.tobytes() == bytes(oracle.mem_read(0, node.memory.size))
    names: Counter[str] = Counter()
    for word, count in words.items():
        row = decode(word)
        assert row is not None
        names[row.name] += count
    return names


@pytest.mark.parametrize("index", range(PROGRAMS))
def test_random_programs_agree_with_qemu_at_every_instruction(index: int) -> None:
    print(f"SEED={SEED}")
    executed: Counter[str] = Counter()
    for program_number in itertools.count():
        if executed.total() >= -(-STEPS // PROGRAMS):
            break
        seed = SEED + 1000 * index + program_number
        node = GoldenNode(PARAMS)
        options = ProgramOptions(length=25_000, mix=SCALAR_MIX, data_bytes=16384)
        program = random_program(PARAMS, seed, options)
        assert not len(node.exchange(program.requests()))
        halt = 4 * (len(program.words) - 2)  # the clearing of mtvec and the ecall
        executed += run_in_lockstep(node, halt, program.max_instructions)
    missing = OPCODES - executed.keys()
    assert not missing, f"instructions never executed: {missing}"
    assert min(executed[name] for name in OPCODES) >= 20, executed


def corner_program() -> tuple[np.ndarray, Counter[str]]:
    """Return code that gives every register-register instruction every pair of corners.

    Immediates take their least and greatest value, 0, 1 and -1, and shifts every distance. The
    counter holds how often each instruction is among them.
    """
    words: list[int] = []
    cases: Counter[str] = Counter()

    def add(name: str, **operands: int) -> None:
        words.append(encode(name, rd=12, **operands))
        cases[name] += 1

    rows = [r for r in INSTRUCTIONS if r.unit in (Unit.ALU, Unit.MULDIV)]
    binary = [r.name for r in rows if "rs2" in r.syntax]
    unary = [r for r in rows if "rs1" in r.syntax and "rs2" not in r.syntax]
    for left in CORNERS:
        words += load_immediate(10, left)
        for row in unary:
            immediate = row.operands[-1]
            values = {immediate.minimum, 0, 1, immediate.maximum}
            values |= {-1} if immediate.signed else set(range(immediate.maximum))
            for value in values:
                add(row.name, rs1=10, imm=value)
        for right in CORNERS:
            words += load_immediate(11, right)
            for name in binary:
                add(name, rs1=10, rs2=11)
    for name in ("lui", "auipc"):
        for value in (0, 4096, -4096, -(1 << 31), (1 << 31) - 4096):
            add(name, imm=value)
    return np.array(words, np.uint32), cases


def test_corner_operands_of_all_arithmetic_agree_with_qemu() -> None:
    words, cases = corner_program()
    node = GoldenNode(PARAMS)
    node.memory[: words.nbytes] = words.view(np.uint8)
    executed = run_in_lockstep(node, words.nbytes, len(words))
    arithmetic = {r.name for r in INSTRUCTIONS if r.unit in (Unit.ALU, Unit.MULDIV)}
    assert cases.keys() == arithmetic
    assert all(executed[name] >= cases[name] for name in arithmetic)
    pairs = len(CORNERS) ** 2
    assert all(cases[r.name] == pairs for r in INSTRUCTIONS if r.unit is Unit.MULDIV)


def test_branches_agree_with_qemu_on_every_pair_of_corners() -> None:
    words: list[int] = []
    branches = [r.name for r in INSTRUCTIONS if r.unit is Unit.BRANCH and "rs2" in r.syntax]
    for left in CORNERS:
        words += load_immediate(10, left)
        for right in CORNERS:
            words += load_immediate(11, right)
            for name in branches:
                # Taken, it skips the count of branches not taken.
                words.append(encode(name, rs1=10, rs2=11, imm=8))
                words.append(encode("addi", rd=12, rs1=12, imm=1))
    node = GoldenNode(PARAMS)
    code = np.array(words, np.uint32).view(np.uint8)
    node.memory[: len(code)] = code
    executed = run_in_lockstep(node, len(code), len(words))
    assert all(executed[name] == len(CORNERS) ** 2 for name in branches)
    # Of each condition and its opposite one is taken: half of all branches.
    assert node.x[12] == len(branches) * len(CORNERS) ** 2 // 2
