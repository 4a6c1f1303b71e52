"""A node behind its serial door in RTL, driven by the software for boards over a terminal."""

import d1
import numpy as np
import pytest
from d1.backends.board import BoardLink
from d1.demo import Digits
from d1.device import Device
from d1.errors import BoardError
from d1_golden.assembler import assemble
from d1_golden.fpga.board import BOARD_NODE
from d1_golden.memory_map import LOCAL_BITS, TRANSFER_BASE, ThreadStatus
from d1_golden.node import GoldenNode
from d1_golden.numerics.dot_product import matmul_reference
from d1_golden.packet import read_requests, write_requests
from d1_golden.params import preset
from d1_golden.transfer import TransferFault
from d1_rtl.sim.serial_board import SIMULATED_UART, SerialBoard, uart_node_model
from ml_dtypes import bfloat16

TINY = preset("tiny")
#: Seconds: a simulation on a busy machine is slow.
PATIENT = 120
OWN, OTHER = BOARD_NODE << LOCAL_BITS, 5 << LOCAL_BITS


@pytest.fixture(scope="module")
def board():
    with uart_node_model(TINY) as model, SerialBoard(model, SIMULATED_UART) as plugged:
        yield plugged


def device_on(board):
    return Device(BoardLink(TINY, board.port, answer_seconds=PATIENT), TINY, "board")


def test_digits_are_classified_with_the_bits_of_golden(board):
    print("seed 2")
    images = Digits.load(2).held_out_images[:8].numpy().astype(bfloat16)
    weights = np.random.default_rng(2).standard_normal((64, 10)).astype(bfloat16)
    with device_on(board) as device:
        result = d1.matmul(images, weights, device=device)
    codes = (images.view(np.uint16), weights.view(np.uint16))
    expected = matmul_reference(*codes, TINY.dot_fraction_bits)
    assert int(np.bitwise_count(result.view(np.uint32) ^ expected).sum()) == 0


#: Transfers to the node itself, to another one, and to a rectangle with both.
PROGRAM = f"""
    li a0, 0x1000
    li a1, {OWN | 0x3000}
    push a0, a1, 3
    li a2, 0x3400
    li a3, {OWN | 0x1040}
    pull a2, a3, 2
    li a4, {OWN}
    post a4, 7
    fence
    swait 7
    li a1, {OTHER | 0x40}
    push a0, a1, 1
    pull a0, a1, 1
    fence
    ecall
"""


def test_the_nodes_own_requests_come_back_or_are_refused(board):
    data = np.random.default_rng(3).integers(0, 256, 256, np.uint8)
    code = assemble(PROGRAM).code
    golden = GoldenNode(TINY, BOARD_NODE)
    golden.exchange(np.concatenate([write_requests(0x1000, data), write_requests(0, code)]))
    golden.start(0)
    golden.finish(10_000)
    with device_on(board) as device:
        device.write(0x1000, data)
        device.write(0, code)
        device.start(0)
        assert device.wait(100_000).status is ThreadStatus.HALTED
        for address, size in ((0x1000, 256), (0x3000, 192), (0x3400, 128), (TRANSFER_BASE, 64)):
            expected = golden.exchange(read_requests(address, size))["data"].reshape(-1)
            assert np.array_equal(device.read(address, size), expected)
        faults = device.read(TRANSFER_BASE, 32).view("<u8").tolist()
        assert faults[1:3] == [2, TransferFault.REMOTE]
        assert np.array_equal(device.read(0x3000, 192), data[:192])


def test_unplugging_is_an_error_and_the_next_opening_works(board):
    with device_on(board) as device:
        device.write(0x2000, b"before")
        board.unplug()
        with pytest.raises(BoardError, match="must stay connected, but: "):
            device.read(0x2000, 6)
    with pytest.raises(BoardError, match="it is not there"):
        device_on(board)
    board.plug_in()
    with device_on(board) as device:
        assert device.status().status is ThreadStatus.IDLE
        device.write(0x2000, b"after")
        assert device.read(0x2000, 5).tobytes() == b"after"
