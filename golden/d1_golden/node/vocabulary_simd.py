"""The functions of the ISA table for vector arithmetic: one for each mnemonic, dots to underscores.

Operands are rows of `NodeState.vector`, 64-bit words of two FP32 or integer lanes each. Results are
written to the last argument, a scratch row, which is returned; a compare returns its mask as one
uint64 instead, bit n for lane n. Lanes are those of `d1_golden.numerics.lanes`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from d1_golden.numerics import elementary, fp32, lanes


def _of_one(row_function: Callable) -> Callable:
    """Return a function of one register for one of rows of uint32."""

    @njit
    def operation(source, result):
        row_function(source.view(np.uint32), result.view(np.uint32))
        return result

    return operation


def _of_two(row_function: Callable) -> Callable:
    """Return a function of two registers for one of rows of uint32."""

    @njit
    def operation(first, second, result):
        row_function(first.view(np.uint32), second.view(np.uint32), result.view(np.uint32))
        return result

    return operation


def _to_mask(row_function: Callable) -> Callable:
    """Return a compare of two registers for one of rows of uint32."""

    @njit
    def operation(first, second):
        return row_function(first.view(np.uint32), second.view(np.uint32))

    return operation


@njit
def vfmadd_f32(first, second, addend, result):
    """Return first x second + addend in every lane, rounded once."""
    p, q, c = first.view(np.uint32), second.view(np.uint32), addend.view(np.uint32)
    lane = result.view(np.uint32)
    for i in range(lane.size):
        lane[i] = fp32.fma(p[i], q[i], c[i])
    return result


@njit
def vfnmadd_f32(first, second, addend, result):
    """Return -(first x second) + addend in every lane, rounded once."""
    p, q, c = first.view(np.uint32), second.view(np.uint32), addend.view(np.uint32)
    lane = result.view(np.uint32)
    for i in range(lane.size):
        lane[i] = fp32.fma(fp32.negate(p[i]), q[i], c[i])
    return result


vfadd_f32 = _of_two(lanes.of_two(fp32.add))
vfsub_f32 = _of_two(lanes.of_two(fp32.sub))
vfmul_f32 = _of_two(lanes.of_two(fp32.mul))
vfmin_f32 = _of_two(lanes.of_two(fp32.minimum))
vfmax_f32 = _of_two(lanes.of_two(fp32.maximum))

vfrcp_f32 = _of_one(lanes.of_one(elementary.reciprocal))
vfrsqrt_f32 = _of_one(lanes.of_one(elementary.reciprocal_sqrt))
vfexp2_f32 = _of_one(lanes.of_one(elementary.exp2))

vfeq_f32 = _to_mask(lanes.compare(fp32.equal))
vflt_f32 = _to_mask(lanes.compare(fp32.less))
vfle_f32 = _to_mask(lanes.compare(fp32.less_equal))

vfredsum_f32 = _of_one(lanes.reduction(fp32.add))
vfredmin_f32 = _of_one(lanes.reduction(fp32.minimum))
vfredmax_f32 = _of_one(lanes.reduction(fp32.maximum))

vcvt_i32_f32 = _of_one(lanes.of_one(lanes.nearest_int32))
vcvt_f32_i32 = _of_one(lanes.of_one(fp32.from_int32))

vadd_i32 = _of_two(lanes.of_two(lanes.add))
vsub_i32 = _of_two(lanes.of_two(lanes.sub))
vmul_i32 = _of_two(lanes.of_two(lanes.mul))
vand_i32 = _of_two(lanes.of_two(lanes.bit_and))
vor_i32 = _of_two(lanes.of_two(lanes.bit_or))
vxor_i32 = _of_two(lanes.of_two(lanes.bit_xor))
vsll_i32 = _of_two(lanes.of_two(lanes.shift_left))
vsrl_i32 = _of_two(lanes.of_two(lanes.shift_right))
vsra_i32 = _of_two(lanes.of_two(lanes.shift_right_signed))
vmin_i32 = _of_two(lanes.of_two(lanes.minimum))
vmax_i32 = _of_two(lanes.of_two(lanes.maximum))
vminu_i32 = _of_two(lanes.of_two(lanes.minimum_unsigned))
vmaxu_i32 = _of_two(lanes.of_two(lanes.maximum_unsigned))

vseq_i32 = _to_mask(lanes.compare(lanes.equal))
vslt_i32 = _to_mask(lanes.compare(lanes.less))
vsltu_i32 = _to_mask(lanes.compare(lanes.less_unsigned))

vredsum_i32 = _of_one(lanes.reduction(lanes.add))
vredmin_i32 = _of_one(lanes.reduction(lanes.minimum))
vredmax_i32 = _of_one(lanes.reduction(lanes.maximum))
vredminu_i32 = _of_one(lanes.reduction(lanes.minimum_unsigned))
vredmaxu_i32 = _of_one(lanes.reduction(lanes.maximum_unsigned))
