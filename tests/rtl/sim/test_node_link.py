# amaranth: UnusedElaboratable=no
"""The packet loop on a small component with the ports of a node."""

import numpy as np
import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.packet import FIELDS, PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_rtl.sim.node_link import DRAIN_CYCLES, NodeLink

LINES = 1024
SIZE = 64 * LINES
PACKET = data.StructLayout({field.name: field.bits for field in FIELDS})


class LineMemory(wiring.Component):
    """A memory behind a packet door: a reply in the cycle after its request.

    It retires an instruction for each request, is busy for `tag` cycles after a WRITE to its last
    line, and never takes a request with `reserved` set.
    """

    i_request: In(stream.Signature(PACKET))
    o_reply: Out(stream.Signature(PACKET))
    idle: Out(1)
    retire: Out(
        wiring.Signature(
            {
                "valid": Out(1),
                "pc": Out(64),
                "insn": Out(32),
                "rd_valid": Out(1),
                "rd": Out(5),
                "value": Out(64),
            }
        )
    )

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
            self.i_request.ready.eq((~full | self.o_reply.ready) & (request.reserved == 0)),
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
        m.d.sync += [
            self.retire.valid.eq(taken),
            self.retire.pc.eq(request.address),
            self.retire.insn.eq(request.opcode),
            self.retire.rd_valid.eq(~is_write),
            self.retire.rd.eq(request.tag),
            self.retire.value.eq(request.data),
        ]
        return m


@pytest.fixture
def link():
    with NodeLink(LineMemory(), name="line_memory") as link:
        yield link


def line(address, opcode=Opcode.WRITE, tag=0, reserved=0):
    packet = np.zeros(1, PACKET_DTYPE)
    packet["opcode"], packet["address"], packet["tag"] = opcode, address, tag
    packet["reserved"], packet["mask"], packet["data"] = reserved, 2**64 - 1, 0x5A
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


def test_run_gives_up_after_its_limit(link):
    link.exchange(line(SIZE - 64, tag=1000), 100)
    with pytest.raises(TimeoutError, match="waited 50 cycles for line_memory to become idle"):
        link.run(50)


def test_advance_lets_cycles_pass(link):
    start = link.cycles
    link.advance(123)
    assert link.cycles - start == 123


def test_a_request_that_is_not_taken_ends_with_a_message_and_reset_helps(link):
    requests = np.concatenate([line(0), line(0, reserved=1), line(0, Opcode.READ)])
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
        link.exchange(line(64 * 9, tag=31), 100)
        retired, dropped = link.take_retired()
        assert dropped == 0
        assert retired["pc"].tolist() == [64 * n for n in (*range(7), 9)]
        assert retired["insn"].tolist() == [Opcode.READ] * 7 + [Opcode.WRITE]
        assert retired["rd_valid"].tolist() == [1] * 7 + [0]
        assert retired["rd"].tolist() == [*range(7), 31]
        assert retired["value"][7] == 0x5A5A5A5A5A5A5A5A
        assert np.diff(retired["cycle"][:7]).tolist() == [1] * 6
        link.exchange(read_requests(0, 64 * 25), 100)
        retired, dropped = link.take_retired()
        assert (len(retired), dropped) == (10, 15)


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
