"""The rules of issue: groups, faults inside a group, order, semaphores, stops, changed code."""

import numpy as np
import pytest
from d1_golden.assembler import Program, assemble
from d1_golden.csr import Cause
from d1_golden.memory_map import Command, ThreadRegister, ThreadStatus, register_address
from d1_golden.packet import read_requests, write_requests
from d1_golden.params import LINE_BYTES

_DATA = 0x4000
_OUT = 0x5000
_MAX_CYCLES = 20_000

#: Behind an access at fault, in its group: what must not happen.
_YOUNGER = {
    "integer register": "addi s5, s5, 1",
    "integer register of an address slot": "add a3, s1, s2\nadd a4, s1, s2\naddi s5, s5, 1",
    "register of a load": "ld s5, 0(s0)",
    "store": "sd s2, 8(s0)",
    "vector register": "vbc.x v5, s2",
    "vector load": "vld v5, 1(s0)",
    "vector store": "vst v4, 1(s0)",
    "mask": "vmv.m.x m5, s2",
    "scalar of a vector": "vmv.x.v s5, v4, 0",
    "accumulator": "mzero acc5",
    "gather": "vgather v5, (s0), v6",
    "scatter": "vscatter v4, (s0), v6",
    "taken branch": "j handler",
    "multiplication": "mul s5, s2, s2",
    "exception of its own": "sw s2, 1(s0)",
}
_FAULTING = {
    "load": ("lw t1, 1(t0)", Cause.LOAD_MISALIGNED),
    "store": ("sw s2, 1(t0)", Cause.STORE_MISALIGNED),
}


def _line(machine, thread: int) -> list[int]:
    """Return the registers of a thread of the RTL."""
    address = register_address(ThreadRegister.PC, thread)
    (reply,) = machine.link.exchange(read_requests(address, LINE_BYTES), _MAX_CYCLES)
    return reply["data"].view("<u8").tolist()


def _command(machine, command: Command, thread: int = 0, pc: int = 0) -> None:
    """Start or stop a thread of the RTL."""
    if command is Command.START:
        words, register = (pc, 0, command), ThreadRegister.PC
    else:
        words, register = (command,), ThreadRegister.COMMAND
    contents = b"".join(int(word).to_bytes(8, "little") for word in words)
    machine.link.exchange(write_requests(register_address(register, thread), contents), _MAX_CYCLES)


def _around(instructions: str, handler: int) -> str:
    """Return a program that executes a group of instructions, and stores what there is after it."""
    return f"""
        li s0, {_DATA}
        li s1, {_OUT}
        li s2, 0x123
        li s5, 77
        addi t0, s0, 256
        vbc.x v4, s2
        vbc.x v5, s1
        vbc.x v6, x0
        vmv.m.x m5, s5
        mwr acc5, v4, 0
        sd s1, 8(s0)
        fence
        li s11, {handler}
        csrw mtvec, s11
        j group
        .align 6
    group:
        {instructions}
        nop
    handler:
        csrw mtvec, x0
        sd s5, 0(s1)
        ld t2, 8(s0)
        sd t2, 8(s1)
        csrr t2, mcause
        sd t2, 16(s1)
        vmv.x.m t2, m5
        sd t2, 24(s1)
        vst v5, 2(s1)
        mrd v7, acc5, 0
        vst v7, 3(s1)
        vld v8, 1(s0)
        vst v8, 4(s1)
        ecall
    """


def _load_around(machine, instructions: str) -> Program:
    """Load the program of `_around` with its handler."""
    handler = assemble(_around(instructions, 64)).labels["handler"]
    program = machine.load(_around(instructions, handler))
    assert program.labels["handler"] == handler
    return program


@pytest.mark.parametrize("younger", _YOUNGER)
@pytest.mark.parametrize("faulting", _FAULTING)
def test_nothing_behind_an_access_at_fault_in_its_group_happens(machine, faulting, younger):
    instruction, cause = _FAULTING[faulting]
    _load_around(machine, f"{instruction}\n{_YOUNGER[younger]}")
    assert machine.run(0).status is ThreadStatus.HALTED
    results = machine.read(_OUT, 128)
    assert results.tobytes() == machine.golden.memory[_OUT:][:128].tobytes()
    words = results.view("<u8").tolist()
    assert words[:3] == [77, _OUT, cause]
    assert words[3] == 77 & (1 << machine.params.fp32_lanes) - 1


@pytest.mark.parametrize(
    "younger", ["integer register", "store", "vector register", "vector store"]
)
def test_those_instructions_are_issued_in_one_group(machine, younger):
    # The same without a fault: that they are together is what the test above is about.
    program = _load_around(machine, f"lw t1, 0(t0)\n{_YOUNGER[younger]}")
    retired = machine.run(0).retired
    times = [int(retired["cycle"][retired["pc"] == program.labels["group"] + n][0]) for n in (0, 4)]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    "accesses",
    [
        "sd s2, 0(s0)\nld t0, 0(s0)",
        "ld t0, 0(s0)\nsd s2, 0(s0)\nld t1, 0(s0)",
        "sb s2, 3(s0)\nlw t0, 0(s0)",
        "lw t0, 0(s0)\nsh s2, 2(s0)\nlhu t1, 2(s0)",
        "sw s2, 4(s0)\nsw s3, 0(s0)\nld t0, 0(s0)",
        "sd s2, 0(s0)\nvld v1, 0(s0)\nvmv.x.v t0, v1, 0",
        "vbc.x v1, s2\nvst v1, 0(s0)\nld t0, 0(s0)\nsd s3, 0(s0)\nld t1, 0(s0)",
        "vld v1, 0(s0)\nsd s2, 0(s0)\nvmv.x.v t0, v1, 0\nld t1, 0(s0)",
        "vst.m v2, (s0), m1\nld t0, 0(s0)\nvldb v1, 0(s0)\nvmv.x.v t1, v1, 0",
    ],
)
def test_accesses_of_a_thread_to_one_place_happen_in_its_order(machine, accesses):
    text = f"""
        li s0, {_DATA}
        li s2, 0x1122334455667788
        li s3, -2
        li s4, 1
        vbc.x v2, s3
        vmv.m.x m1, s4
        fence
        j group
        .align 6
    group:
        {accesses}
        fence
        ecall
    """
    assert machine.execute(text).status is ThreadStatus.HALTED  # which compares every result
    actual = machine.read(_DATA, 16).tobytes()
    assert actual == machine.golden.memory[_DATA:][:16].tobytes() != bytes(16)


def test_an_instruction_that_runs_alone_has_no_other_of_its_thread_in_its_cycle(machine):
    alone = ("csrr t0, mscratch", "fence", "spost 1", "swait 1", "csrrw t1, mscratch, s0")
    body = "\n".join(
        f"addi s{2 + n}, x0, 1\n{text}\nxor a{n}, x0, x0" for n, text in enumerate(alone)
    )
    program = machine.load(f"j start\n.align 6\nstart: {body}\necall")
    retired = machine.run(0).retired
    cycles = retired["cycle"].tolist()
    for n in range(len(alone)):
        pc = program.labels["start"] + 12 * n + 4
        cycle = int(retired["cycle"][retired["pc"] == pc][0])
        assert cycles.count(cycle) == 1, alone[n]


def test_a_fence_waits_for_a_push_to_its_own_node(machine):
    text = f"""
        li s0, {_DATA}
        li s1, {_OUT}
        li s2, 0x77
        sd s2, 0(s0)
        sd s2, 120(s0)
        push s0, s1, 2
        fence
        ld t0, 0(s1)
        ld t1, 120(s1)
        ecall
    """
    values = machine.execute(text).retired["value"][-2:].tolist()
    assert values == [0x77, 0x77]


@pytest.mark.parametrize(
    "waits",
    [
        "swait 3",
        "barrier 3",
        "again: vgather v1, (s0), v2\nj again",
        "again: lwalk t0, s0, s1\nj again",
    ],
    ids=["semaphore", "barrier", "gather", "links"],
)
def test_a_thread_that_waits_can_be_stopped_and_started_again(machine, waits):
    links = "sd s0, 0(s0)\n"
    program = machine.load(f"li s0, {_DATA}\nli s1, 9\n{links}vbc.x v2, x0\n{waits}\necall")
    after = machine.load("ecall", 0x800)
    for cycles in range(100, 130):
        machine.link.take_retired()
        _command(machine, Command.START, pc=program.base)
        machine.link.advance(cycles)
        assert _line(machine, 0)[ThreadRegister.STATUS] == ThreadStatus.RUNNING
        _command(machine, Command.STOP)
        machine.link.run(200)
        assert _line(machine, 0)[ThreadRegister.STATUS] == ThreadStatus.IDLE
    _command(machine, Command.START, pc=after.base)
    machine.link.run(200)
    assert _line(machine, 0)[ThreadRegister.STATUS] == ThreadStatus.HALTED


def test_a_semaphore_holds_a_thread_until_another_one_posts(machine):
    waits = machine.load("swait 5\nli t0, 1\necall", 0)
    posts = machine.load("spost 5\necall", 0x800)
    _command(machine, Command.START, 0, waits.base)
    machine.link.advance(300)
    assert _line(machine, 0)[ThreadRegister.STATUS] == ThreadStatus.RUNNING
    assert len(machine.link.take_retired()[0]) == 0
    _command(machine, Command.START, 1, posts.base)
    machine.link.run(200)
    retired, _ = machine.link.take_retired()
    assert retired["thread"].tolist() == [1, 0, 0]
    assert _line(machine, 0)[ThreadRegister.STATUS] == ThreadStatus.HALTED


def test_a_barrier_lets_its_threads_go_one_cycle_after_the_other(machine):
    program = machine.load(
        "csrr t0, mhartid\nbnez t0, 12\nli t1, -1\ndivu t2, t1, t0\nbarrier 3\nnop\necall"
    )
    machine.link.take_retired()
    for thread in (0, 1):
        _command(machine, Command.START, thread, program.base)
    machine.link.run(1000)
    retired, _ = machine.link.take_retired()
    leaves = retired[retired["pc"] == program.base + 20]
    assert sorted(leaves["thread"].tolist()) == [0, 1]
    assert abs(int(leaves["cycle"][0]) - int(leaves["cycle"][1])) == 1


def _accesses(machine, delay: int, handler: int, offsets: tuple[int, int]) -> np.ndarray:
    """Let thread 0 load and thread 1 store behind a barrier; return what retired."""
    waits = "\n".join(["xor t6, t6, s0"] * delay)
    text = f"""
        li s0, {_DATA}
        li t5, {handler}
        csrw mtvec, t5
        csrr t0, mhartid
        bnez t0, second
        barrier 3
        {waits}
        ld t1, {offsets[0]}(s0)
        ecall
    second:
        barrier 3
        xor t6, t6, s0
        sd t1, {offsets[1]}(s0)
        ecall
    """
    machine.load(text)
    machine.link.take_retired()
    for thread in (0, 1):
        _command(machine, Command.START, thread)
    machine.link.run(1000)
    return machine.link.take_retired()[0]


@pytest.mark.parametrize("handler", [0, 0x100])
def test_two_threads_that_trap_in_one_cycle_both_do(machine, handler):
    machine.load("csrr s1, mcause\ncsrr s2, mepc\ncsrw mtvec, x0\necall", 0x100)
    met = 0
    for delay in range(3):
        # Without faults: are they executed in one cycle?
        retired = _accesses(machine, delay, 0, (0, 64))
        accesses = retired[np.isin(retired["insn"] & 0x7F, (0x03, 0x23))]
        assert sorted(accesses["thread"].tolist()) == [0, 1]
        met += int(accesses["cycle"][0] == accesses["cycle"][1])
        retired = _accesses(machine, delay, handler, (1, 66))
        for thread, cause in enumerate((Cause.LOAD_MISALIGNED, Cause.STORE_MISALIGNED)):
            state = _line(machine, thread)
            if handler:
                values = retired["value"][(retired["thread"] == thread) & (retired["pc"] == 0x100)]
                assert values.tolist() == [cause]
                assert state[ThreadRegister.STATUS] == ThreadStatus.HALTED
            else:
                assert state[ThreadRegister.STATUS] == ThreadStatus.FAULTED
                assert state[ThreadRegister.CAUSE] == cause
                assert state[ThreadRegister.FAULT_VALUE] == _DATA + (1, 66)[thread]
    assert met, "one of the delays makes them meet"


@pytest.mark.parametrize(
    "became", ["addi t1, t1, 1", "sd s1, 64(s3)", "vbc.x v1, s1", "csrr t2, mhartid"]
)
def test_a_branch_that_became_another_instruction_without_fence_i_is_no_branch(machine, became):
    # The jump at `turn` is learnt; then its word is replaced, and its line driven out of the store
    # by `far`, which has the same place. So what is predicted to branch is another instruction.
    # Of `far` the second word is entered: the first has the place of `turn` among the branches too.
    turn = 64 * (machine.params.instruction_lines + 1)
    far = turn + 64 * machine.params.instruction_lines
    (word,) = np.frombuffer(assemble(became).code, "<u4").tolist()
    main = f"""
        li s0, 4
        li s1, {word}
        li s2, {turn}
        li s3, {_DATA}
    loop:
        j {{to_turn}}
    back:
        addi s0, s0, -1
        bnez s0, loop
        sw s1, 0(s2)
        lw t0, 0(s2)
        j {{to_far}}
    end:
    """
    labels = assemble(main.format(to_turn=0, to_far=0)).labels
    offsets = {"to_turn": turn - labels["loop"], "to_far": far + 4 - (labels["end"] - 4)}
    machine.load(main.format(**offsets))
    machine.load(f"nop\nj {turn - far - 4}", far)
    machine.load(f"j {labels['back'] - turn}\necall", turn)
    outcome = machine.run(0)  # which compares everything with the golden node
    assert (outcome.status, outcome.pc) == (ThreadStatus.HALTED, turn + 4)
    assert outcome.retired["insn"][-1] == word
    assert (outcome.retired["pc"] == turn).sum() == 5
