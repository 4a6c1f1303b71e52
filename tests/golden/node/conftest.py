from collections.abc import Callable

import pytest
from d1_golden.assembler import assemble
from d1_golden.node import GoldenNode
from d1_golden.packet import write_requests
from d1_golden.params import preset

#: Instructions that a directed program may take.
LIMIT = 10_000

Execute = Callable[..., GoldenNode]


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
