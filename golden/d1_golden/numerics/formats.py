"""Binary floating-point formats: what the bit patterns mean.

Every format is sign, exponent, mantissa from the top bit down, with gradual underflow: an exponent
field of zero means ``0.mantissa x 2^(1 - bias)``. Formats with specials give the all-ones exponent
to Inf and NaN as IEEE 754 does; in those without, it is an ordinary exponent.

Ref: Tesla Dojo Technology, "A Guide to Tesla's Configurable Floating Point Formats & Arithmetic",
tables of CFloat8 (no Inf, no NaN, denormals, 6-bit bias). It prints denormals as
``0.mmm x 2^(-bias)``, which would leave a hole below the smallest normal; the gradual form is meant
here.
"""

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Rounding(enum.IntEnum):
    """How a value between two neighbours of the destination is rounded.

    The first two are what the CSR `mround` can hold, and their codes are its values.
    """

    NEAREST_EVEN = 0
    #: Up in magnitude with a probability equal to the fraction that is cut off.
    STOCHASTIC = 1
    #: Toward zero.
    TRUNCATE = 2


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format of at most 32 bits.

    Parameters
    ----------
    exponent_bits, mantissa_bits : int
        Width of the fields; the mantissa without its hidden bit.
    bias : int
        Subtracted from the exponent field.
    has_specials : bool
        True: the all-ones exponent means Inf (mantissa zero) or NaN. False: it is an ordinary
        exponent, and whatever is too large becomes the largest magnitude.

    Raises
    ------
    ValueError
        A field has no bits, or the format is wider than 32 bits, or its values leave float64.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    has_specials: bool

    def __post_init__(self) -> None:
        if not 1 <= self.exponent_bits <= 8:
            raise ValueError(f"exponent_bits must be 1..8, not {self.exponent_bits!r}")
        if not 1 <= self.mantissa_bits <= 23:
            raise ValueError(f"mantissa_bits must be 1..23, not {self.mantissa_bits!r}")
        if not 0 <= self.bias <= 255:
            raise ValueError(f"bias must be 0..255, not {self.bias!r}")

    @property
    def width(self) -> int:
        """Width of a bit pattern in bits."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest numpy dtype that holds a bit pattern."""
        return np.dtype(np.uint8 if self.width <= 8 else np.uint16 if self.width <= 16 else "u4")

    @property
    def exponent_mask(self) -> int:
        """The largest exponent field: all ones."""
        return (1 << self.exponent_bits) - 1

    @property
    def min_exponent(self) -> int:
        """Exponent of the smallest normal number, and of all subnormal ones."""
        return 1 - self.bias

    @property
    def max_exponent(self) -> int:
        """Exponent of the largest finite number."""
        return self.exponent_mask - int(self.has_specials) - self.bias

    @property
    def largest_code(self) -> int:
        """Bit pattern of the largest finite number."""
        specials = int(self.has_specials) << self.mantissa_bits
        return (1 << (self.exponent_bits + self.mantissa_bits)) - 1 - specials

    @property
    def infinity_code(self) -> int:
        """Bit pattern of +Inf; only where `has_specials`."""
        self._require_specials()
        return self.exponent_mask << self.mantissa_bits

    @property
    def nan_code(self) -> int:
        """Bit pattern of the canonical NaN: positive, quiet, no payload; only `has_specials`."""
        return self.infinity_code | 1 << (self.mantissa_bits - 1)

    @property
    def largest(self) -> float:
        """The largest finite value."""
        return float(self.decode(self.largest_code))

    @property
    def smallest_normal(self) -> float:
        """The smallest positive normal value."""
        return float(np.ldexp(1.0, self.min_exponent))

    @property
    def smallest_subnormal(self) -> float:
        """The smallest positive value, which is the distance of all subnormal neighbours."""
        return float(np.ldexp(1.0, self.min_exponent - self.mantissa_bits))

    def decode(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Return the exact values of bit patterns.

        Parameters
        ----------
        codes : array of int
            Bit patterns; bits above `width` must be zero.
        """
        code = np.asarray(codes, dtype=np.int64)
        if code.size and not 0 <= code.min() <= code.max() < 1 << self.width:
            raise ValueError(f"codes must be of {self.width} bits, not {code.min()}..{code.max()}")
        mantissa = code & ((1 << self.mantissa_bits) - 1)
        exponent = code >> self.mantissa_bits & self.exponent_mask
        hidden = (exponent != 0).astype(np.int64) << self.mantissa_bits
        scale = np.maximum(exponent, 1) - self.bias - self.mantissa_bits
        value = np.ldexp((hidden | mantissa).astype(np.float64), scale)
        if self.has_specials:
            special = np.where(mantissa == 0, np.inf, np.nan)
            value = np.where(exponent == self.exponent_mask, special, value)
        return np.where(code >> (self.width - 1) != 0, -value, value)

    def encode(self, values: ArrayLike) -> NDArray[np.unsignedinteger]:
        """Return the bit patterns of values rounded to nearest even.

        Where the format has no specials, overflow, Inf and NaN become the largest magnitude with
        their sign. Zeros keep their sign; NaN is canonical where there is one.

        Parameters
        ----------
        values : array of float
            Values, exact in float64.
        """
        value = np.asarray(values, dtype=np.float64)
        finite = np.where(np.isfinite(value), np.abs(value), 0.0)
        # frexp gives zero the exponent 0, which may be above the smallest.
        exponent = np.where(finite == 0, self.min_exponent, np.frexp(finite)[1] - np.int64(1))
        quantum = np.maximum(exponent, self.min_exponent) - self.mantissa_bits
        # ldexp by a power of two is exact here, so rint is the only rounding.
        steps = np.rint(np.ldexp(finite, -quantum)).astype(np.int64)
        # The hidden bit, when there, adds the missing one to the exponent field; so does a carry.
        code = (quantum - self.min_exponent + self.mantissa_bits << self.mantissa_bits) + steps
        if self.has_specials:
            code = np.where(np.isinf(value) | (code > self.largest_code), self.infinity_code, code)
        else:
            code = np.where(np.isfinite(value), np.minimum(code, self.largest_code), code)
            code = np.where(np.isfinite(value), code, self.largest_code)
        code = code | np.signbit(value).astype(np.int64) << (self.width - 1)
        if self.has_specials:
            code = np.where(np.isnan(value), self.nan_code, code)
        return code.astype(self.dtype)

    def _require_specials(self) -> None:
        if not self.has_specials:
            raise ValueError(f"format must have specials for Inf and NaN, not {self!r}")


#: IEEE 754 binary32.
FP32 = FloatFormat(exponent_bits=8, mantissa_bits=23, bias=127, has_specials=True)
#: The upper half of binary32.
BF16 = FloatFormat(exponent_bits=8, mantissa_bits=7, bias=127, has_specials=True)

#: Biases an 8-bit configurable format can have: what fits 6 bits.
CFP8_BIASES = range(64)


class Cfp8Format(enum.IntEnum):
    """The two splits of an 8-bit configurable float: sign-exponent-mantissa."""

    CFP8_1_4_3 = 0
    CFP8_1_5_2 = 1

    @property
    def exponent_bits(self) -> int:
        """Width of the exponent field."""
        return 4 + self

    @property
    def mantissa_bits(self) -> int:
        """Width of the mantissa field."""
        return 3 - self


@dataclass(frozen=True)
class Cfp8Config:
    """A configured 8-bit float: the split and the exponent bias.

    Parameters
    ----------
    format : Cfp8Format
        Where the exponent ends.
    bias : int
        Exponent bias, 0..63.

    Raises
    ------
    ValueError
        The bias does not fit 6 bits.
    """

    format: Cfp8Format
    bias: int

    def __post_init__(self) -> None:
        if self.bias not in CFP8_BIASES:
            raise ValueError(f"CFP8 bias must be 0..63, not {self.bias!r}")

    @property
    def float_format(self) -> FloatFormat:
        """The same as a general descriptor."""
        return FloatFormat(
            exponent_bits=self.format.exponent_bits,
            mantissa_bits=self.format.mantissa_bits,
            bias=self.bias,
            has_specials=False,
        )
