"""Places that are computed: whether a block of indices stays within a block of the tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from d1.compiler.computed_places import Words, evaluated, is_known, of_data
from d1.compiler.expressions import Expr, ordered

__all__ = ["moves_with"]

#: Points of a domain that are looked at, at least.
_POINTS = 4096


def moves_with(place: Expr, domain: Sequence[int], j: int, nodes: int, block: int) -> bool:
    """Return whether a step of a part of dimension `j` is a step of a block of words in a place.

    Then a node that counts the dimension from its own start counts words from its own block's. What
    is loaded may be anything: it is the same before and behind the step. All indices of the
    dimension are tried, with others at random.

    Parameters
    ----------
    place
        Words from the start of the tensor.
    domain, j
        The domain and the dimension that is split.
    nodes
        Parts.
    block
        Words of a part of the tensor.

    """
    if domain[j] % nodes or not is_known(place):
        return False
    rng = np.random.default_rng(len(ordered([place])))
    part = domain[j] // nodes
    points = max(part, _POINTS)
    own = np.arange(points) % part
    at = [rng.integers(0, size, points) for size in domain]
    loaded = {node: rng.integers(0, 4, points) for node in of_data(place)}

    def places(rank: int) -> Words:
        indices = [own + rank * part if n == j else index for n, index in enumerate(at)]
        return evaluated(place, indices, loaded)

    first = places(0)
    return all(np.all(places(r) - first == r * block) for r in range(nodes))
