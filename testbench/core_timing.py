"""Latencies of the core: the tables of docs/pipeline.md, and programs that show them.

A latency is the number of cycles from the execution of an instruction to that of one that uses its
result, with nothing else in the way; 1 is the next cycle. Vector instructions are executed when
they start, which is a cycle after they were handed to the empty queue of their thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from d1_golden.params import NodeParams
from d1_rtl.node.simd_unit import SimdOp, SimdUnit

__all__ = [
    "ACCUMULATOR_RESULTS",
    "ACCUMULATOR_USERS",
    "GATHER",
    "MASK_RESULTS",
    "MASK_USERS",
    "PREAMBLE",
    "RATES",
    "SCALAR_RESULTS",
    "SCALAR_USERS",
    "STORE_TO_LOAD",
    "VECTOR_RESULTS",
    "VECTOR_TO_SCALAR",
    "VECTOR_USERS",
    "Rate",
    "Result",
    "User",
    "latency_rows",
    "rate_rows",
]

#: A vector instruction with a scalar result, until a scalar instruction uses it.
VECTOR_TO_SCALAR = 6


@dataclass(frozen=True)
class Result:
    """An instruction whose result something waits for.

    Parameters
    ----------
    name
        In the table.
    code
        An example. Scalars are left in t0, vectors in v1, masks in m1; accumulators in acc1.
    cycles
        The latency, of the node's parameters where it depends on them.

    """

    name: str
    code: str
    cycles: Callable[[NodeParams], int]


@dataclass(frozen=True)
class User:
    """An instruction that uses a result, and what shows when it was executed.

    Parameters
    ----------
    code
        It reads the registers that a `Result` writes. Vector instructions leave v2 or m2.
    tail
        Code behind it whose last instruction is issued as soon as its result is there.
    cycles
        From the user's execution to that of the last instruction.

    """

    code: str
    tail: str = ""
    cycles: int = 0


def _fixed(cycles: int) -> Callable[[NodeParams], int]:
    return lambda _: cycles


def _passes(op: SimdOp) -> Callable[[NodeParams], int]:
    return lambda params: 1 + SimdUnit.latency_by_op(params).get(op, SimdUnit.LATENCY)


#: What the examples find; every scalar result is an address that any access may have.
PREAMBLE = """
    li a1, 0x4000
    li a2, 0x800000
    li t1, 0x4000
    li t2, 0x5000
    li t3, 0x8000
    li t4, 0x40000000004000
    li t5, 1
    sd t1, 0(a1)
    csrw mscratch, t1
    vbc.x v3, t1
    vbc.x v4, t2
    vbc.x v8, x0
    vmv.m.x m3, t2
    vmv.m.x m4, x0
    mzero acc3
"""

SCALAR_RESULTS = (
    Result("integer operation, `lui`, `auipc`", "xor t0, t1, x0", _fixed(1)),
    Result("CSR instruction", "csrrw t0, mscratch, t1", _fixed(1)),
    Result("scalar load", "ld t0, 0(a1)", _fixed(2)),
    Result("load from the control block", "ld t0, 32(a2)", _fixed(2)),
    Result("`mul*`", "mul t0, t1, t5", _fixed(3)),
    Result("`div*`, `rem*`, quotient of a bit", "remu t0, t1, t2", _fixed(5)),
    Result("`div*`, `rem*`, quotient of 40 bits", "remu t0, t4, t3", _fixed(5 + 39 // 2)),
    Result("`vmv.x.v`", "vmv.x.v t0, v3, 1", _fixed(VECTOR_TO_SCALAR)),
    Result("`vmv.x.m`", "vmv.x.m t0, m4", _fixed(VECTOR_TO_SCALAR)),
)
#: Cycles from the execution of a gather whose lanes are in one line until it is done.
GATHER = 7
SCALAR_USERS = {
    "integer rs1": User("addi a3, t0, 1"),
    "integer rs2": User("sub a3, t1, t0"),
    "overwritten": User("addi t0, t1, 8"),
    "branch": User("beq t0, a1, 4"),
    "multiplication": User("mul a3, t1, t0"),
    "CSR": User("csrrs a3, mscratch, t0"),
    "load address": User("ld a3, 0(t0)"),
    "store address": User("sd t1, 0(t0)"),
    "store data": User("sd t0, 64(a1)"),
    "vector address": User("vld v2, 0(t0)"),
    "vector store address": User("vst v8, 0(t0)"),
    "matrix address": User("mmul.bf16.vm acc1, v3, 0(t0)"),
    "lanes": User("vbc.x v2, t0"),
    "mask": User("vmv.m.x m2, t0"),
    "gather base": User("vgather v2, (t0), v8", "", GATHER),
}

VECTOR_RESULTS = (
    Result("`vld`", "vld v1, 0(a1)", _fixed(1)),
    Result("`vldb`", "vldb v1, 4(a1)", _fixed(1)),
    Result("`vld.m`", "vld.m v1, (a1), m3", _fixed(1)),
    Result("`mrd`", "mrd v1, acc3, 0", _fixed(3)),
    Result("`vcvt` to FP32", "vcvt.f32.bf16 v1, v3, 0", _fixed(3)),
    Result("`vcvt` from FP32", "vcvt.bf16.f32 v1, v3, 0", _fixed(3)),
    Result("moves", "vshuf v1, v3, v8", _fixed(3)),
    Result("`vsel`", "vsel v1, v3, v4, m3", _fixed(3)),
    Result("`vbc.x`", "vbc.x v1, t1", _fixed(3)),
    Result("FP32 lanes", "vfadd.f32 v1, v3, v4", _fixed(5)),
    Result("fused multiply-add", "vfmadd.f32 v1, v3, v4", _fixed(5)),
    Result("integer lanes", "vmul.i32 v1, v3, v4", _fixed(5)),
    Result("conversions of lanes", "vcvt.i32.f32 v1, v3", _fixed(5)),
    Result("`vfrcp.f32`", "vfrcp.f32 v1, v3", _passes(SimdOp.VFRCP_F32)),
    Result("`vfrsqrt.f32`", "vfrsqrt.f32 v1, v3", _passes(SimdOp.VFRSQRT_F32)),
    Result("`vfexp2.f32`", "vfexp2.f32 v1, v3", _passes(SimdOp.VFEXP2_F32)),
    Result("`vfredsum.f32`", "vfredsum.f32 v1, v3", _passes(SimdOp.VFREDSUM_F32)),
    Result("other reductions", "vredmaxu.i32 v1, v3", _passes(SimdOp.VREDMAXU_I32)),
)


def _to_scalar(code: str, cycles: int) -> User:
    """Return a user with its result in v2 after some cycles, from where it goes to a scalar."""
    tail = "vmv.x.v t0, v2, 0\naddi a3, t0, 1"
    return User(code, tail, cycles + VECTOR_TO_SCALAR)


def _matrix_to_scalar(code: str, cycles: int) -> User:
    """Return a user with its result in acc1 after some cycles, from where it goes to a scalar."""
    tail = "mrd v2, acc1, 0\nvmv.x.v t0, v2, 0\naddi a3, t0, 1"
    return User(code, tail, cycles + 3 + VECTOR_TO_SCALAR)


#: Cycles from a vector store to a scalar load of its thread.
STORE_TO_LOAD = 4


def _stored(code: str) -> User:
    """Return a user that stores, and a load that waits for it."""
    return User(code, "ld a3, 0(a1)", STORE_TO_LOAD)


VECTOR_USERS = {
    "to a scalar": User("vmv.x.v t0, v1, 0", "addi a3, t0, 1", VECTOR_TO_SCALAR),
    "move": _to_scalar("vshuf v2, v1, v8", 3),
    "indices": _to_scalar("vshuf v2, v3, v1", 3),
    "select": _to_scalar("vsel v2, v3, v1, m3", 3),
    "convert": _to_scalar("vcvt.f32.bf16 v2, v1, 0", 3),
    "convert part": _to_scalar("vcvt.bf16.f32 v1, v3, 0\nvshuf v2, v1, v8", 6),
    "first lane operand": _to_scalar("vfsub.f32 v2, v1, v3", 5),
    "second lane operand": _to_scalar("vadd.i32 v2, v3, v1", 5),
    "addend": _to_scalar("vfmadd.f32 v1, v3, v4\nvshuf v2, v1, v8", 8),
    "compare": User("vflt.f32 m2, v1, v3", "vmv.x.m t0, m2\naddi a3, t0, 1", 5 + VECTOR_TO_SCALAR),
    "masked load": _to_scalar("vld.m v1, (a1), m3\nvshuf v2, v1, v8", 4),
    "matrix operand": _matrix_to_scalar("mmul.bf16.vv acc1, v1, v3", 3),
    "second matrix operand": _matrix_to_scalar("mmul.bf16.vv acc1, v3, v1", 3),
    "operand beside memory": _matrix_to_scalar("mmul.bf16.vm acc1, v1, 0(a1)", 3),
    "accumulator": _matrix_to_scalar("mwr acc1, v1, 0", 3),
    "store": _stored("vst v1, 0(a1)"),
    "masked store": _stored("vst.m v1, (a1), m3"),
}

MASK_RESULTS = (
    Result("FP32 compare", "vfle.f32 m1, v3, v4", _fixed(5)),
    Result("integer compare", "vsltu.i32 m1, v3, v4", _fixed(5)),
    Result("mask operation", "mandn m1, m3, m4", _fixed(3)),
    Result("`vmv.m.x`", "vmv.m.x m1, t1", _fixed(3)),
)
MASK_USERS = {
    "to a scalar": User("vmv.x.m t0, m1", "addi a3, t0, 1", VECTOR_TO_SCALAR),
    "mask operation": User(
        "mxor m2, m3, m1", "vmv.x.m t0, m2\naddi a3, t0, 1", 3 + VECTOR_TO_SCALAR
    ),
    "select": _to_scalar("vsel v2, v3, v4, m1", 3),
    "masked load": _to_scalar("vld.m v2, (a1), m1", 1),
    "masked store": _stored("vst.m v3, (a1), m1"),
}

ACCUMULATOR_RESULTS = (
    Result("matrix step", "mmul.bf16.vv acc1, v3, v4", _fixed(3)),
    Result("matrix step from memory", "mmul.bf16.vm acc1, v3, 0(a1)", _fixed(3)),
    Result("CFP8 step", "mmul.cfp8.hi.vv acc1, v3, v4", _fixed(3)),
    Result("`mzero`", "mzero acc1", _fixed(3)),
    Result("`mwr`", "mwr acc1, v3, 0", _fixed(3)),
)
ACCUMULATOR_USERS = {
    "read-out": _to_scalar("mrd v2, acc1, 0", 3),
    "accumulating step": _matrix_to_scalar("mmac.bf16.vv acc1, v3, v4", 3),
    "accumulating step from memory": _matrix_to_scalar("mmac.bf16.vm acc1, v3, 0(a1)", 3),
}


@dataclass(frozen=True)
class Rate:
    """How many cycles instructions of a kind take when there are many independent ones.

    Parameters
    ----------
    name
        In the table.
    code
        A round of them. Each thread has lines of its own in a1 and a2, in different banks.
    alone
        Cycles of each when one thread executes them.
    together
        Cycles of each when four threads do, which is 1 over the rate of the node.
    rest
        Cycles that the end of a loop adds, where it needs what the round needs.

    """

    name: str
    code: str
    alone: float
    together: float
    rest: int = 0

    @property
    def instructions(self) -> int:
        """Of a round."""
        return self.code.count("\n") + 1


def _each(template: str, count: int = 16, registers: int = 8) -> str:
    """Return instructions with `{n}` from 0 round and round; {m} is 8 and {x} is 20 higher."""
    numbers = [n % registers for n in range(count)]
    return "\n".join(template.format(n=n, m=n + 8, x=n + 20) for n in numbers)


RATES = (
    Rate("additions, `and`, `or`, `xor`", _each("xor x{x}, a3, a3"), 0.25, 0.25, 1),
    Rate("shifts, compares, `sub`", _each("slli x{x}, a3, 1"), 0.5, 0.5, 1),
    Rate("branches that are not taken", _each("bne x0, x0, 4"), 1, 0.5, 1),
    Rate("integer operations, each on the one before", _each("addi t4, t4, 1"), 1, 0.5),
    Rate("CSR instructions, fences without work", _each("csrrw x{x}, mscratch, a3"), 1, 1, 2),
    Rate("scalar loads", _each("ld x{x}, 0(a1)"), 1, 1),
    Rate("stores of 64 bits", _each("sd a3, 0(a1)"), 1, 1),
    Rate("a load and a store, each", _each("ld x{x}, 0(a1)\nsd a3, 0(a2)"), 0.5, 0.5),
    Rate("stores of less, to one bank", _each("sw a3, 0(a1)"), 2, 2),
    Rate("accesses to the control block", _each("ld x{x}, 32(t1)"), 1, 1),
    Rate("`mul*`", _each("mul x{x}, a3, a3"), 1, 1),
    Rate("`div*`, `rem*`, quotient of a bit", _each("divu x{x}, x0, a3", 8), 6, 6),
    Rate("`vld`, `vldb`, `vld.m`", _each("vld v{m}, 0(a1)"), 1, 0.5),
    Rate("`vst`, `vst.m`", _each("vst v{m}, 0(a1)"), 1, 1),
    Rate("a `vld` and a `vst`, each", _each("vld v{m}, 0(a1)\nvst v0, 0(a2)"), 1, 0.5),
    Rate("lanes: FP32, integer, compares", _each("vfadd.f32 v{m}, v0, v1"), 1, 1),
    Rate("`vfmadd.f32` on five registers", _each("vfmadd.f32 v{m}, v0, v1", 15, 5), 1, 1),
    Rate("reductions of two passes", _each("vredsum.i32 v{m}, v0"), 2, 2),
    Rate("`vcvt`", _each("vcvt.bf16.f32 v{m}, v0, 0"), 1, 1),
    Rate("moves, mask operations", _each("vshuf v{m}, v0, v0"), 1, 1),
    Rate("`vmv.x.v`, `vmv.x.m`", _each("vmv.x.v x{x}, v0, 0"), 1, 1),
    Rate("`mrd`", _each("mrd v{m}, acc{n}, 0"), 1, 1),
    Rate("`mwr`", _each("mwr acc{n}, v0, 0"), 1, 1),
    Rate("matrix steps from registers", _each("mmac.bf16.vv acc{n}, v1, v2"), 1, 1),
    Rate("matrix steps from memory", _each("mmac.bf16.vm acc{n}, v1, 0(a1)"), 1, 1),
    Rate("steps on three accumulators", _each("mmac.bf16.vv acc{n}, v1, v2", 15, 3), 1, 1),
    Rate("steps on two accumulators", _each("mmac.bf16.vv acc{n}, v1, v2", 16, 2), 1.5, 1),
    Rate("steps on one accumulator", _each("mmac.bf16.vv acc0, v1, v2"), 3, 1),
    Rate(
        "a step and a lane operation, each",
        _each("mmac.bf16.vv acc{n}, v1, v2\nvfadd.f32 v{m}, v0, v1"),
        1,
        0.5,
    ),
    Rate("gathers and scatters of one line", _each("vgather v{m}, (a1), v0", 8), 9, 7, 1),
)


def latency_rows(params: NodeParams) -> Iterator[tuple[str, str, int]]:
    """Yield the table of latencies: result of, used by, cycles."""
    users = (
        (SCALAR_RESULTS, "any scalar operand, address, scalar operand of a vector instruction"),
        (VECTOR_RESULTS, "any vector instruction"),
        (MASK_RESULTS, "any instruction with masks"),
        (ACCUMULATOR_RESULTS, "`mrd`, accumulating step"),
    )
    for results, used_by in users:
        for result in results:
            yield result.name, used_by, result.cycles(params)


def rate_rows() -> Iterator[tuple[str, float, float]]:
    """Yield the table of throughput: instructions, cycles of each on one thread and on four."""
    for rate in RATES:
        yield rate.name, rate.alone, rate.together
