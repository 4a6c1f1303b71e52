"""The gearboxes against the plain sequence of bits, at many widths."""

import random

import numpy as np
import pytest
from d1_golden.serdes.gearbox import gear_down, gear_up, new_queues, wants_block
from d1_golden.serdes.params import BLOCK_BITS

#: Those of transceivers, and some that have no factor in common with a block.
WIDTHS = (1, 2, 7, 16, 20, 32, 33, 40, 56, 63, 64)


def random_blocks(seed, count):
    print(f"seed {seed}")
    rng = random.Random(seed)
    return [rng.getrandbits(BLOCK_BITS) for _ in range(count)]


def serial(values, width):
    """Return values as one integer, the first in the lowest bits."""
    return sum(value << n * width for n, value in enumerate(values))


def sent_by_gearbox(blocks, width):
    """Return what a lane sends for blocks, as long as they last, and the clocks that took one."""
    queue, sent, takes, waiting = new_queues(1), [], [], list(blocks)
    while waiting:
        takes.append(bool(wants_block(queue[0], width)))
        header, word = waiting[0] & 3, np.uint64(waiting[0] >> 2)
        if takes[-1]:
            waiting.pop(0)
        sent.append(int(gear_down(queue[0], width, header, word)))
    return sent, takes


def received(values, width, slips=()):
    """Return the blocks that come out; `slips` are clocks in which the search moves on."""
    queue, blocks = new_queues(1), []
    for clock, value in enumerate(values):
        valid, header, word = gear_up(queue[0], width, np.uint64(value), clock in slips)
        if valid:
            blocks.append(int(word) << 2 | int(header))
    return blocks


@pytest.mark.parametrize("width", WIDTHS)
def test_every_bit_is_sent_once_and_in_order(width):
    blocks = random_blocks(width, 100)
    sent, takes = sent_by_gearbox(blocks, width)
    assert all(value >> width == 0 for value in sent)
    bits = len(sent) * width
    assert serial(sent, width) == serial(blocks, BLOCK_BITS) & (1 << bits) - 1
    # As many blocks are taken as fill the lane: never one more in store than is needed.
    for clock in range(1, len(takes)):
        assert sum(takes[:clock]) == -(-clock * width // BLOCK_BITS)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_receiver_gives_back_the_blocks(width):
    blocks = random_blocks(-width, 100)
    sent, _ = sent_by_gearbox(blocks, width)
    whole = len(sent) * width // BLOCK_BITS
    assert received(sent, width) == blocks[:whole]


@pytest.mark.parametrize("width", WIDTHS)
def test_each_slip_moves_the_boundary_by_one_bit_to_any_position(width):
    blocks = random_blocks(1000 + width, 5 + 3 * width)
    values, _ = sent_by_gearbox(blocks, width)
    stream = serial(values, width)
    slips = [3 + 2 * n for n in range(BLOCK_BITS)]
    seen = received(values, width, set(slips))
    last = slips[-1] * width // BLOCK_BITS + 2  # blocks after all the slips
    moved = stream >> BLOCK_BITS
    later = [moved >> n * BLOCK_BITS & (1 << BLOCK_BITS) - 1 for n in range(len(seen))]
    assert len(seen) > last
    assert seen[last:] == later[last : len(seen)]
