"""The control block: every register, both masters, several threads."""

import random
from collections.abc import Iterator

import pytest
from d1_golden import memory_map
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    COUNTER_LINES,
    ECC_BASE,
    SEMAPHORE_BASE,
    TRANSFER_BASE,
    Command,
    CounterRegister,
    IdentityRegister,
    IssueSlot,
    StallCause,
    ThreadRegister,
    ThreadStatus,
    control_lines,
    identity_values,
    issue_counter,
    register_address,
    stall_counter,
    thread_counter,
)
from d1_golden.params import LINE_BYTES, NodeParams
from d1_rtl.node.control_address_check import ControlAddressCheck
from d1_rtl.node.control_block import ControlBlock
from d1_rtl.node.interfaces import ControlLineSignature, ControlSignature
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import CycleModel

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
CORE_EVENTS = ("matrix_step", "matrix_busy", "bank_conflict")
SLOTS = len(IssueSlot)  # of NodeParams' four scalar slots
M64 = (1 << 64) - 1


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def model(request: pytest.FixtureRequest) -> Iterator[NativeModel | CycleModel]:
    if request.param == "simulator":
        with NativeModel(ControlBlock(PARAMS), name="control_block") as model:
            yield model
    else:
        block = OnFpga(ControlBlock(PARAMS, gated=False))
        with NativeModel(block, name="control_block_on_fpga") as model:
            yield CycleModel(model, late={"door__data"})


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

    def __init__(self, model: NativeModel | CycleModel):
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

    def counters(self) -> list[int]:
        """Return every counter as the door reads them, and what follows the last."""
        lines = range(COUNTER_BASE, COUNTER_BASE + COUNTER_LINES * LINE_BYTES, LINE_BYTES)
        return [value for line in lines for value in self.door_read(line)]

    def told(self, signal: str, thread: int = 0) -> int:
        return self.model.get(f"threads__{thread}__{signal}")


def test_the_identity_line_tells_parameters_and_node_to_both_masters(control):
    expected = [*identity_values(PARAMS, NODE)]
    assert control.door_read(memory_map.IDENTITY) == expected
    assert [control.core_read(register_address(r)) for r in IdentityRegister] == expected


def test_every_line_that_is_not_there_is_a_fault_and_no_other(control):
    lines = range(CONTROL_BASE, 1 << memory_map.LOCAL_BITS, LINE_BYTES)
    there = {*control_lines(PARAMS)}
    assert len(there) == 1 + THREADS + COUNTER_LINES + 1 + 4 + 1
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
    for line in (memory_map.IDENTITY, COUNTER_BASE, COUNTER_BASE + LINE_BYTES):
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
    assert control.counters()[CounterRegister.CYCLES] == 2 * cycles


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


def stall(rng: random.Random, *, vector: bool) -> tuple[int, StallCause]:
    """Return whether a thread stalls, and a cause, which must not count if it does not."""
    return rng.getrandbits(1), rng.choice([c for c in StallCause if c.is_vector is vector])


@pytest.mark.parametrize("seed", range(2))
def test_counters_count_every_event_of_every_thread_slot_and_cause(control, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    model = control.model
    expected = dict.fromkeys(CounterRegister, 0)
    for _ in range(500):
        door = {name: rng.getrandbits(1) for name in (*EVENTS, "packet_sent")}
        door["reply"] |= door["fault_reply"]
        for name in EVENTS:
            model.set(f"events__{name}", door[name])
        model.set("packet_sent", door["packet_sent"])
        expected[CounterRegister.REQUESTS] += door["request"]
        expected[CounterRegister.REPLIES] += door["reply"]
        expected[CounterRegister.FAULT_REPLIES] += door["fault_reply"]
        expected[CounterRegister.PACKETS_SENT] += door["packet_sent"]

        running = rng.getrandbits(THREADS)
        for thread in range(THREADS):
            control.core_says(thread, running=running >> thread & 1)
        expected[CounterRegister.CYCLES] += running != 0
        core = {name: running and rng.getrandbits(1) for name in CORE_EVENTS}
        for name, value in core.items():
            model.set(f"core_events__{name}", value)
            expected[CounterRegister[f"{name}s".upper().replace("BUSYS", "BUSY")]] += value
        issued = running and rng.getrandbits(SLOTS)
        model.set("core_events__issued", issued)
        for slot in IssueSlot:
            expected[issue_counter(slot)] += issued >> slot & 1
        for thread in range(THREADS):
            retired = rng.randrange(7) if running else 0
            model.set(f"core_events__retired__{thread}", retired)
            expected[CounterRegister.INSTRUCTIONS] += retired
            expected[thread_counter(thread)] += retired
            for name in ("stall", "vector_stall"):
                valid, cause = stall(rng, vector=name == "vector_stall")
                valid &= running >> thread & 1
                model.set(f"core_events__{name}__{thread}", cause << 1 | valid)
                expected[stall_counter(cause)] += valid
        control.step()
    for port in model.ports.values():
        if port.is_input and port.name not in ("clk", "rst", "node_id"):
            model.set(port.name, 0)
    assert all(expected[r] for r in CounterRegister if r is not CounterRegister.INSTRUCTIONS_3)
    counters = [*expected.values()]
    unused = COUNTER_LINES * 8 - len(counters)
    assert control.counters() == counters + [0] * unused
    for register in CounterRegister:
        assert control.core_read(register_address(register)) == expected[register]
    model.reset()
    assert control.counters() == [0] * len(counters) + [0] * unused


def test_an_event_is_counted_in_the_cycle_after_it(control):
    control.model.set("events__request", 1)
    control.step()
    control.model.set("events__request", 0)
    assert control.counters()[CounterRegister.REQUESTS] == 1


@pytest.mark.parametrize(("port", "base"), [("ecc", ECC_BASE), ("transfer", TRANSFER_BASE)])
def test_a_line_of_another_unit_is_read_from_it_and_written_to_it(control, port, base):
    rng = random.Random(3)
    model = control.model
    values = [rng.getrandbits(64) for _ in range(8)]
    model.set(f"{port}__registers", sum(value << 64 * n for n, value in enumerate(values)))
    assert control.door_read(base) == values
    assert [control.core_read(base + 8 * n) for n in range(8)] == values
    assert model.get(f"{port}__write") == 0

    written = {n: rng.getrandbits(64) for n in (0, 3, 7)}
    control.offer_door(
        base,
        mask=sum(1 << n for n in written),
        data=sum(value << 64 * n for n, value in written.items()),
    )
    assert model.get(f"{port}__write") == 0b1000_1001
    data = model.get(f"{port}__data")
    assert {n: data >> 64 * n & M64 for n in written} == written
    control.step()
    model.set("door__request__valid", 0)
    assert model.get(f"{port}__write") == 0
    control.offer_core(base + 8 * 5, write=True, data=values[0])
    assert model.get(f"{port}__write") == 1 << 5
    assert model.get(f"{port}__data") >> 64 * 5 & M64 == values[0]


def test_a_write_to_one_unit_reaches_no_other(control):
    ports = ("ecc__write", "transfer__write", "semaphores__write")
    for base, port in zip((ECC_BASE, TRANSFER_BASE, SEMAPHORE_BASE), ports, strict=True):
        control.offer_door(base, mask=0xFF)
        assert [bool(control.model.get(name)) for name in ports] == [port == n for n in ports]
        control.step()
        control.model.set("door__request__valid", 0)


def test_semaphores_are_registers_of_16_bits_each(control):
    rng = random.Random(4)
    model = control.model
    count = PARAMS.semaphores
    values = [rng.getrandbits(16) for _ in range(count)]
    model.set("semaphores__values", sum(value << 16 * n for n, value in enumerate(values)))
    for first in range(0, count, 8):
        assert control.door_read(SEMAPHORE_BASE + 8 * first) == values[first : first + 8]
    for number in (0, 7, 8, count - 1):
        address = SEMAPHORE_BASE + 8 * number
        assert control.core_read(address) == values[number]
        value = rng.getrandbits(64)
        control.offer_core(address, write=True, data=value)
        assert model.get("semaphores__write") == 1 << number
        assert model.get("semaphores__data") >> 16 * number & 0xFFFF == value & 0xFFFF
        control.step()
        model.set("core__request__valid", 0)
    control.offer_door(SEMAPHORE_BASE + 2 * LINE_BYTES, mask=0b101, data=5 | 6 << 128)
    assert model.get("semaphores__write") == 0b101 << 16
    assert model.get("semaphores__data") >> 16 * 16 & 0xFFFF == 5
    assert model.get("semaphores__data") >> 16 * 18 & 0xFFFF == 6


def test_the_check_of_addresses_knows_the_same_lines_as_the_control_block():
    there = {*control_lines(PARAMS)}
    with NativeModel(ControlAddressCheck(PARAMS), name="control_address_check") as model:
        for line in range(CONTROL_BASE, 1 << memory_map.LOCAL_BITS, LINE_BYTES):
            for address in (line, line + LINE_BYTES - 8):
                model.set("address", address - CONTROL_BASE)
                assert model.get("exists") == (line in there), hex(address)
