"""The control block: every register, both masters, several threads."""

import random
from collections.abc import Iterator

import pytest
from d1_golden import memory_map
from d1_golden.memory_map import (
    CONTROL_BASE,
    Command,
    CounterRegister,
    IdentityRegister,
    ThreadRegister,
    ThreadStatus,
    identity_values,
    register_address,
)
from d1_golden.params import LINE_BYTES, NodeParams
from d1_rtl.node.control_block import ControlBlock
from d1_rtl.node.interfaces import ControlLineSignature, ControlSignature
from d1_rtl.sim.native import NativeModel

THREADS = 3
PARAMS = NodeParams(
    name="three threads",
    matrix_rows=2,
    matrix_cols=2,
    threads=THREADS,
    sram_bytes=1 << 16,
    sram_banks=4,
)
NODE = 0xA1B2_C3D4
EVENTS = ("request", "reply", "fault_reply")
THREAD_EVENTS = ("instruction_retired", "matrix_step", "bank_conflict", "issue_stall")
M64 = (1 << 64) - 1


@pytest.fixture(scope="module")
def model() -> Iterator[NativeModel]:
    with NativeModel(ControlBlock(PARAMS), name="control_block") as model:
        yield model


@pytest.fixture
def control(model):
    for port in model.ports.values():
        if port.is_input and port.name not in ("clk", "rst"):
            model.set(port.name, 0)
    model.set("node_id", NODE)
    model.reset()
    return Control(model)


def _pack(signature, **values: int) -> int:
    layout = signature.members["request"].signature.members["payload"].shape
    return sum(value << layout[name].offset for name, value in values.items())


class Control:
    """Makes accesses through either port, one at a time, at the place of core and door."""

    def __init__(self, model: NativeModel):
        self.model = model

    def step(self, cycles: int = 1) -> None:
        """Run some cycles; like a core, a thread runs from the cycle after its start."""
        for _ in range(cycles):
            started = [thread for thread in range(THREADS) if self.told("start", thread)]
            self.model.step()
            for thread in started:
                self.core_says(thread, running=1)

    def offer_core(self, address: int, *, write: bool = False, data: int = 0) -> None:
        payload = _pack(ControlSignature(), address=address - CONTROL_BASE, write=write, data=data)
        self.model.set("core__request__payload", payload)
        self.model.set("core__request__valid", 1)

    def offer_door(self, address: int, *, mask: int = 0, data: int = 0) -> None:
        payload = _pack(
            ControlLineSignature(),
            line=(address - CONTROL_BASE) // LINE_BYTES,
            write=mask != 0,
            mask=mask,
            data=data,
        )
        self.model.set("door__request__payload", payload)
        self.model.set("door__request__valid", 1)

    def _transfer(self, port: str) -> None:
        assert self.model.get(f"{port}__request__ready")
        self.step()
        self.model.set(f"{port}__request__valid", 0)

    def core_read(self, address: int) -> int | None:
        """Return a register as the core reads it, None for a fault."""
        self.offer_core(address)
        self._transfer("core")
        return None if self.model.get("core__fault") else self.model.get("core__data")

    def core_write(self, address: int, data: int) -> bool:
        """Write a register as the core does; return whether it is there."""
        self.offer_core(address, write=True, data=data)
        self._transfer("core")
        return not self.model.get("core__fault")

    def door_read(self, address: int) -> list[int] | None:
        """Return a line as the door reads it, None for a fault."""
        self.offer_door(address)
        self._transfer("door")
        line = self.model.get("door__data")
        return (
            None
            if self.model.get("door__fault")
            else [line >> 64 * n & M64 for n in range(LINE_BYTES // 8)]
        )

    def door_write(self, address: int, registers: dict[int, int]) -> bool:
        """Write some registers of a line as the door does; return whether the line is there."""
        data = sum(value << 64 * index for index, value in registers.items())
        self.offer_door(address, mask=sum(1 << index for index in registers), data=data)
        self._transfer("door")
        return not self.model.get("door__fault")

    def thread(self, register: ThreadRegister, thread: int = 0) -> int | None:
        return self.core_read(register_address(register, thread))

    def command(self, command: int, thread: int = 0) -> None:
        assert self.core_write(register_address(ThreadRegister.COMMAND, thread), command)

    def core_says(self, thread: int = 0, **signals: int) -> None:
        for name, value in signals.items():
            self.model.set(f"threads__{thread}__{name}", value)

    def told(self, signal: str, thread: int = 0) -> int:
        return self.model.get(f"threads__{thread}__{signal}")


def test_the_identity_line_tells_parameters_and_node_to_both_masters(control):
    expected = [*identity_values(PARAMS, NODE)]
    assert control.door_read(memory_map.IDENTITY) == expected
    assert [control.core_read(register_address(r)) for r in IdentityRegister] == expected


def test_every_line_that_is_not_there_is_a_fault_and_no_other(control):
    lines = range(CONTROL_BASE, 1 << memory_map.LOCAL_BITS, LINE_BYTES)
    there = {memory_map.IDENTITY, memory_map.COUNTER_BASE}
    there |= {memory_map.THREAD_BASE + LINE_BYTES * n for n in range(THREADS)}
    rng = random.Random(1)
    near = {line + step * LINE_BYTES for line in there for step in (-1, 0, 1)}
    for line in sorted((near | {*rng.sample(lines, 200), lines[-1]}) & {*lines}):
        assert (control.door_read(line) is not None) == (line in there), hex(line)
        assert control.door_write(line, {0: 0}) == (line in there), hex(line)
        word = line + 8 * rng.randrange(8)
        assert (control.core_read(word) is not None) == (line in there), hex(word)
        assert control.core_write(word, 0) == (line in there), hex(word)


@pytest.mark.parametrize("master", ["door", "core"])
def test_only_pc_and_arg_keep_what_is_written_and_each_thread_has_its_own(control, master):
    rng = random.Random(2)
    for line in (memory_map.IDENTITY, memory_map.COUNTER_BASE):
        before = control.door_read(line)
        assert control.door_write(line, {n: rng.getrandbits(64) for n in range(8)})
        assert control.door_read(line) == before
    written = {}
    for thread in range(THREADS):
        # Bit 3 keeps COMMAND from being one.
        written[thread] = {n: rng.getrandbits(64) | 8 for n in range(8)}
        line = memory_map.THREAD_BASE + LINE_BYTES * thread
        if master == "door":
            assert control.door_write(line, written[thread])
        else:
            assert all(control.core_write(line + 8 * n, v) for n, v in written[thread].items())
    for thread in range(THREADS):
        line = control.door_read(memory_map.THREAD_BASE + LINE_BYTES * thread)
        assert line[:2] == [written[thread][n] for n in (ThreadRegister.PC, ThreadRegister.ARG)]
        assert line[2:] == [0] * 6


def test_the_door_writes_only_the_registers_of_its_mask(control):
    line = memory_map.THREAD_BASE
    control.door_write(line, {0: 1, 1: 2})
    control.door_write(line, {1: 3})
    assert control.door_read(line)[:2] == [1, 3]
    control.door_write(line, {0: 4})
    assert control.door_read(line)[:2] == [4, 3]


def test_one_line_written_sets_and_starts_a_thread(control):
    registers = {
        ThreadRegister.PC: 0x400,
        ThreadRegister.ARG: 77,
        ThreadRegister.COMMAND: Command.START,
    }
    assert control.door_write(memory_map.THREAD_BASE + LINE_BYTES, registers)
    assert control.told("start", 1) and not control.told("start", 0)
    assert control.told("pc", 1) == 0x400 and control.told("arg", 1) == 77
    control.step()
    assert not control.told("start", 1)


@pytest.mark.parametrize("master", ["core", "door"])
def test_status_is_running_from_the_start_to_the_end_without_a_gap(control, master):
    def status() -> int:
        if master == "door":
            return control.door_read(memory_map.THREAD_BASE)[ThreadRegister.STATUS]
        return control.thread(ThreadRegister.STATUS)

    assert status() == ThreadStatus.IDLE
    assert not control.model.get("active")
    control.command(Command.START)
    for _ in range(3):  # the first is transferred in the cycle of `start`
        assert control.model.get("active")
        assert status() == ThreadStatus.RUNNING
    control.core_says(running=0, stopped_status=ThreadStatus.HALTED)
    assert not control.model.get("active")
    assert status() == ThreadStatus.HALTED


@pytest.mark.parametrize("cycles", [1, 2, 10, 1000])
def test_cycles_are_those_in_which_the_core_runs_and_start_clears_them(control, cycles):
    for _ in range(2):
        control.command(Command.START)
        control.step(1 + cycles)
        control.core_says(running=0, stopped_status=ThreadStatus.HALTED)
        control.step(5)
        assert control.thread(ThreadRegister.CYCLES) == cycles
    counters = control.door_read(memory_map.COUNTER_BASE)
    assert counters[CounterRegister.CYCLES] == 2 * cycles


@pytest.mark.parametrize("ended", [ThreadStatus.IDLE, ThreadStatus.HALTED, ThreadStatus.FAULTED])
def test_the_cause_is_shown_when_the_thread_halted_or_faulted_only(control, ended):
    shown = [ThreadRegister.CAUSE, ThreadRegister.FAULT_PC, ThreadRegister.FAULT_VALUE]
    says = {"cause": 0x2A, "fault_pc": 1 << 63 | 5, "fault_value": M64}
    control.core_says(stopped_status=ended, **says)
    assert control.thread(ThreadRegister.STATUS) == ThreadStatus.IDLE  # nothing ran since reset
    control.command(Command.START)
    control.step()
    assert [control.thread(register) for register in shown] == [0, 0, 0]
    control.core_says(running=0)
    expected = [0, 0, 0] if ended is ThreadStatus.IDLE else [*says.values()]
    assert [control.thread(register) for register in shown] == expected
    assert control.thread(ThreadRegister.STATUS) == ended


@pytest.mark.parametrize("ended", [ThreadStatus.IDLE, ThreadStatus.HALTED, ThreadStatus.FAULTED])
def test_start_works_from_every_state_but_running(control, ended):
    control.command(Command.START)
    assert control.told("start")
    control.command(Command.START)  # in the cycle of `start`: already RUNNING
    assert not control.told("start")
    control.command(Command.START)
    assert not control.told("start")
    control.core_says(running=0, stopped_status=ended)
    control.command(Command.START)
    assert control.told("start")


def test_stop_reaches_a_running_thread_only(control):
    control.command(Command.STOP)
    assert not control.told("stop")
    control.command(Command.START)
    control.command(Command.STOP)  # in the cycle of `start`
    assert control.told("stop")
    control.step()
    assert not control.told("stop")
    control.command(Command.STOP)
    assert control.told("stop") and not control.told("stop", 1)
    control.step()
    assert not control.told("stop")


@pytest.mark.parametrize("command", [0, 3, 1 << 32 | Command.START, M64])
def test_an_unknown_command_changes_nothing(control, command):
    control.command(command)
    assert not control.told("start") and not control.told("stop")
    assert control.thread(ThreadRegister.COMMAND) == 0
    control.core_says(running=1)
    control.command(command)
    assert not control.told("start") and not control.told("stop")


def test_both_masters_at_once_take_turns(control):
    control.offer_door(memory_map.IDENTITY)
    control.offer_core(memory_map.IDENTITY)
    granted = []
    for _ in range(20):
        ready = [p for p in ("door", "core") if control.model.get(f"{p}__request__ready")]
        assert len(ready) == 1
        granted += ready
        control.step()
    assert granted in (["door", "core"] * 10, ["core", "door"] * 10)


@pytest.mark.parametrize("master", ["door", "core"])
def test_either_master_alone_is_served_every_cycle(control, master):
    offer = control.offer_door if master == "door" else control.offer_core
    offer(memory_map.IDENTITY)
    for _ in range(10):
        assert control.model.get(f"{master}__request__ready")
        control.step()


@pytest.mark.parametrize("seed", range(2))
def test_counters_count_every_event_of_every_thread(control, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    expected = dict.fromkeys(CounterRegister, 0)
    for _ in range(500):
        door = {name: rng.getrandbits(1) for name in EVENTS}
        for name, value in door.items():
            control.model.set(f"events__{name}", value)
        threads = [
            {name: rng.getrandbits(1) for name in ("running", *THREAD_EVENTS)}
            for _ in range(THREADS)
        ]
        for number, says in enumerate(threads):
            control.core_says(number, **says)
        control.step()
        expected[CounterRegister.REQUESTS] += door["request"]
        expected[CounterRegister.REPLIES] += door["reply"]
        expected[CounterRegister.FAULT_REPLIES] += door["fault_reply"]
        expected[CounterRegister.INSTRUCTIONS] += sum(t["instruction_retired"] for t in threads)
        expected[CounterRegister.MATRIX_STEPS] += sum(t["matrix_step"] for t in threads)
        for register, name in (
            (CounterRegister.CYCLES, "running"),
            (CounterRegister.BANK_CONFLICTS, "bank_conflict"),
            (CounterRegister.ISSUE_STALLS, "issue_stall"),
        ):
            expected[register] += any(t[name] for t in threads)
    for name in EVENTS:
        control.model.set(f"events__{name}", 0)
    for number in range(THREADS):
        control.core_says(number, **dict.fromkeys(("running", *THREAD_EVENTS), 0))
    assert control.door_read(memory_map.COUNTER_BASE) == [expected[r] for r in CounterRegister]
    for register in CounterRegister:
        assert control.core_read(register_address(register)) == expected[register]
    control.model.reset()
    assert control.door_read(memory_map.COUNTER_BASE) == [0] * 8
