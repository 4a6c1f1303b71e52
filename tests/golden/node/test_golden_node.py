import numpy as np
import pytest
from d1_golden.assembler import assemble
from d1_golden.memory_map import (
    CONTROL_BASE,
    COUNTER_BASE,
    IDENTITY,
    THREAD_BASE,
    Command,
    CounterRegister,
    ThreadRegister,
    ThreadStatus,
    identity_values,
    register_address,
)
from d1_golden.node import GoldenNode
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_golden.params import PRESETS, preset

SEED = 7
FULL_LINE = (1 << 64) - 1


@pytest.fixture
def node() -> GoldenNode:
    return GoldenNode(preset("tiny"))


def packet(opcode: int, address: int, *, mask: int = 0, data: object = 0, **fields: int):
    request = np.zeros(1, PACKET_DTYPE)
    request["opcode"], request["address"], request["mask"] = opcode, address, mask
    request["data"] = data
    for name, value in fields.items():
        request[name] = value
    return request


def write_register(register: ThreadRegister, value: int) -> np.ndarray:
    return write_requests(register_address(register), value.to_bytes(8, "little"))


def read_line(node: GoldenNode, address: int) -> list[int]:
    (reply,) = node.exchange(read_requests(address, 64))
    assert reply["opcode"] == Opcode.READ_REPLY
    return reply["data"].view(np.uint64).tolist()


def test_what_is_written_is_read_back_in_any_alignment(node: GoldenNode) -> None:
    rng = np.random.default_rng(SEED)
    shadow = np.zeros(node.params.sram_bytes, np.uint8)
    for _ in range(200):
        size = int(rng.integers(1, 400))
        address = int(rng.integers(0, node.params.sram_bytes - size))
        data = rng.integers(0, 256, size, np.uint8)
        shadow[address : address + size] = data
        assert len(node.exchange(write_requests(address, data))) == 0
    replies = node.exchange(read_requests(0, node.params.sram_bytes))
    assert np.array_equal(replies["data"].reshape(-1), shadow)
    assert (replies["opcode"] == Opcode.READ_REPLY).all()


def test_requests_of_one_batch_see_each_other_in_order(node: GoldenNode) -> None:
    batch = [
        packet(Opcode.WRITE, 64, mask=FULL_LINE, data=1),
        packet(Opcode.READ, 64, tag=1),
        packet(Opcode.WRITE, 64, mask=0xF0, data=2),
        packet(Opcode.READ, 64, tag=2),
    ]
    replies = node.exchange(np.concatenate(batch))
    assert replies["tag"].tolist() == [1, 2]
    assert replies["data"][0].tolist() == [1] * 64
    assert replies["data"][1].tolist() == [1] * 4 + [2] * 4 + [1] * 56


def test_a_reply_repeats_tag_source_and_address_and_nothing_else(node: GoldenNode) -> None:
    request = packet(
        Opcode.READ, 1 << 63 | 128, mask=FULL_LINE, data=9, tag=0xABCD, source=0xDEADBEEF
    )
    (fault,) = node.exchange(request)
    request["address"] = 128
    (reply,) = node.exchange(request)
    assert fault["opcode"] == Opcode.FAULT_REPLY
    assert reply["opcode"] == Opcode.READ_REPLY
    for answer, address in ((fault, 1 << 63 | 128), (reply, 128)):
        assert (answer["tag"], answer["source"]) == (0xABCD, 0xDEADBEEF)
        assert answer["address"] == address
        assert (answer["flags"], answer["mask"]) == (0, 0)
        assert not answer["data"].any()


def test_packets_to_the_node_by_number_or_by_zero_are_its_own() -> None:
    node = GoldenNode(preset("tiny"), node_id=0x01_02_03_04)
    own = 0x01_02_03_04 << 24
    replies = node.exchange(
        np.concatenate([packet(Opcode.READ, place) for place in (own, 0, own + (1 << 24))])
    )
    assert replies["opcode"].tolist() == [
        Opcode.READ_REPLY,
        Opcode.READ_REPLY,
        Opcode.FAULT_REPLY,
    ]
    assert read_line(node, own + IDENTITY) == list(identity_values(node.params, 0x01_02_03_04))


@pytest.mark.parametrize(
    "request_at_fault",
    [
        pytest.param(packet(0, 0), id="opcode 0"),
        pytest.param(packet(8, 0), id="unknown opcode"),
        pytest.param(packet(Opcode.READ_REPLY, 0), id="a reply"),
        pytest.param(packet(Opcode.READ, 0, flags=1), id="flags of a read"),
        pytest.param(packet(Opcode.READ, 8), id="unaligned"),
        pytest.param(packet(Opcode.WRITE, 1, mask=FULL_LINE, data=255), id="unaligned write"),
        pytest.param(packet(Opcode.READ, 64 * 1024), id="above SRAM"),
        pytest.param(packet(Opcode.READ, CONTROL_BASE - 64), id="below control"),
        pytest.param(packet(Opcode.READ, CONTROL_BASE + 64), id="unmapped control"),
        pytest.param(packet(Opcode.READ, THREAD_BASE + 4 * 64), id="no fifth thread"),
        pytest.param(packet(Opcode.READ, 0xFF_FFC0), id="last line"),
        pytest.param(packet(Opcode.READ, 1 << 24), id="another node"),
        pytest.param(packet(Opcode.READ, 1 << 56), id="bits 63..56"),
        pytest.param(packet(Opcode.WRITE, THREAD_BASE, mask=0x7F, data=255), id="part of PC"),
        pytest.param(packet(Opcode.WRITE, IDENTITY, mask=1 << 63), id="part, read only"),
        pytest.param(packet(Opcode.WRITE, THREAD_BASE, mask=0x1FF, data=255), id="PC and a byte"),
    ],
)
def test_a_request_at_fault_changes_nothing_and_is_answered_so(
    node: GoldenNode, request_at_fault: np.ndarray, state_arrays
) -> None:
    before = [array.copy() for array in state_arrays(node)]
    (reply,) = node.exchange(request_at_fault)
    assert reply["opcode"] == Opcode.FAULT_REPLY
    assert read_line(node, COUNTER_BASE)[CounterRegister.FAULT_REPLIES] == 1
    node.state.counter[:] = 0
    assert all(map(np.array_equal, state_arrays(node), before))


def test_a_write_with_an_empty_mask_writes_nothing(node: GoldenNode) -> None:
    for address in (0, THREAD_BASE):
        assert len(node.exchange(packet(Opcode.WRITE, address, data=255))) == 0
    assert not node.memory.any()
    assert not any(read_line(node, THREAD_BASE))


def test_read_only_registers_ignore_writes(node: GoldenNode) -> None:
    identity = read_line(node, IDENTITY)
    for line in (IDENTITY, COUNTER_BASE):
        assert len(node.exchange(packet(Opcode.WRITE, line, mask=FULL_LINE, data=255))) == 0
    status_and_above = FULL_LINE & ~((1 << 8 * ThreadRegister.STATUS) - 1)
    request = packet(Opcode.WRITE, THREAD_BASE, mask=status_and_above, data=3)
    assert len(node.exchange(request)) == 0
    assert read_line(node, IDENTITY) == identity
    assert not any(read_line(node, THREAD_BASE))


def test_one_packet_sets_pc_and_argument_and_starts(node: GoldenNode) -> None:
    program = assemble("addi a1, a0, 1\necall", 0x140)
    node.exchange(write_requests(0x140, program.code))
    registers = np.zeros(8, np.uint64)
    registers[[ThreadRegister.PC, ThreadRegister.ARG]] = 0x140, 41
    registers[ThreadRegister.COMMAND] = Command.START
    node.exchange(packet(Opcode.WRITE, THREAD_BASE, mask=(1 << 24) - 1, data=registers.view("u1")))
    assert node.status is ThreadStatus.RUNNING
    assert node.run(100) == 2
    assert node.idle
    assert node.x[11] == 42
    line = read_line(node, THREAD_BASE)
    assert line == [0x140, 41, 0, ThreadStatus.HALTED, 11, 0x144, 0, 2]


def test_a_running_thread_ignores_start_and_heeds_stop(node: GoldenNode) -> None:
    node.exchange(write_requests(0, assemble("loop: addi a0, a0, 1\nj loop").code))
    node.exchange(write_register(ThreadRegister.COMMAND, Command.START))
    assert node.run(10) == 10
    node.exchange(write_register(ThreadRegister.PC, 0x1000))
    node.exchange(write_register(ThreadRegister.COMMAND, Command.START))
    node.exchange(write_register(ThreadRegister.COMMAND, 77))
    assert node.run(10) == 10
    assert node.x[10] == 10
    node.exchange(write_register(ThreadRegister.COMMAND, Command.STOP))
    assert node.status is ThreadStatus.IDLE
    assert node.run(10) == 0
    line = read_line(node, THREAD_BASE)
    assert line == [0x1000, 0, 0, ThreadStatus.IDLE, 0, 0, 0, 20]


def test_a_new_start_clears_what_the_last_run_left(node: GoldenNode) -> None:
    node.exchange(write_requests(0, assemble(".word 0\nloop: j loop").code))
    node.exchange(write_register(ThreadRegister.COMMAND, Command.START))
    node.run(10)
    assert node.status is ThreadStatus.FAULTED
    node.exchange(write_register(ThreadRegister.PC, 4))
    node.exchange(write_register(ThreadRegister.COMMAND, Command.START))
    node.run(3)
    assert read_line(node, THREAD_BASE) == [4, 0, 0, ThreadStatus.RUNNING, 0, 0, 0, 3]


def test_a_program_that_never_ends_is_reported_with_bound_and_place(node: GoldenNode) -> None:
    node.exchange(write_requests(0x40, assemble("nop\nloop: j loop").code))
    node.start(0x40)
    with pytest.raises(TimeoutError, match=r"stop within 1000 instructions.* pc 0x44"):
        node.finish(1000)
    assert node.cycles == 1000
    assert not node.idle


def test_cycles_pass_for_an_idle_node_too(node: GoldenNode) -> None:
    node.exchange(write_requests(0, assemble("nop\necall").code))
    assert node.run(100) == 0
    node.start(0)
    assert node.advance(100) == 2
    assert node.cycles == 100


def test_counters_count_instructions_steps_and_packets(node: GoldenNode) -> None:
    text = "mzero acc0\nmmul.bf16.vv acc0, v0, v1\nmmac.bf16.vv acc0, v0, v1\nnop\necall"
    node.exchange(write_requests(0, assemble(text).code))
    node.start(0)
    node.finish(100)
    node.exchange(packet(Opcode.READ, 8))
    counters = read_line(node, COUNTER_BASE)
    assert counters[CounterRegister.CYCLES] == 5
    assert counters[CounterRegister.INSTRUCTIONS] == 4
    assert counters[CounterRegister.MATRIX_STEPS] == 2
    assert counters[CounterRegister.REQUESTS] == 4
    assert counters[CounterRegister.REPLIES] == 1
    assert counters[CounterRegister.FAULT_REPLIES] == 1
    assert counters[CounterRegister.BANK_CONFLICTS] == counters[CounterRegister.MATRIX_BUSY] == 0


def test_a_program_reads_and_writes_the_control_block(execute) -> None:
    text = f"""
        li s0, {CONTROL_BASE}
        li s1, {THREAD_BASE}
        li s2, {COUNTER_BASE}
        ld a1, 16(s0)      # identity.sram_bytes
        sd a1, 16(s0)      # read only
        ld a2, 24(s1)      # status
        li a3, 0x1234
        sd a3, 8(s1)       # arg
        ld a4, 8(s1)
        ld a5, 16(s1)      # command reads 0
        ld a6, 8(s2)       # instructions before this one
        ld a7, 56(s1)      # cycles before this one
        ecall
    """
    node = execute(text)
    assert node.x[11] == node.params.sram_bytes
    assert node.x[12] == ThreadStatus.RUNNING
    assert node.x[14] == 0x1234
    assert node.x[15] == 0
    assert node.x[17] == node.x[16] + 1
    before = assemble(text.split("ld a6")[0]).code
    assert node.x[16] == len(before) // 4


def test_a_program_can_stop_itself(execute) -> None:
    node = execute(f"li s1, {THREAD_BASE}\nli a1, {Command.STOP:d}\nsd a1, 16(s1)\nli a2, 5\necall")
    assert node.status is ThreadStatus.IDLE
    assert node.x[12] == 0


def test_code_that_a_program_writes_runs_after_fence_i(execute) -> None:
    new = int.from_bytes(assemble("addi a0, a0, 100").code, "little")
    node = execute(
        f"""
        li a1, {new}
        li a2, 2
    loop:
    patched:
        addi a0, a0, 1
        sw a1, patched(x0)
        addi a2, a2, -1
        fence.i
        bnez a2, loop
        ecall
    """
    )
    assert node.x[10] == 101


def test_code_that_packets_replace_runs_anew(execute) -> None:
    node = execute("li a1, 1\necall")
    execute("li a1, 2\necall", node=node)
    assert node.x[11] == 2


def test_reset_keeps_sram_and_registers_and_clears_the_rest(execute) -> None:
    node = execute("li a1, 5\ncsrw mscratch, a1\nmmul.bf16.vv acc0, v0, v1\nsd a1, 256(x0)\necall")
    node.acc[0], node.v[3] = 1, 2
    kept = [array.copy() for array in (node.memory, node.x, node.v, node.acc)]
    node.reset()
    for array, before in zip((node.memory, node.x, node.v, node.acc), kept, strict=True):
        assert np.array_equal(array, before)
    assert node.read_csr("mscratch") == 0
    assert node.read_csr("mcfp8a") == 7
    assert node.idle and node.pc == 0
    assert not any(read_line(node, THREAD_BASE))
    assert read_line(node, IDENTITY) == list(identity_values(node.params))


@pytest.mark.parametrize("name", PRESETS)
def test_the_identity_line_describes_every_preset(name: str) -> None:
    node = GoldenNode(preset(name), node_id=5)
    assert read_line(node, IDENTITY) == list(identity_values(preset(name), 5))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"node_id must be in .*, not -1"):
        GoldenNode(preset("tiny"), node_id=-1)
    with pytest.raises(TypeError, match=r"requests must be .* PACKET_DTYPE, not .* uint8"):
        GoldenNode(preset("tiny")).exchange(np.zeros(88, np.uint8))
