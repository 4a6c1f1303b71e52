"""The shapes and signatures by which the parts of a node are connected.

Every layout follows from :mod:`d1_golden`: packets from `packet.FIELDS`, registers from
`memory_map`, widths from :class:`d1_golden.params.NodeParams`.
"""

from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden import memory_map, packet
from d1_golden.memory_map import StallCause
from d1_golden.params import LINE_BYTES, NodeParams

__all__ = [
    "THREAD_BITS",
    "ControlLineSignature",
    "ControlSignature",
    "CoreEventsSignature",
    "DoorEventsSignature",
    "HardwareError",
    "Opcode",
    "PacketFlags",
    "RegisterLineSignature",
    "RetireSignature",
    "RetiredSlot",
    "ScalarResult",
    "SemaphoreEvent",
    "SemaphoreLinesSignature",
    "SramReadSignature",
    "SramWriteSignature",
    "Stall",
    "ThreadSignature",
    "ThreadStatus",
    "line_address_bits",
    "packet_layout",
    "register_line",
    "sram_write_layout",
]


#: Bits of the number of a thread, whatever the preset.
THREAD_BITS = 2


class Opcode(enum.Enum, shape=8):
    """Packet opcodes: those of :class:`d1_golden.packet.Opcode`."""

    READ = packet.Opcode.READ
    WRITE = packet.Opcode.WRITE
    READ_REPLY = packet.Opcode.READ_REPLY
    FAULT_REPLY = packet.Opcode.FAULT_REPLY
    POST = packet.Opcode.POST
    BROADCAST = packet.Opcode.BROADCAST
    WRITE_REPLY = packet.Opcode.WRITE_REPLY


class ThreadStatus(enum.Enum, shape=2):
    """Thread states: those of :class:`d1_golden.memory_map.ThreadStatus`."""

    IDLE = memory_map.ThreadStatus.IDLE
    RUNNING = memory_map.ThreadStatus.RUNNING
    HALTED = memory_map.ThreadStatus.HALTED
    FAULTED = memory_map.ThreadStatus.FAULTED


class PacketFlags(data.Struct):
    """The flags of a packet: `packet.POST_FLAG`, `ACK_FLAG` and `SEMAPHORE_FLAGS`."""

    semaphore: 5
    zero: 1
    acknowledge: 1
    post: 1


def packet_layout() -> data.StructLayout:
    """Return the layout of a packet, bit for bit `d1_golden.packet.PACKET_DTYPE`."""
    kinds = {"opcode": Opcode, "flags": PacketFlags}
    return data.StructLayout({f.name: kinds.get(f.name, f.bits) for f in packet.FIELDS})


def line_address_bits(params: NodeParams) -> int:
    """Return the bits of an SRAM line number."""
    return (params.sram_bytes // LINE_BYTES - 1).bit_length()


def sram_write_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a write to SRAM: the line, byte mask and line number.

    The line comes first so that its words are aligned to those of a simulator.
    """
    return data.StructLayout(
        {"data": 8 * LINE_BYTES, "mask": LINE_BYTES, "line": line_address_bits(params)}
    )


class SramReadSignature(wiring.Signature):
    """A client's port for reading lines from SRAM, seen from the client.

    The number of a line is transferred over `request`, at most one a cycle; `ready` is low while
    another client has the bank. The number must be less than the number of lines (the client
    reports an access fault otherwise). `data` is the line in the cycle after the transfer, and
    only then; it cannot be held off.

    Members
    -------
    request : Out(stream.Signature(line number))
    data : In(512)
    uncorrectable : In(8)
        With `data`, for each of its 64-bit words: more bits were flipped than can be corrected.
    """

    def __init__(self, params: NodeParams):
        super().__init__(
            {
                "request": Out(stream.Signature(line_address_bits(params))),
                "data": In(8 * LINE_BYTES),
                "uncorrectable": In(LINE_BYTES // 8),
            }
        )


class SramWriteSignature(wiring.Signature):
    """A client's port for writing bytes of a line to SRAM, seen from the client.

    A write is in SRAM for every read that is transferred in a later cycle.

    Members
    -------
    request : Out(stream.Signature(sram_write_layout(params)))
    """

    def __init__(self, params: NodeParams):
        super().__init__({"request": Out(stream.Signature(sram_write_layout(params)))})


class ControlSignature(wiring.Signature):
    """Access to one 64-bit control register, seen from the one who accesses.

    `address` is the offset from `memory_map.CONTROL_BASE` in bytes, a multiple of 8. The answer,
    `data` and `fault` (no such register), is there in the cycle after the transfer, and only then.

    Members
    -------
    request : Out(stream of {address, write, data})
    data : In(64)
    fault : In(1)
    """

    def __init__(self) -> None:
        layout = data.StructLayout({"address": memory_map.LOCAL_BITS - 1, "write": 1, "data": 64})
        super().__init__({"request": Out(stream.Signature(layout)), "data": In(64), "fault": In(1)})


class ControlLineSignature(wiring.Signature):
    """Access to one line of control registers, seen from the one who accesses.

    `line` is the offset from `memory_map.CONTROL_BASE` in lines. A write changes the registers
    whose bit in `mask` is set. The answer, `data` and `fault` (no such line), is there in the
    cycle after the transfer, and only then.

    Members
    -------
    request : Out(stream of {data, mask, write, line})
    data : In(512)
    fault : In(1)
    """

    def __init__(self) -> None:
        layout = data.StructLayout(
            {
                "data": 8 * LINE_BYTES,
                "mask": LINE_BYTES // 8,
                "write": 1,
                "line": memory_map.LOCAL_BITS - 1 - (LINE_BYTES - 1).bit_length(),
            }
        )
        super().__init__(
            {
                "request": Out(stream.Signature(layout)),
                "data": In(8 * LINE_BYTES),
                "fault": In(1),
            }
        )


def register_line() -> data.ArrayLayout:
    """Return the layout of a line of control registers."""
    return data.ArrayLayout(64, LINE_BYTES // 8)


class RegisterLineSignature(wiring.Signature):
    """A line of control registers kept by another component, seen from the control block.

    Members
    -------
    registers : In(register_line())
        What the registers read in this cycle.
    write : Out(8)
        Bit n set: register n takes its word of `data`; it reads so from the next cycle on.
    data : Out(register_line())
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "registers": In(register_line()),
                "write": Out(LINE_BYTES // 8),
                "data": Out(register_line()),
            }
        )


class SemaphoreLinesSignature(wiring.Signature):
    """The counts of the semaphores as control registers, seen from the control block.

    Members
    -------
    values : In(semaphores x 16)
        The counts in this cycle.
    write : Out(semaphores)
        Bit n set: semaphore n takes its count of `data`, from the next cycle on.
    data : Out(semaphores x 16)
    """

    def __init__(self, params: NodeParams) -> None:
        counts = data.ArrayLayout(memory_map.SEMAPHORE_BITS, params.semaphores)
        super().__init__(
            {"values": In(counts), "write": Out(params.semaphores), "data": Out(counts)}
        )


class DoorEventsSignature(wiring.Signature):
    """What the packet door tells the counters, seen from the door.

    Members
    -------
    request, reply, fault_reply : Out(1)
        High in every cycle in which a request is carried out, a reply made, a fault reply made
        (which is a reply too).
    """

    def __init__(self) -> None:
        super().__init__({"request": Out(1), "reply": Out(1), "fault_reply": Out(1)})


class CoreEventsSignature(wiring.Signature):
    """What the core tells the counters, seen from the core.

    Members
    -------
    retired : Out(4).array(threads)
        Instructions of each thread that retire in this cycle.
    issued : Out(scalar_slots + 2)
        Slots that an instruction went to, in the order of `memory_map.issue_slots`.
    matrix_step, matrix_busy, bank_conflict : Out(1)
        A matrix step enters; the matrix unit works; an access to SRAM waits for its bank.
    stall, vector_stall : Out(Stall).array(threads)
        Why a running thread issued no instruction, and why none left its vector queue.
    """

    def __init__(self, params: NodeParams) -> None:
        super().__init__(
            {
                "retired": Out(4).array(params.threads),
                "issued": Out(params.scalar_slots + 2),
                "matrix_step": Out(1),
                "matrix_busy": Out(1),
                "bank_conflict": Out(1),
                "stall": Out(Stall).array(params.threads),
                "vector_stall": Out(Stall).array(params.threads),
            }
        )


class ThreadSignature(wiring.Signature):
    """How the control block runs one thread, seen from the control block.

    Members
    -------
    start : Out(1)
        For one cycle: begin to run at `pc` with x10 = `arg`. Only while not `running`.
    pc, arg : Out(64)
    stop : Out(1)
        For one cycle: finish what was issued, then leave `running` low with `stopped_status` IDLE.
    running : In(1)
        High from the cycle after `start` until everything the thread issued is done: every store
        is in SRAM and every accumulator written.
    stopped_status : In(ThreadStatus)
        Why the thread is not running; with `cause`, `fault_pc` and `fault_value` held until the
        next start.
    cause : In(6)
    fault_pc, fault_value : In(64)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": Out(1),
                "pc": Out(64),
                "arg": Out(64),
                "stop": Out(1),
                "running": In(1),
                "stopped_status": In(ThreadStatus),
                "cause": In(6),
                "fault_pc": In(64),
                "fault_value": In(64),
            }
        )


class ScalarResult(data.Struct):
    """A scalar register and what is written to it."""

    valid: 1
    thread: THREAD_BITS
    rd: 5
    value: 64


class SemaphoreEvent(data.Struct):
    """A semaphore that is taken or posted."""

    valid: 1
    number: 5


class Stall(data.Struct):
    """Why a thread issued nothing in a cycle, if so."""

    valid: 1
    cause: StallCause


class HardwareError(data.Struct):
    """A thread met a word of SRAM that cannot be corrected, by the access at `pc`."""

    valid: 1
    thread: THREAD_BITS
    pc: memory_map.LOCAL_BITS
    address: memory_map.LOCAL_BITS


class RetiredSlot(data.Struct):
    """An instruction that was issued to a slot and retires.

    `order` is its place among the instructions of its thread that retire in the same cycle. With
    `pending` the value of `rd` comes later, as a `ScalarResult`.
    """

    valid: 1
    thread: THREAD_BITS
    order: 2
    pc: memory_map.LOCAL_BITS
    insn: 32
    rd_valid: 1
    rd: 5
    pending: 1
    value: 64


class RetireSignature(wiring.Signature):
    """The trace of retired instructions.

    An instruction that traps or stops its thread does not retire. Those of one thread retire in
    program order: by cycle, then by `order`. Scalar results are shown when the instruction has one
    and rd is not x0. At most one result of a register is pending, and no instruction that reads or
    writes the register retires before it has come.

    Members
    -------
    slots : Out(RetiredSlot).array(scalar_slots + issue_groups + 1)
        The ALU slots, the address slots, the vector slot of each group, and the instruction that
        blocked its thread and is done.
    late : Out(ScalarResult).array(2)
        Results that were pending: of loads, and of all other units.
    """

    def __init__(self, params: NodeParams) -> None:
        super().__init__(
            {
                "slots": Out(RetiredSlot).array(params.scalar_slots + params.issue_groups + 1),
                "late": Out(ScalarResult).array(2),
            }
        )
