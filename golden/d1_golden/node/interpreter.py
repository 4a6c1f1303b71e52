"""The interpreter loop of the golden node, generated from the ISA table and compiled.

Every row of :data:`d1_golden.isa.INSTRUCTIONS` becomes one arm of a dispatch, its `semantics`
rewritten by `_Semantics` to plain loads, stores and calls of `vocabulary`. The generated module is
a file in the user's cache directory, named by a hash of everything it is made from, so that its
compiled form is kept as well and several processes may make it at once.

An instruction is decoded once for each address: `NodeState.decoded` holds, from bit 0 up, the
number of the arm (0 for an illegal instruction), the fields at bits 7, 15 and 20 of the word (8
bits each; a scalar destination x0 becomes `DISCARD`), and a signed 32-bit immediate, vector
offsets in bytes, a CSR as its place in `NodeState.csr`. `NodeState.tag` holds the word this was
made from and is compared at every fetch: a store to code is therefore visible to the next fetch.
The RTL promises that only after `fence.i`.

Exceptions leave registers and memory as they were. Where an address is both misaligned and outside
memory, misaligned is reported.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import numba

from d1_golden import csr as csr_module
from d1_golden import ecc, memory_map, packet, params, transfer
from d1_golden.cache import cache_root
from d1_golden.csr import CSR_BY_NAME, CSRS, MSTATUS_RESET, Cause
from d1_golden.isa import INSTRUCTIONS, Instruction, Operand, OperandKind, Unit
from d1_golden.memory_map import (
    CounterRegister,
    IdentityRegister,
    ThreadRegister,
    ThreadStatus,
)
from d1_golden.numerics import convert, dot_product, elementary, formats, fp32, lanes, random

from . import (
    communication,
    control_block,
    ecc_accesses,
    ecc_state,
    packet_door,
    schedule,
    state,
    transfer_state,
    vocabulary,
    vocabulary_move,
    vocabulary_simd,
)
from .schedule import GOES_ON, LEFT
from .state import CSR_INDEX, DISCARD, IDENTITY_LINE, THREAD_LINE

__all__ = ["interpreter_source", "load_interpreter"]

_MIE, _MPIE = 1 << 3, 1 << 7
#: Where a register field at a bit of the word goes in a decoded instruction.
_SLOTS = {7: "d", 15: "s", 20: "t"}
_CONSTANTS = {
    **{cause.name: int(cause) for cause in Cause},
    "MIE": _MIE,
    "MPIE": _MPIE,
    "MSTATUS": CSR_INDEX[CSR_BY_NAME["mstatus"].number],
    "MEPC": CSR_INDEX[CSR_BY_NAME["mepc"].number],
}
#: CSR instructions that write whatever rs1 or the immediate is; the others do not if it is 0.
_ALWAYS_WRITE_CSR = ("csrrw", "csrrwi")
_SCALAR_UNITS = {Unit.LOAD: "LOAD", Unit.STORE: "STORE"}
_VECTOR_UNITS = (Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY)
_STORE_UNITS = (Unit.STORE, Unit.VECTOR_STORE)
_LANE_UNITS = (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)
#: After instructions of these another thread may have its turn.
_LETS_GO = (Unit.SEMAPHORE, Unit.TRANSFER)
#: Instructions whose function tells whether they are done; otherwise the thread waits, and executes
#: them again once it is let go.
_WAITS = ("swait", "barrier", "fence")
#: Where the functions of the table's semantics are.
_VOCABULARIES = (vocabulary, vocabulary_simd, vocabulary_move, communication)
#: How many values an operand may have, for `decode`; see `isa.operand_count`.
_OPERAND_COUNTS = {
    OperandKind.ACCUMULATOR: "accumulators",
    OperandKind.PART: "parts",
    OperandKind.LANE: "vector_bytes // 4",
    OperandKind.SLIDE: "vector_bytes // 4 + 1",
    OperandKind.THREADS: "1 << threads",
}


def _csr_place(name: str) -> int:
    return CSR_INDEX[CSR_BY_NAME[name].number]


#: Arguments that the table does not write: what a parameter of this name is given.
_SUPPLIED = {
    "result": "vector_result",
    "csr": "csr",
    "mcfp8c": f"csr[{_csr_place('mcfp8c')}]",
    "cfp8_bf16": "cfp8_bf16",
    "memory32": "memory32",
    "memory64": "memory64",
    "vector_words": "vector_words",
    **{name: name for name in ("state", "thread", "waiting", "semaphore", "barrier_arrived")},
}


def _u64(value: int) -> ast.expr:
    return ast.parse(f"uint64({value})", mode="eval").body


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Semantics(ast.NodeTransformer):
    """Rewrites the semantics of one row to statements on the interpreter's local variables.

    Results for x and next_pc are left in `value` and `next_pc`, to be committed by the arm once
    nothing can trap any more. With `control` set, `load` and `store` go to the control block.
    """

    def __init__(self, row: Instruction, *, control: bool = False):
        self.control = control
        self.names: dict[str, str] = {"a": "x[s]", "b": "x[t]", "n": "imm", "LANES": "lanes"}
        for operand in row.operands:
            slot = _SLOTS[operand.slices[0][0]] if _is_field(operand) else "imm"
            name = "imm" if operand.name.startswith("imm") else operand.name
            self.names[name] = slot

    def statements(self, semantics: str) -> list[str]:
        tree = self.visit(ast.parse(semantics))
        return ast.unparse(ast.fix_missing_locations(tree)).splitlines()

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in _CONSTANTS:
            return _u64(_CONSTANTS[node.id])
        return _expression(self.names.get(node.id, node.id))

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        assert isinstance(node.value, int)
        return _u64(node.value)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        left, right = (self.visit(value) for value in node.values)
        return ast.IfExp(left, right, _u64(0))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        arrays = {"x": "x", "v": "vector", "acc": "accumulator", "m": "mask"}
        array = arrays[ast.unparse(node.value)]
        return _expression(f"{array}[{ast.unparse(self.visit(node.slice))}]")

    def visit_Assign(self, node: ast.Assign) -> ast.stmt | list[ast.stmt]:
        (target,) = node.targets
        if isinstance(target, ast.Name):
            return ast.Assign([ast.Name(target.id, ast.Store())], self.visit(node.value), lineno=0)
        assert isinstance(target, ast.Subscript)
        row = ast.unparse(self.visit(target))
        match ast.unparse(target.value):
            case "x":
                return ast.parse(f"value = {ast.unparse(self.visit(node.value))}").body[0]
            case "v":
                return ast.parse(f"copy_row({row}, {ast.unparse(self.visit(node.value))})").body[0]
            case "m":
                return ast.parse(f"{row} = {ast.unparse(self.visit(node.value))}").body[0]
        return ast.parse(self._accumulate(row, node.value)).body

    def _accumulate(self, row: str, value: ast.expr) -> str:
        """Return the statement that updates an accumulator in place."""
        if isinstance(value, ast.Constant):
            return f"clear({row})"
        assert isinstance(value, ast.Call) and isinstance(value.func, ast.Name)
        if value.func.id == "set_acc_part":
            _, *arguments = (ast.unparse(self.visit(argument)) for argument in value.args)
            return f"set_acc_part({row}, {', '.join(arguments)})"
        first = isinstance(value.args[0], ast.Constant)
        tiles = (
            ast.unparse(self.visit(argument))
            if isinstance(argument, ast.Call) and ast.unparse(argument.func).startswith("cfp8")
            else f"bf16_tile({ast.unparse(self.visit(argument))})"
            for argument in value.args[1:]
        )
        return (
            f"matrix_step({row}, {', '.join(tiles)}, {first}, fraction_bits, step_scratch); "
            "counter[MATRIX_STEPS] += uint64(1)"
        )

    def visit_Call(self, node: ast.Call) -> ast.expr:
        name = ast.unparse(node.func)
        arguments = [ast.unparse(self.visit(argument)) for argument in node.args]
        match name:
            case "load" if self.control:
                return _expression("control[line, addr >> uint64(3) & uint64(7)]")
            case "load":
                return _expression(f"uint64({_memory(node.args[1])})")
            case "csr":
                return _expression(f"csr[{arguments[0]}]")
            case "mpie":
                return _expression(f"csr[{_CONSTANTS['MSTATUS']}] & uint64({_MPIE})")
            case "cfp8a" | "cfp8b":
                tile, config = f"tile_{name[-1]}", _csr_place(f"mcfp8{name[-1]}")
                arguments += [tile, f"csr[{config}]", "cfp8_bf16"]
                return _expression(f"cfp8_tile({', '.join(arguments)})")
        arguments += _supplied(name, len(arguments))
        return _expression(f"{name}({', '.join(arguments)})")

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.stmt]:
        """Rewrite the calls that stand for themselves: store, vstore, set_csr and trap."""
        assert isinstance(node.value, ast.Call)
        name = ast.unparse(node.value.func)
        arguments = [ast.unparse(self.visit(argument)) for argument in node.value.args]
        match name:
            case "store" if self.control:
                text = (
                    "turn[GOES_ON] = 0; "
                    f"write_control(line, int64(addr >> uint64(3) & uint64(7)), {arguments[2]}, "
                    "state)"
                )
            case "store":
                size = ast.literal_eval(node.value.args[1])
                text = f"{_memory(node.value.args[1])} = uint{8 * size}({arguments[2]})"
            case "vstore":
                place = ast.unparse(self.visit(_expression("vload(addr)")))
                text = f"copy_row({place}, {arguments[1]})"
            case "set_csr":
                text = f"set_csr(csr, {arguments[0]}, {arguments[1]})"
            case "trap":
                text = f"cause = {arguments[0]}; fault_value = {arguments[1]}"
            case _:
                text = ast.unparse(self.visit(node.value))
        return ast.parse(text).body


def _supplied(name: str, written: int) -> list[str]:
    """Return the arguments of a function of the vocabulary after those that the table writes.

    Raises
    ------
    ValueError
        If there is no such function, or it takes something that nobody supplies.

    """
    function = next((f for v in _VOCABULARIES if (f := getattr(v, name, None)) is not None), None)
    if function is None:
        raise ValueError(f"function must be in the vocabulary, not {name!r}")
    parameters = list(inspect.signature(function.py_func).parameters)[written:]
    for parameter in parameters:
        if parameter not in _SUPPLIED:
            raise ValueError(f"{name}: {parameter} must be an argument in the table or supplied")
    return [_SUPPLIED[parameter] for parameter in parameters]


def _memory(size: ast.expr) -> str:
    """Return the element of memory of `size` bytes at `addr`."""
    n = ast.literal_eval(size)
    return f"memory{8 * n}[addr >> uint64({n.bit_length() - 1})]"


def _is_field(operand: Operand) -> bool:
    """Whether an operand is kept as a field of a decoded instruction, not as its immediate."""
    if operand.name == "imm_z":  # whether it is 0 tells whether the CSR is written
        return True
    is_immediate = operand.kind is OperandKind.CSR or operand.name.startswith("imm")
    return operand.slices[0][0] in _SLOTS and not is_immediate


def _field(operand: Operand) -> str:
    """Return the expression that takes an operand from `word`."""
    parts = (
        f"(word >> {lsb} & {(1 << width) - 1:#x}) << {value_lsb}"
        for lsb, width, value_lsb in operand.slices
    )
    text = f"({' | '.join(parts)})"
    if operand.signed:
        sign = 1 << operand.bits - 1
        text = f"(({text} ^ {sign:#x}) - {sign:#x})"
    return f"{text} * vector_bytes" if operand.kind is OperandKind.VECTOR_OFFSET else text


def _decode_arm(number: int, row: Instruction) -> Iterator[str]:
    """Yield the lines that decode one row."""
    yield f"    if word & {row.mask:#x} == {row.match:#x}:  # {row.name}"
    for operand in row.operands:
        bound = _OPERAND_COUNTS.get(operand.kind)
        if operand.kind is OperandKind.PART and row.unit is Unit.VECTOR_CONVERT:
            bound = "2" if "bf16" in row.name else "4"
        if bound is not None:
            yield f"        if {_field(operand)} >= {bound}:"
            yield "            return uint64(0)"
    fields = {"d": str(DISCARD), "s": "0", "t": "0", "imm": "0"}
    for operand in row.operands:
        slot = _SLOTS[operand.slices[0][0]] if _is_field(operand) else "imm"
        fields[slot] = _field(operand)
        if operand.name == "rd":
            fields[slot] = f"({_field(operand)} or {DISCARD})"
        if operand.kind is OperandKind.CSR:
            writes = "True" if row.name in _ALWAYS_WRITE_CSR else "(word >> 15 & 31) != 0"
            yield f"        place = csr_place({_field(operand)}, {writes})"
            yield "        if place < 0:"
            yield "            return uint64(0)"
            fields[slot] = "place"
    yield (
        f"        return record({number}, {fields['d']}, {fields['s']}, {fields['t']}, "
        f"{fields['imm']})"
    )


def _csr_place_function() -> Iterator[str]:
    yield "@njit(cache=True)"
    yield "def csr_place(number, writes):"
    for csr in CSRS:
        condition = f"number == {csr.number:#x}" + (" and not writes" if csr.read_only else "")
        yield f"    if {condition}:  # {csr.name}"
        yield f"        return {CSR_INDEX[csr.number]}"
    yield "    return -1"


def _execute_arm(number: int, row: Instruction) -> Iterator[str]:
    """Yield the lines that execute one row."""
    yield f"        {'if' if number == 1 else 'elif'} op == {number}:  # {row.name} {row.syntax}"
    if row.unit in _LANE_UNITS:
        body = list(_lane_checked(row))
    else:
        checked = row.unit in (*_SCALAR_UNITS, *_VECTOR_UNITS)
        body = list(_checked(row) if checked else _plain(row))
    yield from (f"            {line}" for line in body)


def _plain(row: Instruction) -> Iterator[str]:
    """Yield the statements of a row that accesses no memory."""
    lines = _Semantics(row).statements(row.semantics)
    if row.unit is Unit.CSR:
        yield "FLUSH"
        if row.name not in _ALWAYS_WRITE_CSR:
            lines = [
                f"if s != uint64(0): {line}" if line.startswith("set_csr") else line
                for line in lines
            ]
    if row.unit in _LETS_GO:
        yield "turn[GOES_ON] = 0"
    if row.name in _WAITS:
        lines = [f"waits = not {line}" for line in lines]
    if row.unit is Unit.TRANSFER:
        yield "waits = transfers_wait(thread, waiting, state)"
        yield "if not waits:"
        lines = [f"    cause, fault_value = {line}" for line in lines]
    if row.unit is Unit.LINK:
        yield from (f"cause, {line}" for line in lines)
        yield "if cause == NO_CAUSE:"
        yield "    x[d] = value"
        yield "else:"
        yield "    fault_value = value"
        return
    yield from lines
    writes_x = any(line.startswith("value =") for line in lines)
    if row.unit is Unit.BRANCH:
        yield "if next_pc & uint64(3):"
        yield f"    cause = uint64({int(Cause.INSTRUCTION_MISALIGNED)})"
        yield "    fault_value = next_pc"
        if writes_x:
            yield "else:"
            yield "    x[d] = value"
    elif writes_x:
        yield "x[d] = value"


def _checked(row: Instruction) -> Iterator[str]:
    """Yield the statements of a row that accesses memory at `addr`, with its checks."""
    has_offset = any(operand.name.startswith("imm") for operand in row.operands)
    yield "addr = x[s] + imm" if has_offset else "addr = x[s]"
    body = _Semantics(row).statements(row.semantics)
    commit = ["x[d] = value"] if row.unit is Unit.LOAD else []
    if row.unit in _VECTOR_UNITS:
        size = f"uint64({row.access_bytes})" if row.access_bytes else "vector_bytes"
        yield f"if addr & ({size} - uint64(1)) or addr >= sram_bytes:"
        yield f"    cause = uint64({int(Cause.VECTOR_FAULT)})"
        yield "    fault_value = addr"
    else:
        kind = _SCALAR_UNITS[row.unit]
        if row.access_bytes > 1:
            yield f"if addr & uint64({row.access_bytes - 1}):"
            yield f"    cause = uint64({int(Cause[f'{kind}_MISALIGNED'])})"
            yield "    fault_value = addr"
            yield "elif addr >= sram_bytes:"
        else:
            yield "if addr >= sram_bytes:"
        if row.access_bytes == 8:
            yield "    line = control_line(addr, control_row)"
            yield "    if line >= 0:"
            yield "        FLUSH"
            control = _Semantics(row, control=True).statements(row.semantics)
            yield from (f"        {line}" for line in (*control, *commit))
            yield "    else:"
            yield f"        cause = uint64({int(Cause[f'{kind}_ACCESS_FAULT'])})"
            yield "        fault_value = addr"
        else:
            yield f"    cause = uint64({int(Cause[f'{kind}_ACCESS_FAULT'])})"
            yield "    fault_value = addr"
    size = str(row.access_bytes or "int64(vector_bytes)")
    if row.unit in _STORE_UNITS:
        yield "else:"
        yield "    if wrong[0] != 0:"
        masked = any(operand.name == "ms" for operand in row.operands)
        yield (
            f"        store_masked(ecc, int64(addr), {size}, mask[imm])"
            if masked
            else f"        store_bytes(ecc, int64(addr), {size})"
        )
    else:
        yield f"elif wrong[0] != 0 and read_fails(ecc, addr, {size}):"
        yield f"    cause = uint64({int(Cause.HARDWARE_ERROR)})"
        yield "    fault_value = addr"
        yield "else:"
    yield from (f"    {line}" for line in (*body, *commit))


def _lane_checked(row: Instruction) -> Iterator[str]:
    """Yield the statements of a gather or scatter: no effect if a lane in its mask is bad."""
    names = {operand.name for operand in row.operands}
    lanes = "mask[imm]" if "ms" in names else "~uint64(0)"
    yield f"bad_lane = first_bad_lane(x[s], vector[t], {lanes}, sram_bytes)"
    yield "if bad_lane >= 0:"
    yield f"    cause = uint64({int(Cause.VECTOR_FAULT)})"
    yield "    fault_value = lane_address(x[s], vector[t], bad_lane)"
    if row.unit is Unit.VECTOR_GATHER:
        yield "elif wrong[0] != 0:"
        yield f"    bad_lane = first_failing_lane(ecc, x[s], vector[t], {lanes})"
        yield "    if bad_lane >= 0:"
        yield f"        cause = uint64({int(Cause.HARDWARE_ERROR)})"
        yield "        fault_value = lane_address(x[s], vector[t], bad_lane)"
        yield "if cause == NO_CAUSE:"
    else:
        yield "else:"
        yield "    if wrong[0] != 0:"
        yield f"        store_lanes(ecc, x[s], vector[t], {lanes})"
    yield from (f"    {line}" for line in _Semantics(row).statements(row.semantics))


_HEADER = '''"""Generated by d1_golden.node.interpreter from the ISA table; do not edit."""

import numpy as np
from numba import njit
from numpy import int64, uint8, uint16, uint32, uint64

from d1_golden.node.control_block import control_line, write_control
from d1_golden.node.ecc_accesses import (
    first_failing_lane,
    read_fails,
    store_bytes,
    store_lanes,
    store_masked,
)
from d1_golden.node.ecc_state import check_line
from d1_golden.node.packet_door import serve
from d1_golden.node.schedule import is_alone, take_turn
from d1_golden.numerics.dot_product import matrix_step

'''

_DECODE_HEAD = """

@njit(cache=True)
def record(op, d, s, t, imm):
    low = op | d << 8 | s << 16 | t << 24
    return uint64(low) | uint64(imm & 0xFFFFFFFF) << uint64(32)


@njit(cache=True)
def decode(word, vector_bytes, accumulators, parts, threads):
"""

_SET_CSR = """

@njit(cache=True)
def set_csr(csr, place, value):
    mask = CSR_WRITE_MASKS[place]
    csr[place] = (csr[place] & ~mask) | (value & mask)
    if place == MCYCLE or place == MINSTRET:
        csr[place] -= uint64(1)  # what is written replaces the count of the writing instruction
"""

_RUN_HEAD = """

@njit(cache=True, error_model="numpy")
def run(state, limit, retired):
    memory8, memory16, memory32 = state.memory8, state.memory16, state.memory32
    memory64, tag, decoded = state.memory64, state.tag, state.decoded
    control, control_row, counter = state.control, state.control_row, state.counter
    turn, waiting, semaphore = state.turn, state.waiting, state.semaphore
    barrier_arrived, cfp8_bf16 = state.barrier_arrived, state.cfp8_bf16
    vector_result, step_scratch = state.vector_result, state.step_scratch
    tile_a, tile_b = state.tile_a, state.tile_b
    ecc, wrong = state.ecc, state.ecc.wrong
    sram_bytes = uint64(memory8.size)
    vector_words = uint64(state.vector.shape[2])
    vector_bytes = uint64(8) * vector_words
    lanes = uint64(2) * vector_words
    accumulators = int64(state.accumulator.shape[1])
    parts = int64(state.accumulator.shape[2]) * 4 // int64(vector_bytes)
    threads = int64(waiting.size)
    fraction_bits = int64(control[IDENTITY_LINE, DOT_FRACTION_BITS])
    tracing = retired.shape[0] > 0

    rest = int64(limit)
    traced = 0
    while rest > 0:
        thread = take_turn(turn, control, waiting, semaphore)
        if thread < 0:
            break
        x, vector, accumulator = state.x[thread], state.vector[thread], state.accumulator[thread]
        csr, mask, own = state.csr[thread], state.mask[thread], control[THREAD_LINE + thread]
        pc = state.pc[thread]
        # The turn is over when nothing is left of it. It ends early at an instruction that may let
        # other threads go, or stops this one: that sets GOES_ON to 0.
        turn[GOES_ON] = 1
        first = rest
        if not is_alone(thread, control, waiting, semaphore):
            first = min(rest, turn[LEFT])
        left = first
        flushed = left  # `left` when the counters were last brought up to date, and ...
        trapped = int64(0)  # ... the instructions since then that trapped
        while left > 0 and turn[GOES_ON] != 0:
            cause = NO_CAUSE
            fault_value = uint64(0)
            next_pc = pc + uint64(4)
            op = int64(0)
            word = uint32(0)
            d = uint64(DISCARD)
            waits = False
            if pc & uint64(3):
                cause = INSTRUCTION_MISALIGNED
                fault_value = pc
            elif pc >= sram_bytes:
                cause = INSTRUCTION_ACCESS_FAULT
                fault_value = pc
            else:
                place = pc >> uint64(2)
                word = memory32[place]
                # Where bits were flipped the tag is another word.
                if tag[place] != word and wrong[0] != 0 and check_line(ecc, pc >> uint64(6)) != 0:
                    cause = HARDWARE_ERROR
                    fault_value = pc
                elif tag[place] != word:
                    tag[place] = word
                    decoded[place] = decode(
                        int64(word), int64(vector_bytes), accumulators, parts, threads
                    )
                fields = decoded[place] if cause == NO_CAUSE else uint64(0)
                op = int64(fields & uint64(0xFF))
                d = fields >> uint64(8) & uint64(0xFF)
                s = fields >> uint64(16) & uint64(0xFF)
                t = fields >> uint64(24) & uint64(0xFF)
                imm = uint64(int64(fields) >> int64(32))
                if op == 0 and cause == NO_CAUSE:
                    cause = ILLEGAL_INSTRUCTION
                    fault_value = uint64(word)

"""

_FLUSH = """
executed = uint64(flushed - left)
csr[MCYCLE] += executed
csr[MINSTRET] += executed - uint64(trapped)
own[CYCLES] += executed
counter[COUNTER_CYCLES] += executed
counter[INSTRUCTIONS] += executed - uint64(trapped)
counter[INSTRUCTIONS_0 + thread] += executed - uint64(trapped)
flushed = left
trapped = 0
""".strip()

_RUN_TAIL = """
            if waits:
                break
            left -= 1
            if cause != NO_CAUSE:
                trapped += 1
                if csr[MTVEC] == uint64(0) or cause == VECTOR_FAULT or cause == HARDWARE_ERROR:
                    own[STATUS] = HALTED if cause == ENVIRONMENT_CALL else FAULTED
                    own[CAUSE] = cause
                    own[FAULT_PC] = pc
                    own[FAULT_VALUE] = fault_value
                    turn[GOES_ON] = 0
                else:
                    csr[MEPC] = pc & ~uint64(3)
                    csr[MCAUSE] = cause
                    csr[MTVAL] = fault_value
                    csr[MSTATUS] = MSTATUS_RESET | (csr[MSTATUS] & uint64(MIE)) << uint64(4)
                    pc = csr[MTVEC]
                continue
            if tracing:
                writes = WRITES_X[op] and d != uint64(DISCARD)
                retired[traced, 0] = pc
                retired[traced, 1] = uint64(word) | uint64(thread) << uint64(48)
                retired[traced, 2] = uint64(0)
                if writes:
                    retired[traced, 1] |= d << uint64(32) | uint64(1) << uint64(40)
                    retired[traced, 2] = x[d]
                traced += 1
            pc = next_pc
        state.pc[thread] = pc
        turn[LEFT] = turn[LEFT] - (first - left) if turn[GOES_ON] else 0
        rest -= first - left
        FLUSH
    return int64(limit) - rest, traced
"""


_SERVE = """

@njit(cache=True)
def serve_packets(requests, replies, state):
    return serve(requests, replies, state)


@njit(cache=True)
def take_requests(requests, state):
    return take_outgoing(requests, state)


@njit(cache=True)
def deliver_replies(replies, state):
    accept_replies(replies, state)
"""


def _constants() -> Iterator[str]:
    values = {
        "DISCARD": DISCARD,
        "IDENTITY_LINE": IDENTITY_LINE,
        "LEFT": LEFT,
        "GOES_ON": GOES_ON,
        "THREAD_LINE": THREAD_LINE,
        "DOT_FRACTION_BITS": IdentityRegister.DOT_FRACTION_BITS,
        **{name: ThreadRegister[name] for name in ("STATUS", "CAUSE", "FAULT_PC", "FAULT_VALUE")},
        "CYCLES": ThreadRegister.CYCLES,
        "COUNTER_CYCLES": CounterRegister.CYCLES,
        "INSTRUCTIONS": CounterRegister.INSTRUCTIONS,
        "INSTRUCTIONS_0": CounterRegister.INSTRUCTIONS_0,
        "MATRIX_STEPS": CounterRegister.MATRIX_STEPS,
        **{name.upper(): _csr_place(name) for name in ("mstatus", "mtvec", "mepc", "mcause")},
        **{name.upper(): _csr_place(name) for name in ("mtval", "mcycle", "minstret")},
        "MIE": _MIE,
    }
    yield from (f"{name} = {int(value)}" for name, value in values.items())
    words = {
        "NO_CAUSE": 0xFF,
        "MSTATUS_RESET": MSTATUS_RESET,
        **{status.name: status for status in ThreadStatus},
        **{cause.name: cause for cause in Cause},
    }
    yield from (f"{name} = uint64({int(value)})" for name, value in words.items())
    yield f"CSR_WRITE_MASKS = np.array({state.csr_write_masks().tolist()}, np.uint64)"
    writes_x = [False] + [any(o.name == "rd" for o in row.operands) for row in INSTRUCTIONS]
    yield f"WRITES_X = np.array({writes_x})"


def _expand_flush(line: str) -> Iterator[str]:
    """Yield a line, or for the word FLUSH the statements that bring the counters up to date."""
    if line.strip() == "FLUSH":
        indent = line.removesuffix("FLUSH")
        yield from (indent + statement for statement in _FLUSH.splitlines())
    else:
        yield line


def _imports(text: str) -> Iterator[str]:
    """Yield the lines that import what a text uses of the vocabulary."""
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    for module in _VOCABULARIES:
        members = vars(module).items()
        names = sorted(n for n, member in members if n in used and hasattr(member, "py_func"))
        yield f"from {module.__name__} import {', '.join(names)}"


def interpreter_source() -> str:
    """Return the source of the generated module: `run` and `serve_packets`."""
    numbered = list(enumerate(INSTRUCTIONS, 1))
    lines = [
        *_constants(),
        "\n",
        *_csr_place_function(),
        _DECODE_HEAD.rstrip(),
        *(line for number, row in numbered for line in _decode_arm(number, row)),
        "    return uint64(0)",
        _SET_CSR.rstrip(),
        _RUN_HEAD.rstrip(),
        *(f"    {line}" for number, row in numbered for line in _execute_arm(number, row)),
        _RUN_TAIL.strip("\n"),
        _SERVE,
    ]
    text = "\n".join(lines)
    text = "\n".join([_HEADER.rstrip(), *_imports(text), "", text])
    return "\n".join(line for raw in text.splitlines() for line in _expand_flush(raw)) + "\n"


def _cache_key(source: str) -> str:
    """Return a hash of everything that the compiled interpreter depends on."""
    digest = hashlib.sha256(f"{numba.__version__}\n{source}".encode())
    modules: tuple[ModuleType, ...] = (*_VOCABULARIES, packet_door, transfer_state, transfer)
    modules += (
        control_block,
        ecc_accesses,
        ecc_state,
        ecc,
        schedule,
        state,
        memory_map,
        packet,
        params,
    )
    modules += (params, csr_module, convert, dot_product, elementary, formats, fp32, lanes, random)
    for module in modules:
        digest.update(Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()[:16]


@cache
def load_interpreter() -> ModuleType:
    """Return the generated module, from the user's cache directory if it is there.

    Members of the module
    ---------------------
    run(state, limit, retired) -> (executed, traced)
        Run the threads of a `NodeState` until none can go on or for `limit` instructions; what
        retires is recorded in `retired`, uint64[n, 3] (`d1_golden.retire`), unless that is empty.
        It must have room for `limit`.
    serve_packets(requests, replies, state) -> count
        See `packet_door.serve`.
    take_requests(requests, state) -> count, deliver_replies(replies, state)
        See `communication.take_outgoing` and `accept_replies`.
    """
    source = interpreter_source()
    name = f"d1_golden_interpreter_{_cache_key(source)}"
    folder = cache_root() / "golden"
    path = folder / f"{name}.py"
    if not path.exists():
        print("compiling the golden node: about 90 s, once", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        # Written aside and renamed, so that another process never sees half a file.
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False) as file:
            file.write(source)
        Path(file.name).replace(path)
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module
