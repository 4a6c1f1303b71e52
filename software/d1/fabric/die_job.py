"""The headline job: a product on every node of a die, checked to the bit and measured."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm

import ml_dtypes
import numpy as np
from d1_golden.memory_map import CounterRegister
from d1_golden.numerics import BF16, matmul_reference
from d1_golden.params import DieParams
from numpy.typing import NDArray

from d1.compiler.tile import Tile
from d1.fabric.distributed_matmul import live_grids, streamed_matmul
from d1.fabric.mesh import Mesh

__all__ = ["CLOCK_HZ", "DIE_K", "DieRun", "even_size", "peak_tflops", "run_product"]

#: The clock of the machine.
CLOCK_HZ = 2e9
#: The size that is summed over, unless another is asked for.
DIE_K = 512
#: Tiles of the result that a node computes, about.
_TILES = 306
_FLOP_PER_MAC = 2


@dataclass(frozen=True)
class DieRun:
    """What came of a product.

    Parameters
    ----------
    die
        Where it ran.
    m, n, k
        Its sizes.
    cycles
        From the operands in the nodes' SRAM to the result in the nodes' SRAM.
    different
        Elements of the result whose bits are not those of the reference.
    matrix_steps : uint64[rows, columns]
        Matrix steps of each node.
    packets : uint64[2, rows, columns, 5]
        What left each place's routers meanwhile; see `Mesh.link_packets`.

    """

    die: DieParams
    m: int
    n: int
    k: int
    cycles: int
    different: int
    matrix_steps: NDArray[np.uint64]
    packets: NDArray[np.uint64]

    @property
    def tflops(self) -> float:
        """Floating-point operations in 10^12 a second at the machine's clock."""
        flop = _FLOP_PER_MAC * self.m * self.n * self.k
        return flop / self.cycles * CLOCK_HZ / 1e12

    @property
    def utilisation(self) -> NDArray[np.float64]:
        """Share of the cycles in which each node began a matrix step; by row and column."""
        return self.matrix_steps / self.cycles

    @property
    def link_load(self) -> NDArray[np.float64]:
        """Packets a cycle of each output; as `packets`."""
        return self.packets / self.cycles

    @property
    def idle_nodes(self) -> list[tuple[int, int]]:
        """Live nodes that had nothing to multiply."""
        return [(c, r) for c, r in self.die.live_nodes if not self.matrix_steps[r - 1, c - 1]]


class _Observer:
    """Sums up what counters count between the first and the second call, the third and the ..."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._before: tuple[NDArray[np.uint64], NDArray[np.uint64]] | None = None
        self.matrix_steps, self.packets = (np.zeros_like(counts) for counts in self._counts())

    def __call__(self) -> None:
        counts = self._counts()
        if self._before is None:
            self._before = counts
            return
        self.matrix_steps += counts[0] - self._before[0]
        self.packets += counts[1] - self._before[1]
        self._before = None

    def _counts(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        die = self._mesh.params
        steps = np.zeros((die.rows, die.columns), np.uint64)
        for (column, row), counters in self._mesh.counters().items():
            steps[row - 1, column - 1] = counters[CounterRegister.MATRIX_STEPS]
        return steps, self._mesh.link_packets()


def peak_tflops(die: DieParams) -> float:
    """Return what all live nodes together could compute, in 10^12 operations a second."""
    macs = len(die.live_nodes) * die.node.macs_per_step
    return _FLOP_PER_MAC * macs * CLOCK_HZ / 1e12


def even_size(die: DieParams, tiles: int = _TILES) -> tuple[int, int]:
    """Return rows and columns of a result of which all live nodes get equally much.

    Parameters
    ----------
    die
        The die.
    tiles
        About how many tiles each node is to compute.

    """
    tile = Tile(die.node)
    grids = list(live_grids(die))
    width = lcm(*(len(columns) for _, columns in grids))

    def skew(across: int) -> int:
        """Return by how much the part of a node is longer than wide, or wider than long."""
        down = max(tiles // (width * across), 1)
        shapes = [(len(columns) * down, width * across // len(columns)) for _, columns in grids]
        return max(max(shape) - min(shape) for shape in shapes)

    # In a band of c columns a node gets c x down by width / c x across tiles.
    across = min(range(1, max(tiles // width, 1) + 1), key=skew)
    down = max(tiles // (width * across), 1)
    m_tiles = sum(len(rows) * len(columns) for rows, columns in grids) * down
    return m_tiles * tile.register_lines, width * across * tile.memory_lines


def run_product(mesh: Mesh, m: int, n: int, k: int, *, seed: int = 1) -> DieRun:
    """Multiply random BF16 matrices on all nodes of a mesh and check the result.

    Parameters
    ----------
    mesh
        The nodes.
    m, n, k
        Sizes.
    seed
        Of the matrices.

    Raises
    ------
    DeviceError
        A node did not do its part.

    """
    rng = np.random.default_rng(seed)
    a, b = (
        rng.standard_normal(shape, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
        for shape in ((m, k), (n, k))
    )
    observer = _Observer(mesh)
    result, cycles = streamed_matmul(mesh, a, b, BF16, observe=observer)
    reference = matmul_reference(a, b.T, mesh.params.node.dot_fraction_bits)
    different = int(np.count_nonzero(result.view(np.uint32) != reference))
    return DieRun(mesh.params, m, n, k, cycles, different, observer.matrix_steps, observer.packets)
