# amaranth: UnusedElaboratable=no
"""A simulated node beside the golden one, both reached through packets only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from d1_golden.assembler import Program, assemble
from d1_golden.memory_map import (
    Command,
    EccRegister,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.node import GoldenNode
from d1_golden.node.trace import explain_difference
from d1_golden.packet import Opcode, read_requests, write_requests
from d1_golden.params import LINE_BYTES, NodeParams, preset
from d1_rtl.node.node import Node
from d1_rtl.sim.node_link import NodeLink
from numpy.typing import NDArray

_EXCHANGE_CYCLES = 100_000
_RUN_CYCLES = 200_000
#: Cycles after which an injection is done, scrubbing or not.
_INJECTION_CYCLES = 36


@dataclass(frozen=True)
class Outcome:
    """How a thread ended and what it retired."""

    status: ThreadStatus
    cause: int
    pc: int
    value: int
    cycles: int
    retired: NDArray[np.void]


class Machine:
    """An RTL node and a golden node that get the same packets.

    Programs run on both; `run` fails when they retire differently or end differently.
    """

    def __init__(self, params: NodeParams, *, coverage: bool = False) -> None:
        self.params = params
        self.link = NodeLink(
            Node(params),
            name=f"node_{params.name}",
            design_key=repr(params),
            coverage=coverage,
            retire_capacity=1 << 16,
        )
        self.golden = GoldenNode(params)

    def reset(self) -> None:
        """Make registers and SRAM of both nodes zero, as far as programs can tell."""
        self.link.reset()
        self.golden.reset()
        self.write(0, bytes(1 << 15))
        clear = [f"li x{n}, 0" for n in range(1, 32)]
        clear += [f"vld v{n}, 0(x0)" for n in range(32)]
        clear += [f"mzero acc{n}" for n in range(self.params.accumulators)]
        base = 1 << 14
        program = assemble("\n".join([*clear, "ecall"]), base)
        self.write(base, program.code)
        assert self.run(base).status is ThreadStatus.HALTED
        self.write(base, bytes(len(program.code)))

    def exchange(self, packets: NDArray[np.void]) -> NDArray[np.void]:
        """Send packets to both nodes; return the RTL's replies, which golden's must equal."""
        replies = self.link.exchange(packets, _EXCHANGE_CYCLES)
        assert np.array_equal(replies, self.golden.exchange(packets))
        return replies

    def write(self, address: int, contents: bytes | NDArray[np.uint8]) -> None:
        """Write memory or registers of both nodes."""
        assert len(self.exchange(write_requests(address, contents))) == 0

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """Return memory, which must be the same in both nodes."""
        first = address - address % LINE_BYTES
        data = self.exchange(read_requests(address, size))["data"].reshape(-1)
        return data[address - first :][:size]

    def write_words(self, address: int, *words: int) -> None:
        """Write 64-bit words of memory or registers of both nodes."""
        self.write(address, np.array(words, "<u8").view(np.uint8))

    def flip(self, address: int, *bits: int) -> None:
        """Flip bits of the word stored at an address of both nodes; from 64 on its check bits."""
        flips = sum(1 << bit for bit in bits)
        register = register_address(EccRegister.INJECT_DATA)
        self.write_words(register, flips & (1 << 64) - 1, flips >> 64, address)
        self.link.advance(_INJECTION_CYCLES)

    def rtl_line(self, address: int) -> list[int]:
        """Return the words of a line of the RTL's memory or registers, golden's being its own."""
        replies = self.link.exchange(read_requests(address, LINE_BYTES), _EXCHANGE_CYCLES)
        assert replies["opcode"].tolist() == [Opcode.READ_REPLY]
        return replies["data"].reshape(-1).view("<u8").tolist()

    def start(self, pc: int, arg: int = 0, thread: int = 0) -> None:
        """Start a thread of the RTL node alone."""
        line = b"".join(v.to_bytes(8, "little") for v in (pc, arg, Command.START))
        address = register_address(ThreadRegister.PC, thread)
        self.link.exchange(write_requests(address, line), _EXCHANGE_CYCLES)

    def outcome(self, thread: int = 0) -> Outcome:
        """Return the state of a thread of the RTL and what all have retired."""
        line = self.rtl_line(register_address(ThreadRegister.PC, thread))
        retired, dropped = self.link.take_retired()
        assert dropped == 0
        return Outcome(
            ThreadStatus(line[ThreadRegister.STATUS]),
            line[ThreadRegister.CAUSE],
            line[ThreadRegister.FAULT_PC],
            line[ThreadRegister.FAULT_VALUE],
            line[ThreadRegister.CYCLES],
            retired,
        )

    def end(self, thread: int = 0) -> Outcome:
        """Return the outcome of a thread, which must have ended as in the golden node."""
        outcome, golden = self.outcome(thread), self.golden.threads[thread]
        registers = (ThreadRegister.CAUSE, ThreadRegister.FAULT_PC, ThreadRegister.FAULT_VALUE)
        assert (outcome.status, outcome.cause, outcome.pc, outcome.value) == (
            golden.status,
            *map(golden.register, registers),
        )
        return outcome

    def run(self, pc: int, arg: int = 0) -> Outcome:
        """Run to the end on both nodes, compare them, and return what the RTL did."""
        self.link.take_retired()
        self.start(pc, arg)
        self.link.run(_RUN_CYCLES)
        self.golden.start(pc, arg)
        expected = self.golden.run_traced(_RUN_CYCLES)
        outcome = self.end()
        difference = explain_difference(expected, outcome.retired)
        assert difference is None, difference
        return outcome

    def run_threads(self, pcs: Mapping[int, int]) -> dict[int, Outcome]:
        """Start threads, each at its pc, on both nodes, and return how they end on both."""
        for node in (self, self.golden):
            for thread, pc in pcs.items():
                node.start(pc, thread=thread)
        self.link.run(_RUN_CYCLES)
        self.golden.run(_RUN_CYCLES)
        return {thread: self.end(thread) for thread in pcs}

    def load(self, text: str, base: int = 0) -> Program:
        """Assemble a program and write it to both nodes."""
        program = assemble(text, base)
        self.write(base, program.code)
        return program

    def execute(self, text: str, arg: int = 0, base: int = 0) -> Outcome:
        """Load a program and run it from its first word."""
        self.load(text, base)
        return self.run(base, arg)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make coverage` count what the tests of this folder reach."""
    parser.addoption(
        "--branch-coverage", type=Path, help="write what `machine` has reached to this file"
    )


@pytest.fixture(scope="session")
def _machines(request: pytest.FixtureRequest) -> Iterator[dict[str, Machine]]:
    machines: dict[str, Machine] = {}
    yield machines
    path = request.config.getoption("--branch-coverage", default=None)
    for machine in machines.values():
        if path is not None:
            machine.link.write_coverage(path)
        machine.link.close()


@pytest.fixture
def machine(request: pytest.FixtureRequest, _machines: dict[str, Machine]) -> Machine:
    """Return a node of the preset `tiny` with everything zero."""
    if "tiny" not in _machines:
        coverage = request.config.getoption("--branch-coverage", default=None) is not None
        _machines["tiny"] = Machine(preset("tiny"), coverage=coverage)
    _machines["tiny"].reset()
    return _machines["tiny"]
