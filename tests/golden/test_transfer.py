import numpy as np
import pytest
from d1_golden.packet import POST_FLAG
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import DESCRIPTOR_DTYPE, DESCRIPTOR_FIELDS, TransferOp, descriptor


def test_a_descriptor_is_one_line_and_its_fields_follow_each_other() -> None:
    assert DESCRIPTOR_DTYPE.itemsize == LINE_BYTES
    place = 0
    for field in DESCRIPTOR_FIELDS:
        dtype, offset = DESCRIPTOR_DTYPE.fields[field.name][:2]
        assert 8 * offset == place and 8 * dtype.itemsize == field.bits
        place += field.bits


def test_everything_that_is_given_is_in_the_descriptor() -> None:
    (one,) = descriptor(
        TransferOp.PULL, local=64, remote=5 << 24 | 128, lines=7, local_stride=-64,
        remote_stride=256, completion=3, arrival=31, wait=True, next_address=640,
    )  # fmt: skip
    assert one["opcode"] == 1 and one["wait"] == 1 and one["lines"] == 7
    assert (one["completion"], one["arrival"]) == (POST_FLAG | 3, POST_FLAG | 31)
    assert (one["local"], one["remote"], one["next"]) == (64, 5 << 24 | 128, 640)
    strides = np.array([one["local_stride"], one["remote_stride"]], np.uint32).view(np.int32)
    assert strides.tolist() == [-64, 256]
    assert not one["zero"] and not one["zero_corner"] and not one["zero_end"].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"opcode": TransferOp.XLIST}, "opcode must be PUSH, PULL, BCAST or POST, not"),
        ({"lines": 0}, r"lines must be in 1\.\.65535, not 0"),
        ({"lines": 1 << 16}, "lines must be in .*, not 65536"),
        ({"opcode": TransferOp.POST}, "arrival must be a semaphore in a POST, not None"),
        ({"completion": 32}, r"completion must be a semaphore, 0\.\.31, not 32"),
        ({"arrival": -1}, "arrival must be a semaphore, .* not -1"),
        ({"local_stride": 32}, "local_stride must be a multiple of 64 in 32 bits, not 32"),
        ({"remote_stride": 1 << 31}, "remote_stride must be a multiple of 64 in 32 bits"),
        ({"local": 1}, "local must be an aligned address of 24 bits, not 1"),
        ({"local": 1 << 24}, "local must be an aligned address of 24 bits"),
        ({"remote": 1 << 56}, "remote must be an aligned address of 56 bits"),
        ({"next_address": -64}, "next_address must be an aligned address of 24 bits, not -64"),
    ],
)
def test_what_a_node_would_refuse_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        descriptor(**{"opcode": TransferOp.PUSH} | fields)
