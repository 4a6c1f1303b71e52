"""A board as a device: the software as it is, over a pseudo terminal to the golden board."""

import threading
import time

import d1
import numpy as np
import pytest
from d1.backends import open_die_link, open_link
from d1.backends.board import BoardLink
from d1.cli import ExitCode, main
from d1.demo import Digits
from d1.device import Device, shared_device
from d1.errors import AccessError, BoardError, CycleLimitError, KernelFault
from d1_golden.assembler import assemble
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.memory_map import (
    IDENTITY,
    CounterRegister,
    IdentityRegister,
    ThreadStatus,
)
from d1_golden.numerics.dot_product import matmul_reference
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_golden.params import DIES, preset
from ml_dtypes import bfloat16

from testbench.golden_board import GoldenBoard

TINY = preset("tiny")
#: A busy machine may take its time.
PATIENT = 60


@pytest.fixture
def board():
    with GoldenBoard(TINY) as plugged:
        yield plugged


def device_on(board, **options):
    return Device(BoardLink(TINY, board.port, **({"answer_seconds": PATIENT} | options)), TINY, "")


def same_bits(result, a, b):
    expected = matmul_reference(a.view(np.uint16), b.view(np.uint16), TINY.dot_fraction_bits)
    return np.array_equal(result.view(np.uint32), expected)


@pytest.mark.parametrize("rate", [0, 2e-3])
def test_digits_are_classified_with_the_bits_of_golden_whatever_the_line_does(rate):
    print("seed 1")
    digits = Digits.load(1)
    rng = np.random.default_rng(1)
    hidden, out = (rng.standard_normal(s).astype(bfloat16) for s in ((64, 16), (16, 10)))
    images = digits.held_out_images[:16].numpy().astype(bfloat16)
    with GoldenBoard(TINY, rate=rate, seed=1) as board, device_on(board) as device:
        first = d1.matmul(images, hidden, device=device)
        second = d1.matmul(np.maximum(first, 0).astype(bfloat16), out, device=device)
        resent = device.link.line.end.resent
    assert same_bits(first, images, hidden)
    assert same_bits(second, np.maximum(first, 0).astype(bfloat16), out)
    assert resent > 0 or rate == 0


def test_memory_threads_and_counters_are_those_of_the_node(board):
    with device_on(board) as device:
        device.write(0x4001, bytes(range(100)))
        assert device.read(0x4001, 100).tobytes() == bytes(range(100))
        device.write(0, assemble("li a1, 7\nsd a1, 0(a0)\necall").code)
        device.start(0, arg=0x5000)
        assert device.wait(10_000).status is ThreadStatus.HALTED
        assert device.read(0x5000, 1)[0] == 7
        assert device.counters()[CounterRegister.INSTRUCTIONS] == 2
        assert device.cycles > 0
        words = device.read(IDENTITY, 64).view("<u8")
        assert words[IdentityRegister.NODE] == BOARD_NODE
        device.reset()
        assert device.status().status is ThreadStatus.IDLE
        assert device.cycles == 0
        device.link.advance(1000)


def test_a_thread_that_does_not_stop_or_faults_is_reported(board):
    with device_on(board) as device:
        with pytest.raises(CycleLimitError, match="thread 0 must stop within 5000 cycles"):
            device.call(assemble("loop: j loop").code, max_cycles=5000)
        with pytest.raises(KernelFault, match="thread 0 must end with ecall"):
            device.call(assemble("ld a0, -8(x0)").code, max_cycles=5000)
        assert device.read(0, 8).size == 8


def test_replies_are_those_of_the_requests_and_faults_of_silent_ones_are_seen(board):
    with device_on(board) as device:
        requests = np.concatenate(
            [
                write_requests(0x1000, bytes(range(64))),
                write_requests(0x70_0000, bytes(64)),
                read_requests(0x1000, 128),
                write_requests(0x1040, bytes(64)),
                write_requests(0x70_0040, bytes(8)),
            ]
        )
        requests["tag"] = np.arange(len(requests))
        requests["flags"][4] = ACK_FLAG
        replies = device.link.exchange(requests)
        kinds = [(Opcode(r["opcode"]).name, int(r["tag"])) for r in replies]
        assert kinds == [
            ("FAULT_REPLY", 1),
            ("READ_REPLY", 2),
            ("READ_REPLY", 3),
            ("WRITE_REPLY", 4),
            ("FAULT_REPLY", 5),
        ]
        assert len(device.link.exchange(requests[:0])) == 0
        with pytest.raises(AccessError, match="address 0x700000 must be in SRAM"):
            device.write(0x70_0000, bytes(8))
        with pytest.raises(TypeError, match="requests must be a one-dimensional array of PACKET"):
            device.link.exchange(np.zeros(3, np.uint8))


def test_a_thousand_packets_are_answered_once_each_in_order(board):
    with device_on(board) as device:
        requests = read_requests(0, 64 * 1000)
        replies = device.link.exchange(requests)
    assert replies.dtype == PACKET_DTYPE
    assert np.array_equal(replies["tag"], requests["tag"])


def test_unplugging_in_the_middle_is_an_error_and_the_next_opening_works(board):
    with device_on(board) as device:
        device.write(0x4000, b"left")
        timer = threading.Timer(0.2, board.unplug)
        timer.start()
        with pytest.raises(BoardError, match=r"board on /dev/pts/\d+ must stay connected, but: "):
            for _ in range(100_000):
                device.write(0x4000, bytes(1000))
        timer.join()
        with pytest.raises(BoardError, match="must stay connected"):
            device.read(0, 8)
        with pytest.raises(BoardError, match="must stay connected"):
            device.reset()
    board.plug_in()
    with device_on(board) as device:
        assert device.read(0x4000, 4).tobytes() == bytes(4)  # a new node


def test_what_names_a_board_finds_it_again_after_unplugging(board, monkeypatch):
    monkeypatch.setattr("d1.device._shared", {})
    a = np.eye(4, dtype=bfloat16)
    monkeypatch.setenv("D1_PORT", board.port)
    assert same_bits(d1.matmul(a, a, device="board", preset="tiny"), a, a)
    board.unplug()
    with pytest.raises(BoardError, match="must stay connected"):
        d1.matmul(a, a, device="board", preset="tiny")
    board.plug_in()
    monkeypatch.setenv("D1_PORT", board.port)
    assert same_bits(d1.matmul(a, a, device="board", preset="tiny"), a, a)
    shared_device("board", "tiny").close()


def test_a_board_that_falls_silent_is_an_error_that_says_which_and_how_long(board):
    with device_on(board, answer_seconds=PATIENT) as device:
        device.link.line._answer_seconds = 0.3
        board.hears = False
        before = time.monotonic()
        message = (
            rf"board on {board.port} must answer within 0.3 s, but packet 1 of 1, READ at 0x4000, "
            r"was not answered, sent again \d times"
        )
        with pytest.raises(BoardError, match=message):
            device.read(0x4000, 8)
        assert time.monotonic() - before > 0.3
        # What was asked then is not answered to the next session.
        device.link.line._answer_seconds = PATIENT
        board.hears = True
        device.reset()
        device.write(0x4000, b"now")
        assert device.read(0x4000, 3).tobytes() == b"now"


def test_a_host_that_comes_in_the_middle_of_anothers_session_begins_anew(board):
    first = device_on(board)
    first.write(0, assemble("loop: j loop").code)
    first.start(0)
    first.link.line._serial.write(b"half a frame")
    first.close()
    with device_on(board) as second:
        assert second.status().status is ThreadStatus.IDLE
        assert board.end.resets == 2
    with pytest.raises(BoardError, match="must be open, not closed"):
        first.read(0, 8)


def test_another_node_than_was_asked_for_is_refused(board):
    message = r"must have a node of preset fpga, but has sram_bytes 0x10000 instead of 0x40000, "
    with pytest.raises(BoardError, match=message):
        BoardLink(preset("fpga"), board.port, answer_seconds=PATIENT)


def test_a_port_that_is_not_there_or_taken_is_refused(board, monkeypatch):
    monkeypatch.delenv("D1_PORT", raising=False)
    with pytest.raises(BoardError, match=r"not '/dev/none': it is not there; there are: "):
        d1.open("board", port="/dev/none")
    with device_on(board), pytest.raises(BoardError, match="port must be a serial port that can"):
        d1.open("board", port=board.port)
    with pytest.raises(ValueError, match="port must be None for device 'golden', not '/dev/x'"):
        open_link("golden", TINY, "/dev/x")
    with pytest.raises(ValueError, match="port must be of one board, not 'x' of a mesh"):
        d1.open("board", mesh=(2, 2), port="x")
    with pytest.raises(ValueError, match="device must be one with a die, not 'board', for tiny"):
        open_die_link("board", DIES["tiny"])
    with pytest.raises(ValueError, match="answer_seconds must be positive, not 0"):
        device_on(board, answer_seconds=0)


def test_the_command_line_runs_programs_on_a_board(board, tmp_path, capsys, monkeypatch):
    arguments = ["run", str(tmp_path / "none.elf"), "--device", "board", "--preset", "tiny"]
    assert main(arguments) == ExitCode.USAGE
    assert main(["demo", "--device", "board", "--port", "/dev/none"]) == ExitCode.NO_DEVICE
    assert "'/dev/none': it is not there" in capsys.readouterr().err
    monkeypatch.setenv("D1_PORT", board.port)
    with d1.open("board", "tiny") as device:
        assert device.read(0, 8).size == 8
