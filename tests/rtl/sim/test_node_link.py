# amaranth: UnusedElaboratable=no
"""The packet loop on a small component with the ports of a node."""

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import TRANSFER_BASE, TransferRegister
from d1_golden.node import GoldenNode
from d1_golden.packet import FIELDS, PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_golden.params import preset
from d1_golden.transfer import TransferFault, TransferOp
from d1_rtl.node.interfaces import RetiredSlot, RetireSignature, ScalarResult
from d1_rtl.node.transfer_operation import transfer_operation_layout
from d1_rtl.sim.node_link import DRAIN_CYCLES, NodeLink
from d1_rtl.sim.retire_order import TraceError

from testbench.network_bench import NetworkBench
from testbench.trace_player import TracePlayer, struct_bits

LINES = 1024
SIZE = 64 * LINES
#: Slots of the trace of preset d1.
SLOTS = 7
#: What the results of odd tags are.
VALUE = 0x0123_4567_89AB_CDEF
SEED = 61
PACKET = data.StructLayout({field.name: field.bits for field in FIELDS})


class LineMemory(wiring.Component):
    """A memory behind a packet door: a reply in the cycle after its request.

    It retires an instruction for each request, is busy for `tag` cycles after a WRITE to its last
    line, and never takes a request with `flags` set. The result of a
    READ with an odd `tag` is shown in the cycle after the instruction.
    """

    i_request: In(stream.Signature(PACKET))
    o_reply: Out(stream.Signature(PACKET))
    idle: Out(1)
    retire: Out(RetireSignature(preset("tiny")))

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = store = memory.Memory(shape=512, depth=LINES, init=[])
        write = store.write_port(granularity=8)
        read = store.read_port(transparent_for=(write,))
        request, reply = self.i_request.payload, self.o_reply.payload
        full, fault, busy = Signal(), Signal(), Signal(16)
        header = Signal(PACKET)
        taken = self.i_request.valid & self.i_request.ready
        is_write = request.opcode == Opcode.WRITE
        m.d.comb += [
            self.i_request.ready.eq((~full | self.o_reply.ready) & (request.flags == 0)),
            fault.eq(request.address >= SIZE),
            write.addr.eq(request.address[6:]),
            write.data.eq(request.data),
            write.en.eq(Mux(taken & is_write & ~fault, request.mask, 0)),
            read.addr.eq(request.address[6:]),
            read.en.eq(taken),
            self.o_reply.valid.eq(full),
            reply.eq(header),
            reply.data.eq(Mux(header.opcode == Opcode.READ_REPLY, read.data, 0)),
            self.idle.eq(~full & (busy == 0)),
        ]
        with m.If(self.o_reply.ready):
            m.d.sync += full.eq(0)
        with m.If(busy != 0):
            m.d.sync += busy.eq(busy - 1)
        with m.If(taken):
            m.d.sync += [
                full.eq(~is_write | fault),
                header.eq(request),
                header.opcode.eq(Mux(fault, Opcode.FAULT_REPLY, Opcode.READ_REPLY)),
            ]
            with m.If(is_write & (request.address == SIZE - 64)):
                m.d.sync += busy.eq(request.tag)
        slot, late = self.retire.slots[2], self.retire.late[1]
        m.d.sync += [
            slot.eq(0),
            slot.valid.eq(taken),
            slot.thread.eq(request.source),
            slot.pc.eq(request.address),
            slot.insn.eq(request.opcode),
            slot.rd_valid.eq(~is_write),
            slot.rd.eq(request.tag),
            slot.pending.eq(~is_write & request.tag[0]),
            late.valid.eq(slot.valid & slot.pending),
            late.thread.eq(slot.thread),
            late.rd.eq(slot.rd),
            late.value.eq(VALUE),
        ]
        with m.If(~request.tag[0]):
            m.d.sync += slot.value.eq(request.data)
        return m


@pytest.fixture
def link():
    with NodeLink(LineMemory(), name="line_memory") as link:
        yield link


def line(address, opcode=Opcode.WRITE, tag=0, flags=0, source=0):
    packet = np.zeros(1, PACKET_DTYPE)
    packet["source"] = source
    packet["opcode"], packet["address"], packet["tag"] = opcode, address, tag
    packet["flags"], packet["mask"], packet["data"] = flags, 2**64 - 1, 0x5A
    return packet


def memory_image(seed):
    print(f"seed {seed}")
    return np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)


def test_a_request_and_a_reply_are_transferred_in_each_cycle(link):
    image = memory_image(1)
    start = link.cycles
    assert len(link.exchange(write_requests(0, image), 10_000)) == 0
    assert link.cycles - start <= LINES + DRAIN_CYCLES
    start = link.cycles
    replies = link.exchange(read_requests(0, SIZE), 10_000)
    assert link.cycles - start <= LINES + DRAIN_CYCLES
    np.testing.assert_array_equal(replies["data"].reshape(-1), image)
    np.testing.assert_array_equal(replies["tag"], np.arange(LINES))
    assert (replies["opcode"] == Opcode.READ_REPLY).all()


@pytest.mark.parametrize("probability", [0.1, 0.7])
def test_stalls_take_time_and_change_nothing(probability):
    image = memory_image(2)
    with NodeLink(LineMemory(), name="line_memory", stall_probability=probability, seed=3) as link:
        start = link.cycles
        link.exchange(write_requests(0, image), 100_000)
        replies = link.exchange(read_requests(0, SIZE), 100_000)
        np.testing.assert_array_equal(replies["data"].reshape(-1), image)
        np.testing.assert_array_equal(replies["tag"], np.arange(LINES))
        assert link.cycles - start > 2 * LINES / (1 - probability) * 0.9


def test_the_same_seed_gives_the_same_stalls():
    def cycles(seed):
        with NodeLink(LineMemory(), name="line_memory", stall_probability=0.5, seed=seed) as link:
            link.exchange(read_requests(0, SIZE), 100_000)
            return link.cycles

    assert cycles(4) == cycles(4) != cycles(5)


def test_a_write_at_fault_is_answered_and_the_reads_around_it_too(link):
    requests = np.concatenate(
        [
            line(SIZE, Opcode.READ, tag=1),
            line(SIZE, Opcode.WRITE, tag=1),
            line(SIZE, Opcode.READ, tag=1),
            line(64, Opcode.WRITE, tag=2),
            line(64, Opcode.READ, tag=2),
            line(SIZE, Opcode.WRITE, tag=3),
        ]
    )
    replies = link.exchange(requests, 100)
    assert replies["tag"].tolist() == [1, 1, 1, 2, 3]
    assert replies["opcode"].tolist() == [4, 4, 4, 3, 4]
    assert len(link.exchange(requests[:0], 100)) == 0


def test_run_waits_until_the_node_is_idle(link):
    link.exchange(line(SIZE - 64, tag=1000), 100)
    assert link.run(2000) == 1000 - DRAIN_CYCLES
    assert link.run(2000) == 0


def test_a_node_that_rests_costs_nothing_and_loses_no_cycle(link):
    link.exchange(line(SIZE - 64, tag=100), 100)
    before = link.cycles
    link.advance(10**15)  # a clock that ran would take years
    assert link.cycles - before == 10**15
    link.exchange(line(SIZE - 64, tag=1000), 100)
    link.advance(500)
    assert link.run(2000) == 500 - DRAIN_CYCLES


def test_run_gives_up_after_its_limit(link):
    link.exchange(line(SIZE - 64, tag=1000), 100)
    with pytest.raises(TimeoutError, match="waited 50 cycles for line_memory to become idle"):
        link.run(50)


def test_advance_lets_cycles_pass(link):
    start = link.cycles
    link.advance(123)
    assert link.cycles - start == 123


def test_a_request_that_is_not_taken_ends_with_a_message_and_reset_helps(link):
    requests = np.concatenate([line(0), line(0, flags=1), line(0, Opcode.READ)])
    message = "waited 200 cycles for line_memory to take 3 requests; it took 1"
    with pytest.raises(TimeoutError, match=message):
        link.exchange(requests, 200)
    link.reset()
    assert (link.exchange(line(0, Opcode.READ), 100)["data"] == 0x5A).all()


def test_a_limit_that_is_too_short_for_the_reply_ends_with_a_message(link):
    message = "waited 1 cycles for line_memory to answer 1 requests; it sent 0"
    with pytest.raises(TimeoutError, match=message):
        link.exchange(line(0, Opcode.READ), 1)


def test_retired_instructions_are_kept_up_to_the_capacity():
    with NodeLink(LineMemory(), name="line_memory", retire_capacity=10) as link:
        link.exchange(read_requests(0, 64 * 7), 100)
        link.exchange(line(64 * 9, tag=30, source=3), 100)
        retired, dropped = link.take_retired()
        assert dropped == 0
        assert retired["pc"].tolist() == [64 * n for n in (*range(7), 9)]
        assert retired["insn"].tolist() == [Opcode.READ] * 7 + [Opcode.WRITE]
        assert retired["rd_valid"].tolist() == [1] * 7 + [0]
        assert retired["rd"].tolist() == [*range(7), 30]
        assert retired["value"][:7].tolist() == [0, VALUE, 0, VALUE, 0, VALUE, 0]
        assert retired["value"][7] == 0x5A5A5A5A5A5A5A5A
        assert retired["thread"].tolist() == [0] * 7 + [3]
        assert np.diff(retired["cycle"][:7]).tolist() == [1] * 6
        for _ in range(2):  # values of instructions that were not kept are not missed
            link.exchange(read_requests(0, 64 * 25), 100)
            retired, dropped = link.take_retired()
            assert (len(retired), dropped) == (10, 15)


def test_every_field_of_every_slot_is_recorded_and_late_values_join_their_instructions():
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    with NodeLink(TracePlayer(preset("d1")), name="trace_player", retire_capacity=1000) as link:

        def show(port, struct, **fields):
            link.set(port, struct_bits(struct, **fields))

        expected = []
        for cycle in range(50):
            for place in rng.permutation(SLOTS):
                record = {
                    "thread": int(place) % 4,
                    "order": int(place) // 4,
                    "pc": int(rng.integers(0, 1 << 24)),
                    "insn": int(rng.integers(0, 1 << 32)),
                    "rd_valid": int(place) != 1,
                    "rd": int(rng.integers(1, 32)),
                    "pending": int(place) in (0, 3),
                    "value": int(rng.integers(0, 1 << 64, dtype=np.uint64)),
                }
                expected.append((cycle, record))
                if record["pending"]:
                    record = record | {"value": 0}
                show(f"slots__{place}", RetiredSlot, **record)
            link.advance(1)
            for place in range(SLOTS):
                link.set(f"slots__{place}", 0)
            pending = [record for when, record in expected if when == cycle and record["pending"]]
            for n, record in enumerate(pending):
                values = {name: record[name] for name in ("thread", "rd", "value")}
                show(f"late__{n}", ScalarResult, **values)
            link.advance(1)
            for n in range(2):
                link.set(f"late__{n}", 0)
        retired, dropped = link.take_retired()
    assert dropped == 0
    expected.sort(key=lambda item: (item[0], item[1]["thread"], item[1]["order"]))
    assert len(retired) == len(expected) == 50 * SLOTS
    for name in ("thread", "pc", "insn", "rd_valid", "rd", "value"):
        assert retired[name].tolist() == [record[name] for _, record in expected], name


def test_a_late_value_without_its_instruction_is_an_error():
    with NodeLink(TracePlayer(preset("d1")), name="trace_player", retire_capacity=10) as link:
        link.set("late__0", struct_bits(ScalarResult, thread=1, rd=7))
        link.advance(1)
        with pytest.raises(TraceError, match="late value of x7 of thread 1"):
            link.take_retired()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stall_probability": 1.0}, r"stall_probability must be from 0 to below 1, not 1\.0"),
        ({"seed": -1}, r"seed must be from 0 to below 2\*\*63, not -1"),
        ({"retire_capacity": -1}, "retire_capacity must be at least 0, not -1"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        NodeLink(LineMemory(), name="line_memory", **options)


def test_what_is_no_array_of_packets_is_refused(link):
    with pytest.raises(ValueError, match=r"array of PACKET_DTYPE .* not uint8"):
        link.exchange(np.zeros(88, np.uint8), 100)


def test_a_component_that_is_no_node_is_refused():
    class Other(wiring.Component):
        idle: Out(1)

        def elaborate(self, platform):
            return Module()

    with pytest.raises(ValueError, match="a node must have the port 'i_request__payload'"):
        NodeLink(Other(), name="other")


NODE, OTHER = 0x0102_0304, 0x0102_0305


@pytest.fixture
def sender():
    """Yield a node that sends requests, its memory full of random bytes, and those."""
    with NodeLink(NetworkBench(preset("tiny")), name="network_tiny") as link:
        link.set("node_id", NODE)
        image = memory_image(7)[: preset("tiny").sram_bytes]
        link.exchange(write_requests(0, image), 100_000)
        yield link, image


def transfer(link, op, x1, x2, count):
    """Give the node a transfer instruction."""
    fields = {"op": op, "x1": x1, "x2": x2, "count": count}
    layout = transfer_operation_layout()
    link.set("transfer__payload", layout.const(fields).as_value().value)
    link.set("transfer__valid", 1)
    link.advance(1)
    link.set("transfer__valid", 0)


def read(link, address, size):
    return link.exchange(read_requests(address, size), 100_000)["data"].reshape(-1)[:size]


@pytest.mark.parametrize("probability", [0.0, 0.5])
def test_requests_of_a_node_to_itself_come_back_to_it_beside_those_of_the_host(probability):
    image = memory_image(7)[: preset("tiny").sram_bytes]
    with NodeLink(
        NetworkBench(preset("tiny")), name="network_tiny", stall_probability=probability
    ) as link:
        link.set("node_id", NODE)
        link.exchange(write_requests(0, image), 100_000)
        transfer(link, TransferOp.PUSH, 0, NODE << 24 | 32768, 0)
        transfer(link, TransferOp.PULL, 40960, NODE << 24 | 2048, 0)
        while_it_runs = read(link, 0, 2048)
        link.run(1000)
        assert not link.get("transfers_pending")
        assert np.array_equal(while_it_runs, image[:2048])
        assert np.array_equal(read(link, 32768, 2048), image[:2048])
        assert np.array_equal(read(link, 40960, 2048), image[2048:4096])


def test_a_broadcast_that_nobody_acknowledges_is_done_when_the_link_is_idle(sender):
    link, image = sender
    transfer(link, TransferOp.BCAST, NODE << 32, NODE << 24 | 32768, 0)
    link.run(1000)
    assert np.array_equal(read(link, 32768, 2048), image[:2048])
    assert read(link, TRANSFER_BASE, 64).view("<u8")[TransferRegister.FAULTS] == 0


def test_requests_to_other_nodes_are_refused_unless_there_is_a_remote_one(sender):
    link, image = sender
    other = GoldenNode(preset("tiny"), OTHER)
    transfer(link, TransferOp.PUSH, 0, OTHER << 24 | 640, 3)
    link.run(1000)
    status = read(link, TRANSFER_BASE, 64).view("<u8").tolist()
    assert status[:4] == [0, 3, TransferFault.REMOTE, OTHER << 24 | 640]
    link.set_remote(other.exchange)
    transfer(link, TransferOp.PUSH, 0, OTHER << 24 | 640, 3)
    transfer(link, TransferOp.BCAST, OTHER << 32 | 64, NODE << 24 | 8192, 1)
    link.run(1000)
    assert np.array_equal(other.memory[640 : 640 + 192], image[:192])
    assert np.array_equal(other.memory[8192:8256], image[64:128])
    assert np.array_equal(read(link, 8192, 64), image[64:128])
    link.set_remote(None)
    transfer(link, TransferOp.PULL, 0, OTHER << 24, 1)
    link.run(1000)
    assert read(link, TRANSFER_BASE, 64).view("<u8")[TransferRegister.FAULTS] == 4


def test_an_error_in_the_remote_node_is_raised_where_the_cycles_are_run(sender):
    link, _ = sender

    def broken(requests):
        raise RuntimeError(f"cannot answer {len(requests)} request")

    link.set_remote(broken)
    transfer(link, TransferOp.PUSH, 0, OTHER << 24, 1)
    with pytest.raises(RuntimeError, match="cannot answer 1 request"):
        link.run(100)
    link.set_remote(lambda requests: np.zeros(17, PACKET_DTYPE))
    transfer(link, TransferOp.PUSH, 0, OTHER << 24, 1)
    with pytest.raises(ValueError, match="replies must be at most 16, not 17"):
        link.advance(50)
