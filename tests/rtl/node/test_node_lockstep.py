# amaranth: UnusedElaboratable=no
"""Random programs on the RTL node and the golden node: same trace, same end, same memory."""

import numpy as np
import pytest
from d1_golden.memory_map import Command, ThreadRegister, ThreadStatus, register_address
from d1_golden.node import GoldenNode
from d1_golden.node.random_programs import SCALAR_MIX, ProgramOptions, random_program
from d1_golden.node.trace import explain_difference
from d1_golden.packet import read_requests, write_requests
from d1_golden.params import LINE_BYTES, preset
from d1_rtl.node.node import Node
from d1_rtl.sim.node_link import NodeLink

_PARAMS = preset("tiny")
_OPTIONS = {
    "scalar": ProgramOptions(mix=SCALAR_MIX),
    "everything": ProgramOptions(traps=0.05, control=True),
}


def _run(link: NodeLink, options: ProgramOptions, seed: int, *, traffic: int = 0) -> int:
    """Run one program on both nodes, compare, and return the number of instructions.

    While the RTL runs it, `traffic` lines of its memory are read by packets.
    """
    program = random_program(_PARAMS, seed, options)
    thread = register_address(ThreadRegister.PC)
    line = b"".join(v.to_bytes(8, "little") for v in (options.base, seed, Command.START))
    start = write_requests(thread, line)
    golden = GoldenNode(_PARAMS)
    golden.exchange(program.requests())
    golden.exchange(start)
    expected = golden.run_traced(program.max_instructions)
    link.reset()
    link.exchange(program.requests(), 100_000)
    link.exchange(start, 1000)
    if traffic:
        lines = np.random.default_rng(seed).integers(0, program.end // LINE_BYTES, traffic)
        reads = np.repeat(read_requests(0, LINE_BYTES), traffic)
        reads["address"] = lines * LINE_BYTES
        assert len(link.exchange(reads, 100 * traffic)) == traffic
    link.run(100 * program.max_instructions)
    actual, dropped = link.take_retired()
    assert dropped == 0
    difference = explain_difference(expected, actual)
    assert difference is None, f"seed {seed}: {difference}"
    status = read_requests(thread, LINE_BYTES)
    registers = slice(8 * ThreadRegister.STATUS, 8 * ThreadRegister.CYCLES)
    ends = [node.exchange(status, 1000)["data"][0, registers].tobytes() for node in (link, golden)]
    assert ends[0] == ends[1], f"seed {seed}"
    assert golden.status is ThreadStatus.HALTED
    memory = link.exchange(read_requests(0, program.end), 100_000)["data"].reshape(-1)
    differences = list(program.differences(golden.memory, memory))
    assert not differences, f"seed {seed}: {differences}"
    return len(expected)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("options", _OPTIONS)
def test_random_programs_agree_with_the_golden_node(options, stall):
    seeds = range(100, 115)
    print(f"seeds {seeds}")
    with NodeLink(
        Node(_PARAMS), name="node_tiny", stall_probability=stall, seed=1, retire_capacity=1 << 16
    ) as link:
        instructions = sum(_run(link, _OPTIONS[options], seed) for seed in seeds)
    assert instructions > 4000


def test_packets_that_read_a_running_node_change_nothing_but_cycles():
    print("seeds 300..307")
    with NodeLink(Node(_PARAMS), name="node_tiny", retire_capacity=1 << 16) as link:
        instructions = [
            _run(link, _OPTIONS["everything"], seed, traffic=1500) for seed in range(300, 308)
        ]
    assert sum(instructions) > 3000


def test_a_node_without_gated_clocks_does_the_same():
    with NodeLink(
        Node(_PARAMS, gated=False), name="node_tiny_ungated", retire_capacity=1 << 16
    ) as link:
        assert _run(link, _OPTIONS["everything"], 200) > 100
