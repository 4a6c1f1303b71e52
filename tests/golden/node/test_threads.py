"""Several threads of a golden node: turns, waiting, and what each has of its own."""

from collections.abc import Callable

import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.memory_map import (
    SEMAPHORE_BASE,
    Command,
    CounterRegister,
    SemaphoreRegister,
    ThreadRegister,
    ThreadStatus,
    register_address,
    thread_counter,
)
from d1_golden.node import GoldenNode
from d1_golden.node.schedule import QUANTUM
from d1_golden.node.trace import explain_difference, trace_lines
from d1_golden.packet import write_requests
from d1_golden.params import preset

THREADS = 4
Load = Callable[..., GoldenNode]


def load(text: str, *threads: int, node: GoldenNode | None = None, arg: int = 0) -> GoldenNode:
    """Return a node with a program at 0 that some threads have been started with."""
    node = node or GoldenNode(preset("tiny"))
    node.exchange(write_requests(0, assemble(text).code))
    for thread in threads:
        node.start(0, arg, thread)
    return node


def set_register(node: GoldenNode, address: int, value: int) -> None:
    assert not len(node.exchange(write_requests(address, value.to_bytes(8, "little"))))


def test_each_thread_has_its_own_registers_and_knows_its_number() -> None:
    node = load(
        """
        csrr a1, mhartid
        slli a2, a1, 6
        csrw mscratch, a2
        vld v1, 64(zero)
        vbc.x v2, a1
        vmv.m.x m1, a0
        mwr acc2, v2, 0
        ecall
        """
    )
    node.memory[64 * 16 : 64 * 16 + 16] = 7
    for thread in range(THREADS):
        node.start(0, 10 + thread, thread)
    assert node.finish(1000) == 8 * THREADS
    for number, thread in enumerate(node.threads):
        assert thread.status is ThreadStatus.HALTED
        assert thread.x[10] == 10 + number and thread.x[11] == number
        assert node.read_csr("mscratch", number) == thread.read_csr("mscratch") == 64 * number
        assert thread.v[1].tolist() == [7] * 16
        assert thread.v[2].view(np.uint32).tolist() == [number] * 4
        assert thread.m[1] == 10 + number
        assert thread.acc[2].reshape(-1)[:4].tolist() == [number] * 4
        assert thread.register(ThreadRegister.FAULT_PC) == thread.pc == 28
        assert node.thread_register(ThreadRegister.CYCLES, number) == 8
    assert np.array_equal(node.x, node.threads[0].x)


def test_a_thread_starts_and_stops_without_the_others() -> None:
    node = load("loop: addi a0, a0, 1\nj loop", 1, 3)
    assert node.run(4 * QUANTUM) == 4 * QUANTUM
    assert [t.status for t in node.threads] == [
        ThreadStatus.IDLE,
        ThreadStatus.RUNNING,
        ThreadStatus.IDLE,
        ThreadStatus.RUNNING,
    ]
    assert [int(t.x[10]) for t in node.threads] == [0, QUANTUM, 0, QUANTUM]
    set_register(node, register_address(ThreadRegister.COMMAND, 1), Command.STOP)
    assert not node.idle
    node.run(2 * QUANTUM)
    assert [int(t.x[10]) for t in node.threads] == [0, QUANTUM, 0, 2 * QUANTUM]
    set_register(node, register_address(ThreadRegister.COMMAND, 3), Command.STOP)
    assert node.idle and node.run(100) == 0


def test_threads_take_turns_of_a_quantum_in_the_order_of_their_numbers() -> None:
    node = load("loop: addi a0, a0, 1\nj loop", *range(THREADS))
    records = node.run_traced(2 * THREADS * QUANTUM)
    order = records["thread"].reshape(-1, QUANTUM)
    assert (order == order[:, :1]).all()
    first = int(order[0, 0])
    assert order[:, 0].tolist() == [(first + n) % THREADS for n in range(2 * THREADS)]


@pytest.mark.parametrize("piece", [1, 7, QUANTUM, 3 * QUANTUM + 1])
def test_the_order_of_execution_does_not_depend_on_the_pieces_of_a_run(piece: int) -> None:
    text = f"""
        csrr s0, mhartid
        addi s1, s0, 3
        slli s1, s1, 9
        li s2, {SEMAPHORE_BASE}
    loop:
        addi s1, s1, -1
        ld t0, 0(s2)
        sd s0, 0(s2)
        bnez s1, loop
        ecall
    """
    limit = 60_000
    nodes = [load(text, *range(THREADS)) for _ in range(2)]
    whole = nodes[0].run_traced(limit)
    pieces = []
    while not nodes[1].idle:
        pieces.append(nodes[1].run_traced(piece))
    assert nodes[0].idle and len(whole) < limit
    assert np.array_equal(whole, np.concatenate(pieces))
    assert nodes[0].cycles == nodes[1].cycles


def test_counters_tell_the_instructions_of_each_thread_and_their_sum() -> None:
    node = load("l: addi a0, a0, -1\nbnez a0, l\necall")
    for thread in range(THREADS):
        node.start(0, 10 * (thread + 1), thread)
    executed = node.finish(1000)
    counter = node.state.counter
    expected = [20 * (thread + 1) for thread in range(THREADS)]  # all but the ecall
    assert [int(counter[thread_counter(thread)]) for thread in range(THREADS)] == expected
    assert counter[CounterRegister.INSTRUCTIONS] == sum(expected)
    assert counter[CounterRegister.CYCLES] == executed == sum(expected) + THREADS
    assert [node.read_csr("minstret", t) for t in range(THREADS)] == expected


def test_a_thread_that_another_starts_runs_though_the_starter_never_ends() -> None:
    node = load(
        f"""
        csrr a1, mhartid
        bnez a1, other
        li s0, {register_address(ThreadRegister.COMMAND, 2)}
        li s1, {Command.START}
        sd s1, 0(s0)
    spin:
        ld s2, 0x400(zero)
        beqz s2, spin
        ecall
    other:
        sd a1, 0x400(zero)
        ecall
        """,
        0,
    )
    node.finish(10 * QUANTUM)
    assert node.x[18] == 2


def test_a_thread_waits_for_a_semaphore_until_it_is_posted_by_packet() -> None:
    node = load("swait 5\nli a1, 1\necall", 1)
    assert node.run(100) == 0
    assert not node.idle
    assert node.waiting == "thread 1 waits for semaphore 5 at pc 0x0"
    set_register(node, register_address(SemaphoreRegister.COUNT, 5), 1 << 16 | 2)
    assert node.waiting == ""
    assert node.finish(100) == 3
    assert node.threads[1].x[11] == 1
    assert node.state.semaphore[5] == 1


def test_threads_that_wait_for_each_other_are_named_with_place_and_reason() -> None:
    node = load(
        """
        csrr a1, mhartid
        li a2, 2
        beq a1, a2, spin
        bnez a1, second
        swait 3
    second:
        barrier 3
    spin:
        j spin
        """,
        0,
        1,
    )
    with pytest.raises(TimeoutError) as caught:
        node.finish(1000)
    assert str(caught.value) == (
        "threads must stop within 1000 instructions, but after 8 "
        "thread 0 waits for semaphore 3 at pc 0x10, "
        "thread 1 waits for the barrier of threads 0, 1 at pc 0x14"
    )
    node.start(0, 0, 2)
    with pytest.raises(TimeoutError, match=r"thread 2 still runs at pc 0x18, thread 0 waits for"):
        node.finish(1000)
    assert len(node.run_traced(1000)) == 1000


def test_a_barrier_lets_all_its_threads_go_at_once() -> None:
    node = load(
        """
        csrr a1, mhartid
        addi a1, a1, 1
        slli a2, a1, 3
        sd a1, 0x400(a2)
        barrier 0
        ld a3, 0x408(zero)
        ld a4, 0x410(zero)
        ld a5, 0x418(zero)
        ld a6, 0x420(zero)
        ecall
        """,
        *range(THREADS),
    )
    node.finish(1000)
    for thread in node.threads:
        assert thread.x[13:17].tolist() == [1, 2, 3, 4]


def test_a_waiting_thread_that_is_stopped_or_started_anew_waits_no_more() -> None:
    node = load("swait 0\necall\nli a1, 9\necall", 1)
    node.run(10)
    set_register(node, register_address(ThreadRegister.COMMAND, 1), Command.STOP)
    assert node.threads[1].status is ThreadStatus.IDLE
    assert node.waiting == "" and node.idle
    node.start(8, 0, 1)
    assert node.finish(10) == 2
    assert node.threads[1].x[11] == 9


def test_reset_ends_waiting_and_clears_semaphores() -> None:
    node = load("csrr a1, mhartid\nswait 1\necall", 0, 2)
    node.run(10)
    set_register(node, register_address(SemaphoreRegister.COUNT, 7), 3)
    node.reset()
    assert node.idle and node.waiting == ""
    assert not node.state.semaphore.any()
    assert [node.read_csr("mhartid", t) for t in range(THREADS)] == [*range(THREADS)]
    assert node.run(10) == 0


def test_traces_tell_the_thread_and_are_compared_thread_by_thread() -> None:
    node = load("addi a1, a0, 5\naddi a2, a1, 1\n.word 0")
    for thread in (2, 1):
        node.start(0, thread, thread)
    records = node.run_traced(100)
    assert records["thread"].tolist() == [1, 1, 2, 2]
    assert records["value"].tolist() == [6, 7, 7, 8]
    assert explain_difference(records, records[[0, 2, 3, 1]]) is None
    wrong = records.copy()
    wrong["value"][3] = 0
    text = explain_difference(records, wrong)
    assert text is not None
    assert text.startswith("thread 2: traces differ at instruction 1 of 2 expected:")
    assert explain_difference(records, records[:2]) is not None


def test_the_readable_trace_names_the_thread_of_results_and_traps() -> None:
    node = load("vbc.x v1, a0\nvmv.m.x m3, a0\n.word 0")
    for thread in (1, 3):
        node.start(0, thread, thread)
    lines = list(trace_lines(node, 100))
    assert [line.split()[0] for line in lines] == ["1", "1", "1", "3", "3", "3"]
    assert lines[3].endswith("v1=" + "03000000" * 4)
    assert lines[4].endswith("m3=0x3")
    assert lines[5].startswith("3 00000008 ") and "faulted: illegal instruction" in lines[5]
