"""A training node as the host sees it: memory, threads and counters, over any link."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeVar

import d1_golden.params as node_params
import numpy as np
from d1_golden.csr import Cause
from d1_golden.memory_map import (
    COUNTER_BASE,
    SRAM_BASE,
    Command,
    CounterRegister,
    ThreadRegister,
    ThreadStatus,
    register_address,
)
from d1_golden.packet import write_requests
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

from d1.backends import open_link
from d1.errors import AccessError, CycleLimitError, DeviceError, KernelFault
from d1.exchange import exchange
from d1.link import PacketLink
from d1.sram import SramRegion

__all__ = [
    "Call",
    "Device",
    "Evidence",
    "ThreadState",
    "call_all",
    "data_region",
    "default_preset",
    "open_device",
    "shared_device",
]

#: Cycles after which `call_all` first looks whether one of several nodes has faulted.
_FIRST_LOOK = 1 << 16
#: The part of SRAM in which `Device.call` keeps programs, from address 0: one in so many.
_CODE_SHARE = 4


@dataclass(frozen=True)
class ThreadState:
    """What a thread does, and how its last run ended.

    Parameters
    ----------
    status
        Idle, running, halted by `ecall`, or faulted.
    cause, fault_pc, fault_value
        The exception that ended the run, the address of its instruction, and its bad address or
        instruction word.
    cycles
        Cycles of the run, until now if it goes on.

    """

    status: ThreadStatus
    cause: int
    fault_pc: int
    fault_value: int
    cycles: int

    def __str__(self) -> str:
        if self.status in (ThreadStatus.IDLE, ThreadStatus.RUNNING):
            return f"{self.status.name.lower()}, {self.cycles} cycles"
        known = self.cause in set(Cause)
        cause = Cause(self.cause).name.lower().replace("_", " ") if known else "unknown"
        return (
            f"{self.status.name.lower()}, cause {self.cause} ({cause}), pc {self.fault_pc:#x}, "
            f"value {self.fault_value:#x}, {self.cycles} cycles"
        )


@dataclass(frozen=True)
class Evidence:
    """What is left in SRAM of a program that failed and tells where it was.

    Parameters
    ----------
    address, size
        Where it is, in bytes.
    tell
        Returns where the program was, from the contents.

    """

    address: int
    size: int
    tell: Callable[[NDArray[np.uint8]], str]


@dataclass(frozen=True)
class Call:
    """A program to run to its end, and what it works on; see `Device.call`.

    Parameters
    ----------
    program
        Machine code; starts at its first byte and ends with `ecall`. It must not depend on where
        it is.
    arg
        In a0 at the start of every thread.
    threads
        How many threads run it, from thread 0 on; mhartid tells them apart.
    inputs
        Address and contents of what to write before.
    outputs
        Address and size in bytes of what to read afterwards.
    evidence
        What to read if it fails, for the error's message.

    """

    program: bytes
    arg: int = 0
    threads: int = 1
    inputs: tuple[tuple[int, NDArray[np.generic]], ...] = ()
    outputs: tuple[tuple[int, int], ...] = ()
    evidence: Evidence | None = None


class Device:
    """One training node behind a link.

    The low quarter of SRAM holds the programs of `call` and the rest is for data; a host that
    lays out SRAM itself (an ELF loader) uses `write`, `start` and `wait` and ignores both.

    Parameters
    ----------
    link
        The way to the node; the device closes it.
    params
        Parameters of the node.
    name
        Kind of device, for messages.
    base
        Address of the node; 0 where the link leads to no other.

    Members
    -------
    params : NodeParams
        Parameters of the node.
    base : int
        Address of the node.
    code, data : SramRegion
        Where programs and data are put.
    lock : RLock
        Held by `call`; to be held by whoever leaves data in SRAM from one call to the next.
    call_cycles : int
        Cycles of all calls so far, from the first start to the end of the last, without transfers.

    """

    def __init__(self, link: PacketLink, params: NodeParams, name: str, *, base: int = 0) -> None:
        self.link = link
        self.params = params
        self.name = name
        self.base = base
        self.code = SramRegion("program", SRAM_BASE, _code_bytes(params), params.sram_bytes)
        self.data = data_region(params)
        self.call_cycles = 0
        self._resident: dict[bytes, int] = {}
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<d1 device {self.name}, preset {self.params.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Cycles simulated so far, transfers included."""
        return self.link.cycles

    @property
    def is_lost(self) -> bool:
        """Whether the device is gone for good, as a board that was unplugged is."""
        return bool(getattr(self.link, "is_lost", False))

    def close(self) -> None:
        """Give back the link."""
        self.link.close()

    def reset(self) -> None:
        """Reset the node; programs and data in its SRAM are lost."""
        self.link.reset()
        self.forget_programs()

    def write(self, address: int, data: bytes | NDArray[np.generic]) -> None:
        """Put bytes at an address of the node.

        Raises
        ------
        AccessError
            Something of it is neither SRAM nor a register.

        """
        payload = _bytes(data)
        self._require_address(address, payload.size)
        if address < self.code.base + self.code.size and payload.size:
            self.forget_programs()
        self._exchange([write_requests(self.base + address, payload)])

    def read(self, address: int, size: int) -> NDArray[np.uint8]:
        """Return `size` bytes from an address of the node.

        Raises
        ------
        AccessError
            Something of it is neither SRAM nor a register.

        """
        self._require_address(address, size)
        return self._exchange([], [(self.base + address, size)])[0]

    def start(self, pc: int, arg: int = 0, thread: int = 0) -> None:
        """Start a thread at `pc` with `arg` in a0."""
        self._exchange([self._start_request(pc, arg, thread)])

    def stop(self, thread: int = 0) -> None:
        """Ask a running thread to finish what it has issued and become idle."""
        address = register_address(ThreadRegister.COMMAND, self._require_thread(thread))
        self._exchange([write_requests(self.base + address, _words(Command.STOP))])

    def status(self, thread: int = 0) -> ThreadState:
        """Return the state of a thread."""
        return _thread_state(self._exchange([], [self._thread_line(thread)])[0])

    def wait(self, max_cycles: int, thread: int = 0) -> ThreadState:
        """Let the node run until it is idle and return the thread's state, halted or idle.

        Parameters
        ----------
        max_cycles
            Cycles after which to give up.
        thread
            Whose state to return.

        Raises
        ------
        CycleLimitError
            The thread still runs after `max_cycles`.
        KernelFault
            It faulted.

        """
        _run(self.link, max_cycles)
        state = self.status(thread)
        self._require_success({thread: state}, max_cycles)
        return state

    def counters(self) -> dict[CounterRegister, int]:
        """Return the node's performance counters, which count from reset."""
        counters = (self.base + COUNTER_BASE, 8 * len(CounterRegister))
        words = self._exchange([], [counters])[0].view("<u8")
        return {register: int(words[register]) for register in CounterRegister}

    def call(
        self,
        program: bytes,
        arg: int = 0,
        *,
        threads: int = 1,
        inputs: Sequence[tuple[int, NDArray[np.generic]]] = (),
        outputs: Iterable[tuple[int, int]] = (),
        evidence: Evidence | None = None,
        max_cycles: int,
    ) -> list[NDArray[np.uint8]]:
        """Run a program to its end and return what it left in SRAM.

        It stays loaded as long as there is room, so that a second call moves only data. After an
        error the device has been reset and can be used again.

        Parameters
        ----------
        program, arg, threads, inputs, outputs, evidence
            See `Call`.
        max_cycles
            Cycles after which to give up.

        Raises
        ------
        CycleLimitError, KernelFault, SramOverflowError, AccessError
            It did not end, faulted, does not fit, or an address is bad. The message names the
            thread; where several failed, the first that faulted.
        ValueError
            There are not so many threads.

        """
        call = Call(program, arg, threads, tuple(inputs), tuple(outputs), evidence)
        with self.lock:
            results, cycles = call_all({self: call}, max_cycles=max_cycles)
        self.call_cycles += cycles
        return results[self]

    def load_requests(self, call: Call) -> list[NDArray[np.void]]:
        """Return the packets that bring a call's program and inputs to the node.

        The program counts as loaded from then on.

        Raises
        ------
        SramOverflowError, AccessError, ValueError
            The program does not fit, an address is bad, or there are not so many threads.

        """
        if not 1 <= call.threads <= self.params.threads:
            raise ValueError(f"threads must be in 1..{self.params.threads}, not {call.threads!r}")
        payloads = [(address, _bytes(data)) for address, data in call.inputs]
        for address, size in [*((a, p.size) for a, p in payloads), *call.outputs]:
            self._require_address(address, size)
        requests = self._place(call.program)
        return requests + [write_requests(self.base + a, payload) for a, payload in payloads]

    def start_requests(self, call: Call) -> list[NDArray[np.void]]:
        """Return the packets that start a call's threads; its program must be loaded."""
        pc = self._resident[call.program]
        return [self._start_request(pc, call.arg, thread) for thread in range(call.threads)]

    def result_ranges(self, call: Call) -> list[tuple[int, int]]:
        """Return what to read after a call: the lines of its threads, then its outputs."""
        lines = [self._thread_line(thread) for thread in range(call.threads)]
        return [*lines, *((self.base + address, size) for address, size in call.outputs)]

    def results(
        self, call: Call, contents: Sequence[NDArray[np.uint8]], max_cycles: int
    ) -> list[NDArray[np.uint8]]:
        """Return a call's outputs from the contents of `result_ranges`.

        Raises
        ------
        KernelFault, CycleLimitError
            A thread faulted or still runs.

        """
        states = {thread: _thread_state(contents[thread]) for thread in range(call.threads)}
        self._require_success(states, max_cycles)
        return list(contents[call.threads :])

    def locate(self, error: DeviceError, call: Call) -> None:
        """Say in an error where a call's program was, if that can still be read."""
        if (evidence := call.evidence) is None:
            return
        # What failed may be what would tell.
        with suppress(DeviceError, TimeoutError):
            address = self.base + evidence.address
            (contents,) = self._exchange([], [(address, evidence.size)])
            error.locate(evidence.tell(contents))

    def forget_programs(self) -> None:
        """Forget the programs that were loaded: what they were in has been written."""
        self._resident.clear()
        self.code.clear()

    def _place(self, program: bytes) -> list[NDArray[np.void]]:
        """Give a program its address; return the packets that bring it there."""
        if program in self._resident:
            return []
        if len(program) > self.code.free:
            self.forget_programs()
        address = self.code.allocate(len(program))
        self._resident[program] = address
        return [write_requests(self.base + address, program)]

    def _start_request(self, pc: int, arg: int, thread: int) -> NDArray[np.void]:
        address = register_address(ThreadRegister.PC, self._require_thread(thread))
        return write_requests(self.base + address, _words(pc, arg, Command.START))

    def _thread_line(self, thread: int) -> tuple[int, int]:
        address = register_address(ThreadRegister.PC, self._require_thread(thread))
        return self.base + address, LINE_BYTES

    def _require_thread(self, thread: int) -> int:
        if not 0 <= thread < self.params.threads:
            raise ValueError(f"thread must be in 0..{self.params.threads - 1}, not {thread!r}")
        return thread

    def _require_address(self, address: int, size: int) -> None:
        """Refuse what straddles the end of SRAM before a packet is sent; registers may follow."""
        if address < 0 or size < 0:
            raise AccessError(f"address and size must not be negative, not {address}, {size}")
        end = SRAM_BASE + self.params.sram_bytes
        if address < end < address + size:
            raise AccessError(
                f"{size} bytes at {address:#x} must end within the SRAM of "
                f"{self.params.sram_bytes} bytes, not at {address + size:#x}"
            )

    def _exchange(
        self, requests: list[NDArray[np.void]], reads: Sequence[tuple[int, int]] = ()
    ) -> list[NDArray[np.uint8]]:
        """Send packets, then read ranges; return the contents of each range."""
        return exchange(self.link, self.params, requests, reads)

    def _require_success(self, states: Mapping[int, ThreadState], max_cycles: int) -> None:
        """Refuse threads that faulted, then those that still run."""
        for thread, state in states.items():
            if state.status is ThreadStatus.FAULTED:
                raise KernelFault(
                    f"thread {thread} must end with ecall, not {state} on {self!r}",
                    thread=thread,
                    cause=state.cause,
                    pc=state.fault_pc,
                    value=state.fault_value,
                )
        for thread, state in states.items():
            if state.status is ThreadStatus.RUNNING:
                raise CycleLimitError(
                    f"thread {thread} must stop within {max_cycles} cycles, not be {state} on "
                    f"{self!r}"
                )


def data_region(params: NodeParams) -> SramRegion:
    """Return the part of a node's SRAM that is for data, all of it free."""
    code = _code_bytes(params)
    return SramRegion("data", SRAM_BASE + code, params.sram_bytes - code, params.sram_bytes)


def _code_bytes(params: NodeParams) -> int:
    return params.sram_bytes // _CODE_SHARE


AnyDevice = TypeVar("AnyDevice", bound=Device)


def call_all(
    calls: Mapping[AnyDevice, Call],
    *,
    max_cycles: int,
    observe: Callable[[], None] | None = None,
) -> tuple[dict[AnyDevice, list[NDArray[np.uint8]]], int]:
    """Run programs on nodes behind one link at the same time; return their outputs and the cycles.

    The cycles are those from the first start to the end of the last. Packets to all nodes go in one
    exchange, so that they enter at all doors at once. With more than one node none starts before
    all have what they need, and one that faults is found before the others, which may wait for it,
    have taken twice the cycles that it took. After an error all behind the link has been reset.
    Whoever calls holds their lock.

    Parameters
    ----------
    calls
        What to run where.
    max_cycles
        Cycles after which to give up.
    observe
        Called before the first start and after the last end.

    Raises
    ------
    CycleLimitError, KernelFault, SramOverflowError, AccessError, ValueError
        As for `Device.call`, the first that faulted before one that still runs.

    """
    link, params = (next(iter(calls)).link, next(iter(calls)).params)
    loads = [packets for node, call in calls.items() for packets in node.load_requests(call)]
    starts = [packets for node, call in calls.items() for packets in node.start_requests(call)]
    ranges = {node: node.result_ranges(call) for node, call in calls.items()}
    try:
        if len(calls) > 1:
            exchange(link, params, loads)
            loads = []
        if observe:
            observe()
        before = link.cycles
        exchange(link, params, [*loads, *starts])
        _run_together(calls, max_cycles)
        cycles = link.cycles - before
        if observe:
            observe()
        wanted = [wanted for of_node in ranges.values() for wanted in of_node]
        contents = iter(exchange(link, params, [], wanted))
        read = {node: [next(contents) for _ in of_node] for node, of_node in ranges.items()}
        return _outputs(calls, read, max_cycles), cycles
    except BaseException:
        next(iter(calls)).reset()
        raise


def _outputs(
    calls: Mapping[AnyDevice, Call],
    contents: Mapping[AnyDevice, Sequence[NDArray[np.uint8]]],
    max_cycles: int,
) -> dict[AnyDevice, list[NDArray[np.uint8]]]:
    """Return the outputs of calls, or say which failed: first of all one that faulted."""
    outputs: dict[AnyDevice, list[NDArray[np.uint8]]] = {}
    failed: dict[AnyDevice, DeviceError] = {}
    for node, call in calls.items():
        try:
            outputs[node] = node.results(call, contents[node], max_cycles)
        except DeviceError as error:
            failed[node] = error
    if failed:
        node = next(
            (n for n, e in failed.items() if isinstance(e, KernelFault)), next(iter(failed))
        )
        node.locate(failed[node], calls[node])
        raise failed[node]
    return outputs


def _run_together(calls: Mapping[AnyDevice, Call], max_cycles: int) -> None:
    """Let nodes run until they are idle, for so long, or until one of several has faulted."""
    link, params = (next(iter(calls)).link, next(iter(calls)).params)
    lines = [
        line for node, call in calls.items() for line in node.result_ranges(call)[: call.threads]
    ]
    passed, turn = 0, min(_FIRST_LOOK, max_cycles) if len(calls) > 1 else max_cycles
    while not _run(link, turn):
        passed += turn
        if passed == max_cycles:
            return
        states = map(_thread_state, exchange(link, params, [], lines))
        if any(state.status is ThreadStatus.FAULTED for state in states):
            return
        turn = min(passed, max_cycles - passed)


def _run(link: PacketLink, max_cycles: int) -> bool:
    """Let nodes run until they are idle or for so long; return whether they are idle."""
    if max_cycles <= 0:
        raise ValueError(f"max_cycles must be positive, not {max_cycles!r}")
    try:
        link.run(max_cycles)
    except TimeoutError:  # the status of threads says so too, and more
        return False
    return True


def _bytes(data: bytes | NDArray[np.generic]) -> NDArray[np.uint8]:
    if isinstance(data, bytes):
        return np.frombuffer(data, np.uint8)
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


def _words(*values: int) -> bytes:
    return b"".join((value & (1 << 64) - 1).to_bytes(8, "little") for value in values)


def _thread_state(line: NDArray[np.uint8]) -> ThreadState:
    words = [int(word) for word in line.view("<u8")]
    return ThreadState(
        status=ThreadStatus(words[ThreadRegister.STATUS]),
        cause=words[ThreadRegister.CAUSE],
        fault_pc=words[ThreadRegister.FAULT_PC],
        fault_value=words[ThreadRegister.FAULT_VALUE],
        cycles=words[ThreadRegister.CYCLES],
    )


def open_device(device: str = "rtl", preset: str | None = None, port: str | None = None) -> Device:
    """Return a new device; it is the caller's to close.

    Parameters
    ----------
    device
        "rtl" for the simulated RTL, "golden" for the golden model, "board" for an FPGA board.
    preset
        Name of the node's parameters: "d1", "fpga" or "tiny"; by default "fpga" for a board, "d1"
        for others.
    port
        Of a board: the name of its serial port; by default that in the environment variable
        `D1_PORT`, or the one USB serial port that there is.

    Raises
    ------
    ValueError
        There is no such device or preset, the message lists those there are; or it has no port.
    BoardError
        The board is not there, does not answer, or has another node.

    """
    params = node_params.preset(preset or default_preset(device))
    return Device(open_link(device, params, port), params, device)


def default_preset(device: str) -> str:
    """Return the preset of a device for which none is named."""
    return "fpga" if device == "board" else "d1"


_shared: dict[tuple[str, str], Device] = {}


def shared_device(
    device: str = "rtl", preset: str | None = None, port: str | None = None
) -> Device:
    """Return the process's one device of a kind and preset, opened at first use.

    It serves every operator that names a device instead of being given one. One that is lost is
    opened anew. Parameters and errors are those of `open_device`; `port` matters at the first use.
    """
    key = (device, preset or default_preset(device))
    if key not in _shared or _shared[key].is_lost:
        _shared[key] = open_device(*key, port)
    return _shared[key]
