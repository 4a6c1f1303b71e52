"""Measures the arithmetic and writes the tables of docs/numerics.md.

``python -m d1_golden.numerics.report [FILE]`` replaces what stands between the markers in the file,
by default docs/numerics.md under the working directory. Data are random with a fixed seed.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from d1_golden.numerics.dot_product import (
    MAX_TILE_FRACTION_BITS,
    PUBLISHED,
    DotProductParams,
    dot_block,
    matmul_reference,
)
from d1_golden.numerics.formats import BF16
from d1_golden.numerics.random import hash_counter

#: Lines of the document between which generated text stands.
BEGIN, END = "<!-- generated: {} -->", "<!-- end of generated: {} -->"

_SEED = 20250119
_EDGE = 64
_DEPTHS = (64, 256, 1024, 4096)
#: Wide enough that a cut below it never shows in FP32 on these data.
_WIDEST = 48

_Matrix = NDArray[np.float64]
_Codes = NDArray[np.uint16]


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> _Matrix:
    return rng.normal(size=shape)


def _mixed(rng: np.random.Generator, shape: tuple[int, int]) -> _Matrix:
    return rng.normal(size=shape) * 2.0 ** rng.integers(-8, 9, shape)


def _positive(rng: np.random.Generator, shape: tuple[int, int]) -> _Matrix:
    return np.abs(rng.normal(size=shape))


_DATA: dict[str, Callable[[np.random.Generator, tuple[int, int]], _Matrix]] = {
    "Normal: standard normal numbers": _normal,
    "Mixed magnitude: normal numbers, each times 2^-8 .. 2^8": _mixed,
    "Positive: absolute values of normal numbers, so that sums grow and cuts add up": _positive,
}


def _by_blocks(a: _Codes, b: _Codes, params: DotProductParams) -> _Matrix:
    """Return the product as chains of blocks of any parameters; K must be a multiple of terms."""
    rows, columns = a.shape[0], b.shape[1]
    acc = np.zeros(rows * columns, np.uint32)
    for k in range(0, a.shape[1], params.terms):
        left = np.repeat(a[:, k : k + params.terms], columns, axis=0)
        right = np.tile(b[k : k + params.terms].T, (rows, 1))
        acc = dot_block(acc, left, right, params)
    return acc.view(np.float32).astype(np.float64).reshape(rows, columns)


def _by_steps(a: _Codes, b: _Codes, fraction_bits: int) -> _Matrix:
    if fraction_bits > MAX_TILE_FRACTION_BITS:
        return _by_blocks(a, b, DotProductParams(fraction_bits=fraction_bits))
    return matmul_reference(a, b, fraction_bits).view(np.float32).astype(np.float64)


def _by_fp32_additions(a: _Codes, b: _Codes) -> _Matrix:
    """Return the product as chains of IEEE FP32 additions of exact products."""
    left, right = BF16.decode(a), BF16.decode(b)
    acc = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        acc += np.outer(left[:, k], right[k]).astype(np.float32)
    return acc.astype(np.float64)


def _rows() -> Iterator[tuple[str, Callable[[_Codes, _Codes], _Matrix]]]:
    for fraction_bits in (22, 23, 24, 25, 26, 27, 28):
        yield f"F = {fraction_bits}", partial(_by_steps, fraction_bits=fraction_bits)
    yield "nothing cut", partial(_by_steps, fraction_bits=_WIDEST)
    yield "IEEE FP32 additions", _by_fp32_additions
    for name in ("A100 BF16", "H100 BF16"):
        yield name, partial(_by_blocks, params=PUBLISHED[name])


def error_tables() -> str:
    """Return the error of matrix products against float64 as Markdown tables."""
    lines = []
    for number, (title, draw) in enumerate(_DATA.items()):
        operands = []
        for depth in _DEPTHS:
            rng = np.random.default_rng([_SEED, number, depth])
            a, b = (BF16.encode(draw(rng, s)) for s in ((_EDGE, depth), (depth, _EDGE)))
            operands.append((a, b, BF16.decode(a) @ BF16.decode(b)))
        lines += [f"**{title}**", ""]
        lines += ["| block | " + " | ".join(f"K = {depth}" for depth in _DEPTHS) + " |"]
        lines += ["|---|" + "---:|" * len(_DEPTHS)]
        for name, multiply in _rows():
            errors = [
                np.linalg.norm(multiply(a, b) - exact) / np.linalg.norm(exact) * 2**24
                for a, b, exact in operands
            ]
            lines.append(f"| {name} | " + " | ".join(f"{e:.2f}" for e in errors) + " |")
        lines.append("")
    return "\n".join(lines)


# Not cached: a cached function does not notice changes of what it calls in another file.
@njit
def _hash_many(key, rounds, out):
    for i in range(out.size):
        out[i] = hash_counter(np.uint64(i), np.uint64(key), rounds)


def round_table() -> str:
    """Return how well so many rounds of the hash separate successive lanes, as Markdown."""
    lines = ["| rounds | correlation | uneven pairs |", "|---:|---:|---:|"]
    count = 1 << 20
    words = np.empty(count, np.uint32)
    for rounds in range(4, 11):
        _hash_many(1, rounds, words)
        centred = words / 2**32 - 0.5
        correlations, pairs = [], []
        for distance in (1, 2, 4, 8, 16, 32, 64):
            correlations.append(np.mean(centred[distance:] * centred[:-distance]) * 12)
            cells = np.bincount(words[distance:] >> 27 << 5 | words[:-distance] >> 27)
            expected = (count - distance) / 1024
            chi_square = ((cells - expected) ** 2 / expected).sum()
            pairs.append((chi_square - 1023) / np.sqrt(2 * 1023))
        correlation = np.abs(correlations).max() * np.sqrt(count)
        lines.append(f"| {rounds} | {correlation:.1f} | {np.abs(pairs).max():.1f} |")
    return "\n".join([*lines, ""])


#: What is generated, by the name in its markers.
SECTIONS: dict[str, Callable[[], str]] = {"error": error_tables, "rounds": round_table}


def section(document: str, name: str) -> tuple[int, int]:
    """Return where the generated text of that name begins and ends in a document.

    Raises
    ------
    ValueError
        A marker is missing.
    """
    begin, end = BEGIN.format(name), END.format(name)
    if begin not in document or end not in document:
        raise ValueError(f"document must have the lines {begin!r} and {end!r}")
    return document.index(begin) + len(begin) + 1, document.index(end)


def main() -> None:
    """Rewrite the generated parts of the document named on the command line."""
    parser = argparse.ArgumentParser(description="Measure the arithmetic; write the tables.")
    parser.add_argument("file", nargs="?", type=Path, default=Path("docs/numerics.md"))
    path = parser.parse_args().file
    document = path.read_text()
    for name, generate in SECTIONS.items():
        begin, end = section(document, name)
        document = document[:begin] + "\n" + generate() + "\n" + document[end:]
    path.write_text(document)


if __name__ == "__main__":
    main()
