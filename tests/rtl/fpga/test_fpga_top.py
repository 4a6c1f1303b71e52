# amaranth: UnusedElaboratable=no
"""All that is on a board's FPGA, driven over its serial line."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.fpga.endpoint import HostEnd
from d1_golden.fpga.uart import UartParams
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_rtl.fpga.bitstream import build_bitstream
from d1_rtl.fpga.boards import BOARDS
from d1_rtl.fpga.fpga_top import FpgaTop
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.sim.uart_line import UartLine

from testbench.ecp5_netlist import Ecp5Netlist, write_cells
from testbench.memory_node import LINES, MemoryNode

_CLOCK_HZ = 25_000_000
_UART = UartParams(clock_hz=_CLOCK_HZ)
_SEED = 6
_NODE_ADDRESS = BOARD_NODE << 24
#: A packet and its reply take at most so many cycles, and an open session.
_CYCLES = 20_000


def memory_top():
    return FpgaTop(MemoryNode(), BOARDS["ulx3s"], clock_hz=_CLOCK_HZ)


@pytest.fixture(scope="module", params=["rtl", "netlist"])
def model(request, tmp_path_factory):
    """Simulate the RTL, and what synthesis made of it."""
    if request.param == "rtl":
        design, sources = memory_top(), []
    else:
        folder = tmp_path_factory.mktemp("netlist")
        made = build_bitstream(memory_top(), name="memory", folder=folder)
        design = Ecp5Netlist(memory_top())
        sources = [made.netlist, write_cells(folder / "cells.v")]
    with NativeModel(design, name=f"fpga_{request.param}", extra_sources=sources) as model:
        yield model


class Host:
    """A host at the other end of the line, with a session that was just opened.

    The first session begins when the board is switched on.
    """

    def __init__(self, model, *, session=1):
        if session == 1:
            model.reset()
        self.line = UartLine(model, _UART)
        self.line.run(100)  # the PLL locks
        self.end = HostEnd()
        self.end.open(session)
        self._until(lambda: self.end.is_open, "the session")

    def ask(self, packet):
        """Send a request; return its reply."""
        self.end.send(packet.tobytes())
        replies = []

        def answered():
            replies.append(self.end.take())
            return replies[-1] is not None

        self._until(answered, "a reply")
        return np.frombuffer(replies[-1], PACKET_DTYPE)[0]

    def tell(self, packet):
        """Send a request without a reply."""
        self.end.send(packet.tobytes())
        self._until(lambda: not self.end.unacknowledged, "an acknowledgement")

    def _until(self, done, what):
        for _ in range(_CYCLES // 100):
            while (frame := self.end.next_frame()) is not None:
                self.line.send(frame)
            self.end.receive(self.line.run(100))
            if done():
                return
        raise AssertionError(f"waited {_CYCLES} cycles for {what}")


def test_a_host_writes_and_reads_the_memory_of_a_board(model):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    host = Host(model)
    contents = {line: rng.randbytes(64) for line in rng.sample(range(LINES), 8)}
    for line, data in contents.items():
        host.tell(write_requests(_NODE_ADDRESS + 64 * line, data)[0])
    for line, data in contents.items():
        reply = host.ask(read_requests(_NODE_ADDRESS + 64 * line, 64)[0])
        words = np.frombuffer(data, "<u8")
        product = int(words[0]) % 2**18 * (int(words[1]) % 2**18)
        assert reply["opcode"] == Opcode.READ_REPLY
        assert reply["data"].tobytes() == data[:56] + product.to_bytes(8, "little")
    assert model.get("error") == 0


def test_the_light_of_errors_is_on_from_a_refused_request_to_the_next_session(model):
    host = Host(model)
    refused = read_requests(_NODE_ADDRESS, 64)[0]
    refused["opcode"] = Opcode.POST
    assert host.ask(refused)["opcode"] == Opcode.FAULT_REPLY
    assert model.get("error") == 1
    host.ask(read_requests(_NODE_ADDRESS, 64)[0])
    assert model.get("error") == 1
    Host(model)
    assert model.get("error") == 0


def test_the_node_is_idle_without_requests_and_what_the_board_wants_high_is_high(model):
    Host(model)
    assert (model.get("busy"), model.get("wifi_gpio0")) == (0, 1)


class Remembering(wiring.Component):
    """Has the ports of a node, takes everything and is not idle from the first request on."""

    def __init__(self):
        super().__init__(MemoryNode().signature)

    def elaborate(self, platform):
        m = Module()
        used = Signal()
        m.d.sync += used.eq(used | self.i_request.valid)
        m.d.comb += [self.i_request.ready.eq(used), self.idle.eq(~used)]
        return m


def test_a_session_resets_a_node_whose_cycles_have_clocks_of_their_own():
    top = FpgaTop(OnFpga(Remembering()), BOARDS["ulx3s"], clock_hz=_CLOCK_HZ)
    with NativeModel(top, name="fpga_top_session") as model:
        host = Host(model)
        assert model.get("busy") == 0
        host.tell(write_requests(_NODE_ADDRESS, bytes(64))[0])
        host.line.run(100)
        assert model.get("busy") == 1
        Host(model, session=2).line.run(100)
        assert model.get("busy") == 0


def test_a_light_of_inverted_pins_is_on_when_low():
    top = FpgaTop(MemoryNode(), BOARDS["ecpix5"], clock_hz=_CLOCK_HZ)
    with NativeModel(top, name="fpga_top_inverted") as model:
        model.set("rst", 1)  # not pressed: the button is inverted too
        model.step(100)
        assert (model.get("error"), model.get("busy")) == (1, 1)


def test_a_clock_too_slow_for_the_line_is_refused():
    with pytest.raises(ValueError, match="clock_hz must be at least"):
        FpgaTop(MemoryNode(), BOARDS["ulx3s"], clock_hz=10_000_000)
