from collections.abc import Callable

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.node import GoldenNode
from d1_golden.packet import write_requests
from d1_golden.params import preset

#: Instructions that a directed program may take.
LIMIT = 10_000

Execute = Callable[..., GoldenNode]
StateArrays = Callable[[GoldenNode], list[np.ndarray]]


@pytest.fixture
def state_arrays() -> StateArrays:
    """Return a function that returns every array of a node's state."""

    def arrays(part: tuple) -> list[np.ndarray]:
        nested = ([x] if isinstance(x, np.ndarray) else arrays(x) for x in part)
        return [array for arrays_of_one in nested for array in arrays_of_one]

    return lambda node: arrays(node.state)


@pytest.fixture
def execute() -> Execute:
    """Return a function that assembles a program, runs it to its end and returns the node."""

    def run(
        text: str,
        *,
        node: GoldenNode | None = None,
        base: int = 0,
        arg: int = 0,
        limit: int = LIMIT,
    ) -> GoldenNode:
        node = node or GoldenNode(preset("tiny"))
        program = assemble(text, base)
        assert not len(node.exchange(write_requests(base, program.code)))
        node.start(base, arg)
        node.finish(limit)
        return node

    return run
