import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.node import RETIRE_DTYPE, GoldenNode
from d1_golden.node.random_programs import random_program
from d1_golden.node.trace import explain_difference, format_trace, trace_lines
from d1_golden.packet import write_requests
from d1_golden.params import preset

PROGRAM = """
    li a1, -1
    sd a1, 64(x0)
    addi x0, a1, 0
    vld v3, 4(x0)
    mmul.bf16.vv acc1, v0, v0
    la t0, handler
    csrw mtvec, t0
    ebreak
handler:
    csrw mtvec, x0
    .word 0
"""


@pytest.fixture
def node() -> GoldenNode:
    node = GoldenNode(preset("tiny"))
    node.exchange(write_requests(0, assemble(PROGRAM).code))
    node.start(0)
    return node


def test_records_hold_what_retired_with_results_of_scalar_registers(node: GoldenNode) -> None:
    records = node.run_traced(100)
    assert records.dtype == RETIRE_DTYPE
    assert RETIRE_DTYPE.itemsize == 24
    assert records["pc"].tolist() == [4 * n for n in (0, 1, 2, 3, 4, 5, 6, 7, 9)]
    words = np.frombuffer(assemble(PROGRAM).code, "<u4")
    assert np.array_equal(records["insn"], words[records["pc"] // 4])
    assert records["rd_valid"].tolist() == [1, 0, 0, 0, 0, 1, 1, 0, 0]
    valid = records[records["rd_valid"] == 1]
    assert valid["rd"].tolist() == [11, 5, 5]
    assert valid["value"].tolist() == [(1 << 64) - 1, 20, 36]


def test_records_agree_with_a_run_without_them(state_arrays) -> None:
    program = random_program(preset("tiny"), 4)
    nodes = [GoldenNode(program.params) for _ in range(2)]
    for node in nodes:
        node.exchange(program.requests())
        node.start(0)
    records = nodes[0].run_traced(program.max_instructions)
    assert nodes[1].finish(program.max_instructions) == len(records) + 1  # all but the ecall
    assert all(map(np.array_equal, *map(state_arrays, nodes)))
    registers = np.zeros(32, np.uint64)
    for record in records[records["rd_valid"] == 1]:
        registers[record["rd"]] = record["value"]
    assert np.array_equal(registers, nodes[0].x)


def test_a_trace_of_more_than_one_chunk_is_complete() -> None:
    node = GoldenNode(preset("tiny"))
    node.exchange(write_requests(0, assemble("li a1, 50000\nl: addi a1, a1, -1\nbnez a1, l").code))
    node.start(0)
    records = node.run_traced(90_000)
    assert len(records) == 90_000
    assert node.cycles == 90_000
    assert records["pc"][-2:].tolist() == [8, 12]


def test_lines_show_address_word_instruction_and_result(node: GoldenNode) -> None:
    lines = list(format_trace(node.run_traced(100)))
    assert lines[0] == f"{'0 00000000 fff00593  addi a1, zero, -1':<54} a1=0xffffffffffffffff"
    assert lines[1] == "0 00000004 04b03023  sd a1, 64(zero)"


def test_the_readable_trace_shows_vectors_accumulators_and_traps(node: GoldenNode) -> None:
    node.v[0].view(np.uint16)[:4] = 0x3F80
    lines = list(trace_lines(node, 100))
    assert len(lines) == 11
    assert lines[3].endswith("vld v3, 4(zero)  v3=" + "ff" * 8 + "00" * 8)
    assert lines[4].endswith("  acc1=40800000 00000000 00000000 00000000")
    assert lines[8].endswith("trap to 0x24: breakpoint, value 0x20")
    assert lines[10].endswith("faulted: illegal instruction, value 0x0")


def test_the_readable_trace_keeps_its_bound(node: GoldenNode) -> None:
    assert len(list(trace_lines(node, 5))) == 5
    assert node.pc == 20


def test_equal_traces_have_no_difference_whatever_their_other_fields(node: GoldenNode) -> None:
    records = node.run_traced(100)
    wider = np.zeros(len(records), [("cycle", "<u8"), *RETIRE_DTYPE.descr])
    for name in RETIRE_DTYPE.names:
        wider[name] = records[name]
    wider["cycle"] = 5
    invalid = wider["rd_valid"] == 0
    wider["rd"][invalid], wider["value"][invalid] = 3, 99
    assert explain_difference(records, wider) is None


@pytest.mark.parametrize("name", ["pc", "insn", "rd_valid", "rd", "value"])
def test_the_first_difference_is_shown_with_what_came_before(node: GoldenNode, name: str) -> None:
    expected = node.run_traced(100)
    actual = expected.copy()
    actual[name][5] ^= 1
    actual[name][6] ^= 1
    text = explain_difference(expected, actual, context=2)
    assert text is not None
    lines = text.splitlines()
    assert lines[0] == "thread 0: traces differ at instruction 5 of 9 expected:"
    assert [line.split()[:2] for line in lines[1:3]] == [["0", "0000000c"], ["0", "00000010"]]
    assert [line.split()[0] for line in lines[3:]] == ["expected:", "actual:"]


def test_a_trace_that_ends_early_differs_at_its_end(node: GoldenNode) -> None:
    expected = node.run_traced(100)
    text = explain_difference(expected, expected[:4])
    assert text is not None
    assert text.startswith("thread 0: traces differ at instruction 4 of 9")
    assert text.endswith("actual: (end of the trace)")
