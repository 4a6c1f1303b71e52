"""The performance counters as the host reads and shows them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from d1.cli import main
from d1.counters import Counters, counters_table, read_counters
from d1.device import open_device
from d1_golden.assembler import assemble
from d1_golden.memory_map import (
    CounterRegister,
    IssueSlot,
    StallCause,
    issue_counter,
    stall_counter,
    thread_counter,
)
from d1_golden.params import preset
from rich.console import Console

#: Each thread counts down from 16 (its number + 3).
COUNTDOWN = """
.section .text.start, "ax"
.globl _start
_start:
    csrr a0, mhartid
    addi a0, a0, 3
    slli a0, a0, 4
loop:
    addi a0, a0, -1
    bnez a0, loop
    ecall
"""
RETIRED = [3 + 2 * 16 * (thread + 3) for thread in range(4)]


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells after the name of every row of a printed table."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) == 3}


def shown(counted: Counters, name: str) -> dict[str, list[str]]:
    out = io.StringIO()
    Console(file=out, width=100).print(counters_table(counted, preset(name)))
    return rows(out.getvalue())


def counters(threads: int = 4, **events: int) -> Counters:
    all_events = dict.fromkeys(CounterRegister, 0)
    all_events |= {CounterRegister[name]: count for name, count in events.items()}
    return Counters(all_events, 3, 1, (100, 60, 0, 0)[:threads])


def test_shares_are_of_what_is_possible() -> None:
    events = {
        "CYCLES": 100,
        "INSTRUCTIONS": 250,
        thread_counter(0).name: 190,
        thread_counter(1).name: 60,
        issue_counter(IssueSlot.ALU0).name: 50,
        issue_counter(IssueSlot.VECTOR1).name: 7,
        stall_counter(StallCause.FETCH).name: 40,
        stall_counter(StallCause.VECTOR_BANK).name: 8,
        "MATRIX_STEPS": 25,
        "MATRIX_BUSY": 75,
        "BANK_CONFLICTS": 10,
        "PACKETS_SENT": 1_234,
    }
    table = shown(counters(**events), "d1")
    assert table["IPC"] == ["250", "2.50"]
    assert table["instructions of thread 0"] == ["190", ""]
    assert table["IPC of thread 1"] == ["60", "1.00"]
    assert "IPC of thread 2" not in table
    assert table["slot ALU0"] == ["50", "50.0%"]
    assert table["slot VECTOR1"] == ["7", "7.0%"]
    assert table["slot ADDRESS1"] == ["0", "0.0%"]
    assert table["stall: fetch"] == ["40", "25.0%"]  # of 160 thread-cycles
    assert table["stall: vector bank"] == ["8", "5.0%"]
    assert table["matrix utilisation"] == ["25", "25.0%"]
    assert table["matrix unit busy"] == ["75", "75.0%"]
    assert table["bank conflicts"] == ["10", "10.0%"]
    assert table["ECC corrected"] == ["3", ""]
    assert table["ECC uncorrectable"] == ["1", ""]
    assert table["packets sent"] == ["1,234", ""]


def test_the_table_has_the_slots_of_the_preset() -> None:
    for name, slots in (("d1", 6), ("fpga", 4)):
        assert (
            sum(row.startswith("slot ") for row in shown(counters(preset(name).threads), name))
            == slots
        )


def test_a_difference_is_what_was_counted_in_between() -> None:
    program = assemble("addi a1, a1, 1\nmzero acc0\nmmac.bf16.vv acc0, v0, v1\necall").code
    with open_device("golden", "tiny") as device:
        device.call(program, max_cycles=100)
        before = read_counters(device)
        device.call(program, max_cycles=100)
        counted = read_counters(device) - before
    assert counted[CounterRegister.INSTRUCTIONS] == counted[CounterRegister.INSTRUCTIONS_0] == 3
    assert counted[CounterRegister.MATRIX_STEPS] == 1
    assert counted.thread_cycles == (4, 0, 0, 0)
    assert (counted.corrected, counted.uncorrectable) == (0, 0)


@pytest.mark.parametrize("name", ["d1", "fpga", "tiny"])
def test_stats_of_the_golden_model_leave_out_what_needs_a_clock(
    compile_program, capsys, name: str
) -> None:
    program = compile_program(COUNTDOWN)
    threads = preset(name).threads
    options = ["--device", "golden", "--preset", name, "--threads", str(threads), "--stats"]
    assert main(["run", str(program), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"passed after {RETIRED[threads - 1] + 1} cycles\n")
    table = rows(out)
    assert table["instructions"] == [str(sum(RETIRED[:threads])), ""]
    assert table[f"instructions of thread {threads - 1}"] == [str(RETIRED[threads - 1]), ""]
    for row in ("IPC", "slot ALU0", "stall: fetch", "matrix utilisation", "bank conflicts"):
        assert table[row] == ["not modelled", ""]


def test_stats_of_the_rtl_tell_ipc_slots_and_stalls(compile_program, capsys) -> None:
    program = compile_program(COUNTDOWN)
    options = ["--device", "rtl", "--preset", "tiny", "--threads", "4", "--stats"]
    assert main(["run", str(program), *options]) == 0
    table = rows(capsys.readouterr().out)
    assert table["instructions"] == [str(sum(RETIRED)), ""]
    assert [table[f"instructions of thread {n}"][0] for n in range(4)] == [
        str(count) for count in RETIRED
    ]
    cycles = int(table["cycles"][0])
    assert float(table["IPC"][1]) == pytest.approx(sum(RETIRED) / cycles, abs=0.005)
    issued = sum(int(table[f"slot {slot.name}"][0].replace(",", "")) for slot in IssueSlot)
    assert issued >= sum(RETIRED)
    assert int(table["slot ALU0"][0]) <= cycles
    assert int(table["stall: wait"][0]) == 0


def test_more_threads_than_the_node_has_are_refused(tmp_path: Path, capsys) -> None:
    options = ["--device", "golden", "--preset", "fpga", "--threads", "3"]
    assert main(["run", str(tmp_path / "none.elf"), *options]) == 100
    message = "--threads must be in 1..2 for preset fpga, not 3"
    assert message in capsys.readouterr().err


def test_a_fault_of_any_thread_is_reported_with_its_number(compile_program, capsys) -> None:
    program = compile_program(COUNTDOWN.replace("bnez a0, loop", "bnez a0, loop\n    ld a0, 1(a0)"))
    options = ["--device", "golden", "--preset", "tiny", "--threads", "2"]
    assert main(["run", str(program), *options]) == 101
    assert "not stop: thread 0 faulted, cause 4 (load misaligned)" in capsys.readouterr().err
