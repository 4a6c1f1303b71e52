# amaranth: UnusedElaboratable=no
"""Scrambler, gearboxes and block lock of one lane against their golden twins, in one model."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.serdes.block_lock import is_valid_header, judge_header, new_locks, unlock
from d1_golden.serdes.gearbox import gear_down, gear_up, new_queues, wants_block
from d1_golden.serdes.params import BLOCK_BITS
from d1_golden.serdes.scrambler import SCRAMBLER_START, descramble, scramble
from d1_rtl.serdes.block_lock import BlockLock
from d1_rtl.serdes.blocks import Block
from d1_rtl.serdes.descrambler import Descrambler
from d1_rtl.serdes.deserializer import Deserializer
from d1_rtl.serdes.receive_gearbox import ReceiveGearbox
from d1_rtl.serdes.scrambler import Scrambler
from d1_rtl.serdes.serializer import Serializer
from d1_rtl.serdes.transmit_gearbox import TransmitGearbox
from d1_rtl.sim.native import NativeModel

WIDTHS = (1, 20, 32, 33, 40, 56, 64)
CLOCKS = 3000


class Lane(wiring.Component):
    """All parts side by side."""

    def __init__(self):
        gears = {}
        for width in WIDTHS:
            gears |= {f"sent_{width}": Out(width), f"takes_{width}": Out(1)}
            gears |= {f"arrived_{width}": In(width), f"slip_{width}": In(1)}
            gears |= {f"valid_{width}": Out(1), f"block_{width}": Out(BLOCK_BITS)}
        super().__init__(
            {
                **{"block": In(Block), "en": In(1), "scrambled": Out(Block)},
                **{"drop": In(1), "descrambled_valid": Out(1), "descrambled": Out(Block)},
                **{"restart": In(1), "bad": Out(1), "slip": Out(1), "locked": Out(1)},
                **gears,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.scrambler = scrambler = Scrambler()
        m.submodules.descrambler = descrambler = Descrambler()
        m.submodules.lock = lock = BlockLock()
        m.d.comb += [
            scrambler.i.eq(self.block),
            scrambler.en.eq(self.en),
            self.scrambled.eq(scrambler.o),
            descrambler.i.valid.eq(self.en),
            descrambler.i.payload.eq(self.block),
            descrambler.drop.eq(self.drop),
            self.descrambled_valid.eq(descrambler.o.valid),
            self.descrambled.eq(descrambler.o.payload),
            lock.valid.eq(self.en),
            lock.header.eq(self.block.header),
            lock.restart.eq(self.restart),
            *(getattr(self, name).eq(getattr(lock, name)) for name in ("bad", "slip", "locked")),
        ]
        for width in WIDTHS:
            down = Serializer() if width == 1 else TransmitGearbox(width)
            up = Deserializer() if width == 1 else ReceiveGearbox(width)
            m.submodules += [down, up]
            m.d.comb += [
                down.i.payload.eq(self.block),
                getattr(self, f"takes_{width}").eq(down.i.ready),
                getattr(self, f"sent_{width}").eq(down.o),
                up.i.eq(getattr(self, f"arrived_{width}")),
                up.slip.eq(getattr(self, f"slip_{width}")),
                getattr(self, f"valid_{width}").eq(up.o.valid),
                getattr(self, f"block_{width}").eq(up.o.payload),
            ]
        return m


@pytest.fixture(scope="module")
def lane():
    with NativeModel(Lane(), name="serdes_lane") as model:
        yield model


def generator(seed):
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def port(headers, words):
    """Return blocks as rows of a port."""
    low = headers.astype(np.uint64) | words << np.uint64(2)
    return np.stack(
        [low.astype(np.uint32), (low >> 32).astype(np.uint32), (words >> 62).astype(np.uint32)],
        axis=1,
    )


def random_blocks(rng):
    return rng.integers(0, 4, CLOCKS), rng.integers(0, 2**64, CLOCKS, np.uint64)


def test_the_scrambler_is_golden_and_stands_still_when_nothing_is_taken(lane):
    rng = generator(1)
    headers, words = random_blocks(rng)
    en = rng.integers(0, 2, CLOCKS).astype(np.uint8)
    lane.reset()
    seen = lane.play({"block": port(headers, words), "en": en}, ["scrambled"])["scrambled"]
    header, word = 1, np.uint64(SCRAMBLER_START)
    expected_headers, expected_words = [], []
    for clock in range(CLOCKS):
        expected_headers.append(header)
        expected_words.append(word)
        if en[clock]:
            header, word = headers[clock], np.uint64(scramble(words[clock], word))
    assert np.array_equal(seen, port(np.array(expected_headers), np.array(expected_words)))


def test_the_descrambler_is_golden_and_remembers_what_it_drops(lane):
    rng = generator(2)
    headers, words = random_blocks(rng)
    en, drop = (rng.random((2, CLOCKS)) < [[0.7], [0.1]]).astype(np.uint8)
    lane.reset()
    names = ["descrambled_valid", "descrambled"]
    seen = lane.play({"block": port(headers, words), "en": en, "drop": drop}, names)
    assert np.array_equal(seen[names[0]][1:, 0], (en & (drop ^ 1))[:-1])
    before, checked = np.uint64(SCRAMBLER_START), 0
    for clock in np.flatnonzero(en[:-1]):
        word = np.uint64(descramble(words[clock], before))
        before = words[clock]
        expected = port(headers[[clock]], np.array([word]))[0]
        assert np.array_equal(seen["descrambled"][clock + 1], expected)
        checked += 1
    assert checked > CLOCKS // 2


@pytest.mark.parametrize("bad", [0.01, 0.2, 0.4])
def test_block_lock_is_golden(lane, bad):
    rng = generator(round(100 * bad))
    # Quiet stretches, so that there are locks to lose.
    rate = np.repeat(rng.integers(0, 2, CLOCKS // 100), 100) * bad
    headers = np.where(rng.random(CLOCKS) < rate, 3 * rng.integers(0, 2, CLOCKS), 1)
    headers ^= np.where(rng.integers(0, 2, CLOCKS), 3, 0)
    en, restart = (rng.random((2, CLOCKS)) < [[0.9], [0.001]]).astype(np.uint8)
    blocks = port(headers, np.zeros(CLOCKS, np.uint64))
    lane.reset()
    seen = lane.play({"block": blocks, "en": en, "restart": restart}, ["bad", "slip", "locked"])
    lock, locks = new_locks(1), 0
    for clock in range(CLOCKS):
        was_locked = bool(lock["locked"][0])
        assert seen["locked"][clock] == was_locked
        slip = en[clock] and judge_header(lock[0], headers[clock])
        assert seen["bad"][clock] == (en[clock] and not is_valid_header(headers[clock]))
        assert seen["slip"][clock] == slip
        if restart[clock]:
            unlock(lock[0])
        locks += not was_locked and bool(lock["locked"][0])
    assert locks >= 2


@pytest.mark.parametrize("width", WIDTHS)
def test_the_transmitting_gearbox_is_golden(lane, width):
    headers, words = random_blocks(generator(width))
    lane.reset()
    names = [f"takes_{width}", f"sent_{width}"]
    seen = lane.play({"block": port(headers, words)}, names)
    queue, sent = new_queues(1), 0
    for clock in range(CLOCKS):
        assert seen[names[0]][clock] == wants_block(queue[0], width)
        assert int(seen[names[1]][clock].astype("<u4").tobytes()[::-1].hex(), 16) == sent
        sent = int(gear_down(queue[0], width, headers[clock], words[clock]))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_receiving_gearbox_is_golden_with_slips_at_any_time(lane, width):
    rng = generator(-width % 1000)
    values = rng.integers(0, 2**64, CLOCKS, np.uint64) >> np.uint64(64 - width)
    slips = (rng.random(CLOCKS) < 0.1).astype(np.uint8)
    lane.reset()
    names = [f"valid_{width}", f"block_{width}"]
    seen = lane.play({f"arrived_{width}": values, f"slip_{width}": slips}, names)
    queue, blocks = new_queues(1), 0
    for clock in range(CLOCKS - 1):
        valid, header, word = gear_up(queue[0], width, values[clock], bool(slips[clock]))
        assert seen[names[0]][clock + 1] == valid
        if valid:
            expected = port(np.array([header]), np.array([word], np.uint64))[0]
            assert np.array_equal(seen[names[1]][clock + 1], expected)
            blocks += 1
    bits = (CLOCKS - 1) * width - int(slips[:-1].sum())
    assert blocks * BLOCK_BITS == bits - queue["level"][0]


@pytest.mark.parametrize("gearbox", [TransmitGearbox, ReceiveGearbox])
@pytest.mark.parametrize("width", [1, 67])
def test_a_width_out_of_range_is_refused(gearbox, width):
    with pytest.raises(ValueError, match=rf"width must be in 2\.\.66, not {width}"):
        gearbox(width)
