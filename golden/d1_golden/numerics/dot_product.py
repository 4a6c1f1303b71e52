"""The fused dot-product block: a handful of exact products and an accumulator, rounded once.

    acc' = round(sum(align_truncate(t) for t in (acc, a[0] * b[0], ..., a[N-1] * b[N-1])))

- The exponent of a product is the sum of its operands' exponents; it is not normalised, so its
  significand lies in [0, 4). A subnormal has the exponent of the smallest normal and no hidden bit.
- A zero term has no exponent. ``E`` is the largest exponent of the other terms.
- Every magnitude is cut toward zero to `fraction_bits` bits below ``2^E``; their signed sum is
  exact; it is normalised and rounded once to the output format, subnormals included.
- A sum of exactly zero is +0; a sum that rounds to zero keeps its sign.
- A NaN operand, Inf times zero, or Inf of both signs gives the canonical NaN 0x7FC00000; otherwise
  any Inf gives that Inf.

`dot_block` is the general form, `matrix_step` the same arithmetic for a tile at simulation speed.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from d1_golden.numerics.formats import BF16, FP32, FloatFormat, Rounding

#: Products that the machine's block sums in one step.
TERMS = 4
#: The widest alignment for which a sum of four products and an accumulator fits 32 bits.
MAX_TILE_FRACTION_BITS = 26
#: The narrowest alignment that cuts no bit off the largest product.
MIN_TILE_FRACTION_BITS = 14

_FP32_NAN = FP32.nan_code
_FP32_INFINITY = FP32.infinity_code
_NEAREST_EVEN = int(Rounding.NEAREST_EVEN)


@dataclass(frozen=True, kw_only=True)
class DotProductParams:
    """What distinguishes one fused dot-product block from another.

    Parameters
    ----------
    terms : int
        Products of one block, 1..64.
    fraction_bits : int
        Bits kept below the largest term's exponent, 1..48.
    rounding : Rounding
        Of the result: `NEAREST_EVEN`, or `TRUNCATE`, which makes overflow the largest finite.
    output : FloatFormat
        Format of the result: 8 exponent bits as FP32 and at most 23 mantissa bits. A result is an
        FP32 bit pattern whatever its mantissa; the missing bits are zero.
    operand : FloatFormat
        Format of the factors, at most 16 bits wide.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """

    terms: int = TERMS
    fraction_bits: int
    rounding: Rounding = Rounding.NEAREST_EVEN
    output: FloatFormat = FP32
    operand: FloatFormat = BF16

    def __post_init__(self) -> None:
        if not 1 <= self.terms <= 64:
            raise ValueError(f"terms must be 1..64, not {self.terms!r}")
        if not 1 <= self.fraction_bits <= 48:
            raise ValueError(f"fraction_bits must be 1..48, not {self.fraction_bits!r}")
        if self.rounding not in (Rounding.NEAREST_EVEN, Rounding.TRUNCATE):
            raise ValueError(f"rounding must be nearest even or truncate, not {self.rounding!r}")
        out = self.output
        if (out.exponent_bits, out.bias, out.has_specials) != (8, 127, True):
            raise ValueError(f"output must have the exponents of FP32, not {out!r}")
        if self.operand.width > 16:
            raise ValueError(f"operand must be at most 16 bits wide, not {self.operand!r}")


def _published(
    terms: int,
    fraction_bits: int,
    operand: FloatFormat,
    output: FloatFormat = FP32,
) -> DotProductParams:
    return DotProductParams(
        terms=terms,
        fraction_bits=fraction_bits,
        rounding=Rounding.TRUNCATE,
        output=output,
        operand=operand,
    )


_FP16 = FloatFormat(exponent_bits=5, mantissa_bits=10, bias=15, has_specials=True)
_E5M2 = FloatFormat(exponent_bits=5, mantissa_bits=2, bias=15, has_specials=True)
_E8M13 = FloatFormat(exponent_bits=8, mantissa_bits=13, bias=127, has_specials=True)

#: Tensor cores as others measured them, in this block's terms (their NaN has other bits).
#: Ref: Xie et al., "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores",
#: arXiv 2511.10909, truncated fused dot-product-add.
PUBLISHED = {
    "V100 FP16": _published(4, 23, _FP16),
    "A100 FP16": _published(8, 24, _FP16),
    "A100 BF16": _published(8, 24, BF16),
    "H100 FP16": _published(16, 25, _FP16),
    "H100 BF16": _published(16, 25, BF16),
    "Ada FP8 E5M2": _published(16, 13, _E5M2, _E8M13),
    "H100 FP8 E5M2": _published(32, 13, _E5M2, _E8M13),
}


@njit(cache=True)
def _round_to_fp32(total, quantum, mantissa_bits, nearest_even):
    """Return the FP32 pattern of ``total x 2^quantum`` rounded to so many mantissa bits."""
    if total == 0:
        return np.int64(0)
    sign = np.int64(0x80000000) if total < 0 else np.int64(0)
    magnitude = abs(total)
    top = np.int64(0)
    for step in (32, 16, 8, 4, 2, 1):
        if magnitude >> (top + step) != 0:
            top += step
    exponent = max(quantum + top, -126)
    cut = exponent - mantissa_bits - quantum
    if cut > 0:
        cut = min(cut, 62)
        kept = magnitude >> cut
        rest = magnitude - (kept << cut)
        half = np.int64(1) << (cut - 1)
        if nearest_even and (rest > half or (rest == half and kept & 1 != 0)):
            kept += 1
    else:
        kept = magnitude << -cut
    code = ((exponent + 126) << mantissa_bits) + kept
    infinity = np.int64(255) << mantissa_bits
    if code >= infinity:
        code = infinity if nearest_even else infinity - 1
    return sign | code << (23 - mantissa_bits)


@njit(cache=True)
def _split(code, exponent_bits, mantissa_bits, bias, has_specials):
    """Return sign, exponent, significand, and the class: 0 finite, 1 Inf, 2 NaN."""
    mantissa = code & ((1 << mantissa_bits) - 1)
    field = code >> mantissa_bits & ((1 << exponent_bits) - 1)
    sign = code >> (mantissa_bits + exponent_bits) & 1
    kind = 0
    if has_specials and field == (1 << exponent_bits) - 1:
        kind = 1 if mantissa == 0 else 2
    if field == 0:
        field = np.int64(1)
    else:
        mantissa |= 1 << mantissa_bits
    return sign, field - bias, mantissa, kind


@njit(cache=True)
def _align(significand, left):
    """Shift left by `left`, or right by its negative, cutting toward zero."""
    if left >= 0:
        return significand << left
    return significand >> min(-left, 63)


@njit(cache=True)
def _block(acc, a, b, fraction_bits, nearest_even, out_mantissa, operand):
    """Return one block; `a` and `b` are its operands' codes, `operand` describes their format."""
    exponent_bits, mantissa_bits, bias, has_specials = operand
    sign, exponent, significand, kind = _split(np.int64(acc), 8, 23, 127, True)
    nan = kind == 2
    plus = kind == 1 and sign == 0
    minus = kind == 1 and sign == 1
    largest = np.int64(-10000)
    if significand != 0:
        largest = exponent
    for i in range(a.size):
        sa, ea, ma, ka = _split(np.int64(a[i]), exponent_bits, mantissa_bits, bias, has_specials)
        sb, eb, mb, kb = _split(np.int64(b[i]), exponent_bits, mantissa_bits, bias, has_specials)
        if ka != 0 or kb != 0:
            # The significand of an Inf has its hidden bit, so only a true zero is zero here.
            nan |= ka == 2 or kb == 2 or ma == 0 or mb == 0
            plus |= sa == sb
            minus |= sa != sb
        elif ma != 0 and mb != 0:
            largest = max(largest, ea + eb)
    if nan or (plus and minus):
        return np.int64(_FP32_NAN)
    if plus or minus:
        return np.int64(_FP32_INFINITY) | np.int64(minus) << 31

    total = _align(significand, fraction_bits - 23 - (largest - exponent))
    if sign != 0:
        total = -total
    for i in range(a.size):
        sa, ea, ma, _ = _split(np.int64(a[i]), exponent_bits, mantissa_bits, bias, has_specials)
        sb, eb, mb, _ = _split(np.int64(b[i]), exponent_bits, mantissa_bits, bias, has_specials)
        product = ma * mb
        if product != 0:
            left = fraction_bits - 2 * mantissa_bits - (largest - ea - eb)
            aligned = _align(product, left)
            total += aligned if sa == sb else -aligned
    return _round_to_fp32(total, largest - fraction_bits, out_mantissa, nearest_even)


@njit(cache=True)
def _blocks(acc, a, b, fraction_bits, nearest_even, out_mantissa, operand, out):
    for i in range(acc.size):
        out[i] = _block(acc[i], a[i], b[i], fraction_bits, nearest_even, out_mantissa, operand)


def dot_block(
    acc_bits: ArrayLike, a_bits: ArrayLike, b_bits: ArrayLike, params: DotProductParams
) -> NDArray[np.uint32]:
    """Return the results of many independent blocks.

    Parameters
    ----------
    acc_bits : uint32[n]
        FP32 accumulators.
    a_bits, b_bits : uint16[n, terms] or uint8[n, terms]
        Codes of the factors in the operand format.
    params : DotProductParams
        The block.

    Returns
    -------
    uint32[n]
        FP32 bit patterns.

    Raises
    ------
    ValueError
        Shapes do not agree with each other or with `params`.
    """
    acc = np.ascontiguousarray(acc_bits, dtype=np.uint32)
    a = np.ascontiguousarray(a_bits, dtype=params.operand.dtype)
    b = np.ascontiguousarray(b_bits, dtype=params.operand.dtype)
    if acc.ndim != 1 or a.shape != (acc.size, params.terms) or b.shape != a.shape:
        raise ValueError(
            f"shapes must be (n,), (n, {params.terms}), (n, {params.terms}), "
            f"not {acc.shape}, {a.shape}, {b.shape}"
        )
    out = np.empty_like(acc)
    form = params.operand
    operand = (form.exponent_bits, form.mantissa_bits, form.bias, form.has_specials)
    nearest_even = params.rounding == Rounding.NEAREST_EVEN
    mantissa_bits = params.output.mantissa_bits
    _blocks(acc, a, b, params.fraction_bits, nearest_even, mantissa_bits, operand, out)
    return out


# The fast form. A code is split once into a signed significand and an exponent. A zero gets an
# exponent so small that no product or accumulator with it can be the largest: -400 + 127 is below
# -252, the exponent of the smallest product. The rest is branchless over 32-bit lanes, in casts
# that spell out the width because the compiler otherwise computes in 64 bits.

_ZERO_EXPONENT = -400
_BF16_OPERAND = (BF16.exponent_bits, BF16.mantissa_bits, BF16.bias, BF16.has_specials)


@njit(cache=True)
def _signed_significand(code):
    """Return a BF16 number's significand, 8 bits and sign."""
    bits = np.int32(code)
    mantissa = np.int32(bits & np.int32(0x7F))
    magnitude = np.int32(mantissa | np.int32(0x80)) if bits & 0x7F80 != 0 else mantissa
    return np.int32(-magnitude) if bits & 0x8000 != 0 else magnitude


@njit(cache=True)
def _exponent(code):
    """Return a BF16 number's exponent, that of a zero far below all others."""
    bits = np.int32(code)
    field = np.int32((bits >> np.int32(7)) & np.int32(0xFF))
    unbiased = np.int32(max(field, np.int32(1)) - np.int32(127))
    return np.int32(_ZERO_EXPONENT) if bits & 0x7FFF == 0 else unbiased


@njit(cache=True)
def _is_special(code):
    return code & 0x7F80 == 0x7F80


@njit(cache=True)
def _aligned(product, distance):
    """Return a signed product cut toward zero by `distance` bits."""
    cut = np.uint32(min(distance, np.int32(31)))
    magnitude = np.int32(np.uint32(abs(product)) >> cut)
    return np.int32(-magnitude) if product < 0 else magnitude


@njit(cache=True)
def _fast_block(acc, p0, e0, p1, e1, p2, e2, p3, e3, fraction_bits, acc_left, acc_right):
    """Return one block of finite products, given with their exponents; `acc` may be special."""
    bits = np.int32(acc)
    field = np.int32((bits >> np.int32(23)) & np.int32(0xFF))
    mantissa = np.int32(bits & np.int32(0x7FFFFF))
    significand = np.int32(mantissa | np.int32(0x800000)) if field != 0 else mantissa
    unbiased = np.int32(max(field, np.int32(1)) - np.int32(127))
    exponent = np.int32(_ZERO_EXPONENT) if significand == 0 else unbiased
    signed = np.int32(-significand) if bits < 0 else significand

    largest = max(max(max(e0, e1), max(e2, e3)), exponent)
    total = np.int32(
        _aligned(p0, np.int32(largest - e0))
        + _aligned(p1, np.int32(largest - e1))
        + _aligned(p2, np.int32(largest - e2))
        + _aligned(p3, np.int32(largest - e3))
        + _aligned(np.int32(signed << acc_left), np.int32(largest - exponent + acc_right))
    )
    # Both factors are exact in float64, and so is their product: one rounding, to FP32.
    scale = np.int64(np.int64(largest - fraction_bits + 1023) << np.int64(52)).view(np.float64)
    rounded = np.float32(np.float64(total) * scale).view(np.int32)
    special = np.int32(_FP32_NAN) if mantissa != 0 else bits
    return np.uint32(special if field == 255 else rounded)


@njit(cache=True)
def _split_columns(b, columns, split):
    """Split the operands ``b[column, term]`` into ``split[significand or exponent, term, column]``.

    Return whether any is special.
    """
    special = False
    for term in range(TERMS):
        for column in range(columns):
            code = b[column * TERMS + term]
            split[term * columns + column] = _signed_significand(code)
            split[(TERMS + term) * columns + column] = _exponent(code)
            special |= _is_special(code)
    return special


@njit(cache=True)
def _fast_row(acc, a, split, columns, first, fraction_bits):
    """Accumulate one row of blocks in place: `a` holds its four codes."""
    left = np.int32(fraction_bits - 14)
    s0 = np.int32(_signed_significand(a[0]) << left)
    s1 = np.int32(_signed_significand(a[1]) << left)
    s2 = np.int32(_signed_significand(a[2]) << left)
    s3 = np.int32(_signed_significand(a[3]) << left)
    x0, x1, x2, x3 = _exponent(a[0]), _exponent(a[1]), _exponent(a[2]), _exponent(a[3])
    acc_left = np.int32(max(fraction_bits - 23, 0))
    acc_right = np.int32(max(23 - fraction_bits, 0))
    keep = np.uint32(0) if first else np.uint32(0xFFFFFFFF)
    for j in range(columns):
        acc[j] = _fast_block(
            acc[j] & keep,
            np.int32(s0 * split[j]),
            np.int32(x0 + split[4 * columns + j]),
            np.int32(s1 * split[columns + j]),
            np.int32(x1 + split[5 * columns + j]),
            np.int32(s2 * split[2 * columns + j]),
            np.int32(x2 + split[6 * columns + j]),
            np.int32(s3 * split[3 * columns + j]),
            np.int32(x3 + split[7 * columns + j]),
            np.int32(fraction_bits),
            acc_left,
            acc_right,
        )


@njit(cache=True)
def _general_row(acc, a, b, columns, first, fraction_bits):
    """Accumulate one row of blocks in place with operands of any kind."""
    for j in range(columns):
        start = np.uint32(0) if first else acc[j]
        terms = b[j * TERMS : (j + 1) * TERMS]
        acc[j] = _block(start, a, terms, fraction_bits, True, 23, _BF16_OPERAND)


@njit(cache=True)
def matrix_step(
    acc: NDArray[np.uint32],
    a: NDArray[np.uint16],
    b: NDArray[np.uint16],
    first: bool,
    fraction_bits: int,
    scratch: NDArray[np.int32],
) -> None:
    """Accumulate ``a @ b.T`` of one tile into `acc`: one block for each of its elements.

    Compiled, allocates nothing, and checks nothing: it is the instruction-set simulator's inner
    loop. Equals `dot_block` with nearest even and FP32 output.

    Parameters
    ----------
    acc : uint32[R * C]
        FP32 accumulators, row after row; updated in place.
    a : uint16[R * 4]
        BF16 left operand, row after row.
    b : uint16[C * 4]
        BF16 right operand, transposed: the four terms of column 0, then of column 1, ...
    first : bool
        True: the accumulator's term is +0 instead of what `acc` holds.
    fraction_bits : int
        F, 14..26.
    scratch : int32[8 * C]
        Working memory; contents before and after do not matter.
    """
    rows = a.size // TERMS
    columns = b.size // TERMS
    special = _split_columns(b, columns, scratch)
    for i in range(a.size):
        special |= _is_special(a[i])
    for row in range(rows):
        row_acc = acc[row * columns : (row + 1) * columns]
        row_a = a[row * TERMS : (row + 1) * TERMS]
        if special:
            _general_row(row_acc, row_a, b, columns, first, fraction_bits)
        else:
            _fast_row(row_acc, row_a, scratch, columns, first, fraction_bits)


@njit(cache=True)
def _matmul(acc, a, b, fraction_bits, scratch):
    """Accumulate with `a` as ``[step, row, term]`` and `b` as ``[step, column, term]``."""
    for step in range(a.shape[0]):
        matrix_step(acc, a[step].ravel(), b[step].ravel(), False, fraction_bits, scratch)


def matmul_reference(a: ArrayLike, b: ArrayLike, fraction_bits: int) -> NDArray[np.uint32]:
    """Return the product of two matrices as the machine computes it, bit for bit.

    Every element starts at +0 and takes the terms of K four at a time, in order; K is padded to a
    multiple of four with +0.

    Parameters
    ----------
    a : uint16[M, K]
        BF16 codes.
    b : uint16[K, N]
        BF16 codes.
    fraction_bits : int
        F, 14..26.

    Returns
    -------
    uint32[M, N]
        FP32 bit patterns.

    Raises
    ------
    TypeError
        An operand is not uint16.
    ValueError
        Shapes do not fit each other, or F is out of range.
    """
    a, b = np.asarray(a), np.asarray(b)
    for name, operand in (("a", a), ("b", b)):
        if operand.dtype != np.uint16:
            raise TypeError(f"{name} must be of uint16, the codes of BF16, not {operand.dtype}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"shapes must be (M, K) and (K, N), not {a.shape} and {b.shape}")
    if not MIN_TILE_FRACTION_BITS <= fraction_bits <= MAX_TILE_FRACTION_BITS:
        raise ValueError(f"fraction_bits must be 14..26, not {fraction_bits!r}")
    (rows, terms), columns = a.shape, b.shape[1]
    steps = -(-terms // TERMS)
    padding = steps * TERMS - terms
    a = np.pad(a, ((0, 0), (0, padding))).reshape(rows, steps, TERMS).transpose(1, 0, 2)
    b = np.pad(b.T, ((0, 0), (0, padding))).reshape(columns, steps, TERMS).transpose(1, 0, 2)
    acc = np.zeros(rows * columns, np.uint32)
    scratch = np.empty(2 * TERMS * columns, np.int32)
    _matmul(acc, np.ascontiguousarray(a), np.ascontiguousarray(b), fraction_bits, scratch)
    return acc.reshape(rows, columns)
