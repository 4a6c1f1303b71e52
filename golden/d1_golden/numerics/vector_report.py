"""Measures the elementary functions and writes the tables of docs/vector_numerics.md.

``python -m d1_golden.numerics.vector_report [FILE]`` replaces what stands between the markers in
the file, by default docs/vector_numerics.md under the working directory. It takes some minutes,
because it tries every FP32 number there is.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from d1_golden.numerics.elementary import (
    EXP2,
    RECIPROCAL,
    RECIPROCAL_SQRT,
    SEQUENCES,
    Sequence,
    exp2,
    reciprocal,
    reciprocal_sqrt,
)
from d1_golden.numerics.formats import FP32
from d1_golden.numerics.report import section


# None of these is cached: a cached function does not notice changes of what it calls in another
# file.
@njit
def _reciprocal_reference(x):
    return 1 / x


@njit
def _reciprocal_sqrt_reference(x):
    return 1 / math.sqrt(x)


@njit
def _exp2_reference(x):
    return math.exp2(x)


@njit
def _last_place(exact):
    """Return the distance of FP32 numbers around a positive float64 number."""
    field = np.float64(exact).view(np.int64) >> 52
    limited = min(max(field, np.int64(1023 - 126)), np.int64(1023 + 127))
    return np.int64((limited - 23) << 52).view(np.float64)


@njit
def _measure(function, reference, first, last, stride, rising):
    """Return what `Errors` has, for the bit patterns first, first + stride ... below last."""
    worst, worst_at = -1.0, first
    misrounded, reversals = 0, 0
    before = -np.inf if rising else np.inf
    for bits in range(first, last, stride):
        word = np.uint32(bits)
        got = np.uint32(function(word))
        exact = abs(reference(np.float64(word.view(np.float32))))
        result = np.float64(got.view(np.float32))
        nearest = np.float32(exact)
        misrounded += int(abs(result) != nearest)
        reversals += int(result < before if rising else result > before)
        before = result
        # An Inf that is right has no error; a wrong one has an infinite error.
        error = 0.0
        if abs(result) != nearest:
            error = abs(abs(result) - exact) / _last_place(exact)
        elif nearest != np.inf:
            error = abs(np.float64(nearest) - exact) / _last_place(exact)
        if error > worst:
            worst, worst_at = error, bits
    return worst, worst_at, misrounded, reversals


@dataclass(frozen=True)
class Errors:
    """What was measured of a function over some operands.

    Parameters
    ----------
    count : int
        Operands.
    worst_ulp : float
        The largest error, in units of the last place of the exact result.
    worst_at : int
        Bit pattern of an operand that has it.
    misrounded : int
        Operands whose result is not the FP32 number nearest to the exact one.
    reversals : int
        Operands whose result compares to that of the one before as the function's order forbids.
    """

    count: int
    worst_ulp: float
    worst_at: int
    misrounded: int
    reversals: int


@dataclass(frozen=True)
class Domain:
    """FP32 numbers of one sign that lie next to each other.

    Parameters
    ----------
    title : str
        What they are, in words.
    first, last : int
        Bit patterns; the last is not among them.
    """

    title: str
    first: int
    last: int


def _pattern(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


_LEAST_NORMAL = 1 << FP32.mantissa_bits
_SUBNORMALS = Domain("subnormal operands", 1, _LEAST_NORMAL)

#: What is measured of each function. Of the reciprocals, other operands than these have the same
#: significands with another scale, which is exact where the result is normal.
DOMAINS: dict[str, tuple[Domain, ...]] = {
    RECIPROCAL.name: (
        Domain("[1, 2)", _pattern(1.0), _pattern(2.0)),
        Domain("[2^126, 2^128): subnormal results", _pattern(2.0**126), FP32.infinity_code),
        _SUBNORMALS,
    ),
    RECIPROCAL_SQRT.name: (
        Domain("[1, 4)", _pattern(1.0), _pattern(4.0)),
        _SUBNORMALS,
    ),
    EXP2.name: (
        Domain("[1, 2)", _pattern(1.0), _pattern(2.0)),
        Domain("(-2, -1]", _pattern(-1.0), _pattern(-2.0)),
        Domain("(0, 128): all that give no Inf", 1, _pattern(128.0)),
        Domain("[-126, 0): normal results", _pattern(-0.0) + 1, _pattern(-126.0) + 1),
        Domain("(-150, -126): subnormal results", _pattern(-126.0) + 1, _pattern(-150.0)),
    ),
}

_FUNCTIONS: dict[str, tuple[Any, Any]] = {
    RECIPROCAL.name: (reciprocal, _reciprocal_reference),
    RECIPROCAL_SQRT.name: (reciprocal_sqrt, _reciprocal_sqrt_reference),
    EXP2.name: (exp2, _exp2_reference),
}


def measure(sequence: Sequence, domain: Domain, stride: int = 1) -> Errors:
    """Compare a function with float64 on every `stride`-th operand of a domain."""
    function, reference = _FUNCTIONS[sequence.name]
    # Bit patterns of negative numbers rise as the numbers fall.
    rising = (sequence is EXP2) == (domain.first < 1 << 31)
    measured = _measure(function, reference, domain.first, domain.last, stride, rising)
    return Errors(len(range(domain.first, domain.last, stride)), *measured)


def step_tables() -> str:
    """Return the steps of every function as Markdown tables."""
    lines = []
    for sequence in SEQUENCES:
        lines += [f"**{sequence.name}**", "", "| step | |", "|---:|---|"]
        lines += [f"| {i} | `{step}` |" for i, step in enumerate(sequence.steps, 1)]
        lines.append("")
    return "\n".join(lines)


def _bits(coefficients: np.ndarray) -> tuple[str, int]:
    """Return the range of some FP32 coefficients, and the bits that hold them in fixed point."""
    values = coefficients.view(np.float32).astype(np.float64)
    fraction = next(n for n in range(64) if np.all(values * 2.0**n == np.rint(values * 2.0**n)))
    scaled = np.abs(values * 2.0**fraction).max()
    signed = int(values.min() < 0 < values.max())
    return f"{values.min():.4g} .. {values.max():.4g}", int(scaled).bit_length() + signed


def coefficient_table() -> str:
    """Return the sizes of the tables as Markdown."""
    lines = ["| function | coefficient | rows | range | bits |", "|---|---|---:|---|---:|"]
    for sequence in SEQUENCES:
        rows = sequence.table[:64]
        for i, operand in enumerate(sequence.coefficients):
            extent, bits = _bits(rows[:, i].copy())
            count = len(sequence.table)
            lines.append(f"| {sequence.name} | {operand.value} | {count} | {extent} | {bits} |")
    return "\n".join([*lines, ""])


def error_row(sequence: Sequence, domain: Domain, errors: Errors) -> str:
    """Return what was measured of a function over a domain as a row of a Markdown table."""
    return (
        f"| {sequence.name} | {domain.title} | {errors.count:,} | {errors.worst_ulp:.4f} "
        f"| `{errors.worst_at:08x}` | {errors.misrounded / errors.count:.3%} "
        f"| {errors.reversals:,} |"
    )


def error_table() -> str:
    """Return the errors of every function over all its operands as a Markdown table."""
    lines = [
        "| function | operands | how many | largest error, ulp | at | not nearest | reversals |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    for sequence in SEQUENCES:
        for domain in DOMAINS[sequence.name]:
            lines.append(error_row(sequence, domain, measure(sequence, domain)))
    return "\n".join([*lines, ""])


#: What is generated, by the name in its markers.
SECTIONS: dict[str, Callable[[], str]] = {
    "steps": step_tables,
    "coefficients": coefficient_table,
    "errors": error_table,
}


def main() -> None:
    """Rewrite the generated parts of the document named on the command line."""
    parser = argparse.ArgumentParser(description="Measure the functions; write the tables.")
    parser.add_argument("file", nargs="?", type=Path, default=Path("docs/vector_numerics.md"))
    path = parser.parse_args().file
    document = path.read_text()
    for name, generate in SECTIONS.items():
        begin, end = section(document, name)
        document = document[:begin] + "\n" + generate() + "\n" + document[end:]
    path.write_text(document)


if __name__ == "__main__":
    main()
