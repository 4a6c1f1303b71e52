"""Streamed products: panels that come while others are multiplied, on one golden node."""

from itertools import pairwise

import d1
import numpy as np
import pytest
from d1.compiler.cache import program
from d1.compiler.choice import spread
from d1.compiler.kernel import generate, stream_table
from d1.compiler.layout import pack_operand, unpack_result
from d1.compiler.schedule import Schedule
from d1.compiler.stream import ARRIVED, RELEASED, Stream
from d1.compiler.tile import OperandFormats
from d1.device import Device
from d1_golden.memory_map import SEMAPHORE_BASE, ThreadStatus
from d1_golden.numerics import BF16, Cfp8Config, Cfp8Format, matmul_reference
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.packet import POST_FLAG, write_requests
from d1_golden.params import LINE_BYTES, PRESETS
from numpy.typing import NDArray

PARAMS = PRESETS["tiny"]
CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_5_2, 20), Cfp8Config(Cfp8Format.CFP8_1_4_3, 7))
BASE = 0x4000


@pytest.fixture(scope="module")
def device() -> Device:
    return d1.open("golden", "tiny")


def whole(formats: OperandFormats = BF16, threads: int = 4) -> Schedule:
    return Schedule(
        params=PARAMS,
        batch=1,
        register_tiles=5,
        memory_tiles=7,
        steps=1,
        register_group=1,
        memory_group=4,
        formats=formats,
        threads=threads,
        leads=spread(threads, 4),
    )


def sides(stream: Stream, seed: int) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    panel = stream.panels[0]
    k = panel.tile.terms * sum(panel.steps for panel in stream.panels)
    shapes = (panel.register_tiles * 2, k), (panel.memory_tiles * 2, k)
    if isinstance(panel.formats, tuple):
        return tuple(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes)
    bits = [rng.standard_normal(shape).astype(np.float32).view(np.uint32) for shape in shapes]
    return tuple((side >> 16).astype(np.uint16) for side in bits)


def reference(stream: Stream, of: tuple[NDArray, NDArray]) -> NDArray[np.uint32]:
    formats = stream.panels[0].formats
    if isinstance(formats, tuple):
        of = tuple(cfp8_to_bf16_array(s, f) for s, f in zip(of, formats, strict=True))
    return matmul_reference(of[0], of[1].T, PARAMS.dot_fraction_bits)


def panel_images(
    stream: Stream, of: tuple[NDArray, NDArray]
) -> list[list[tuple[int, NDArray[np.uint8]]]]:
    """Return the address and the contents of both sides of each panel."""
    images, start = [], 0
    for panel in stream.panels:
        tile = panel.tile
        k = slice(start, start + panel.steps * tile.terms)
        start = k.stop
        places = (
            (panel.register_start, panel.register_groups, tile.register_lines),
            (panel.memory_start, panel.memory_groups, tile.memory_lines),
        )
        images.append(
            [
                (
                    BASE + at,
                    pack_operand(side[None, :, k], groups, lines, tile.word_bytes).view("u1"),
                )
                for side, (at, groups, lines) in zip(of, places, strict=True)
            ]
        )
    return images


def start(device: Device, stream: Stream, arrivals: list[int]) -> None:
    device.reset()
    device.write(0, program(stream))
    device.write(BASE + stream.table, stream_table(stream, [0] * len(arrivals), arrivals))
    for thread in range(stream.threads):
        device.start(0, BASE, thread)


def result(device: Device, stream: Stream) -> NDArray[np.uint32]:
    stored = device.read(BASE, stream.output_bytes)
    return unpack_result(stored, stream.panels[0])[0].view(np.uint32)


@pytest.mark.parametrize("formats", [BF16, CFP8], ids=["bf16", "cfp8"])
@pytest.mark.parametrize("steps", [(3,), (2, 5), (2, 4, 2), (8, 8, 8, 1)])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_product_is_the_same_whatever_panels_it_comes_in(
    device: Device, formats: OperandFormats, steps: tuple[int, ...], threads: int
):
    stream = Stream.of(whole(formats, threads), steps)
    of = sides(stream, 1)
    start(device, stream, [0] * len(steps))
    for panel in panel_images(stream, of):
        for address, contents in panel:
            device.write(address, contents)
    assert device.wait(1_000_000).status is ThreadStatus.HALTED
    assert np.array_equal(result(device, stream), reference(stream, of))


def test_a_panel_is_multiplied_when_all_its_parts_have_come_and_not_before(device: Device):
    stream = Stream.of(whole(), (2, 3, 4))
    of = sides(stream, 2)
    arrivals = [2, 3, 2]
    start(device, stream, arrivals)
    done = 0
    for number, panel in enumerate(panel_images(stream, of)):
        for address, contents in panel:
            device.write(address, contents)
        for _ in range(arrivals[number]):
            device.link.run(100_000)
            assert device.status().status is ThreadStatus.RUNNING
            if number:
                k = slice(0, done * 4)
                expected = reference(stream, (of[0][:, k], of[1][:, k]))
                assert np.array_equal(result(device, stream), expected)
            post = write_requests(BASE + stream.data_bytes(1), bytes(LINE_BYTES))
            post["flags"] = POST_FLAG | ARRIVED
            device.link.exchange(post, 1000)
        done += stream.panels[number].steps
    assert device.wait(100_000).status is ThreadStatus.HALTED
    assert np.array_equal(result(device, stream), reference(stream, of))
    counts = device.read(SEMAPHORE_BASE, 8 * 32).view("<u8")
    assert not counts[ARRIVED : RELEASED + PARAMS.threads].any()


def test_a_stream_may_continue_sums(device: Device):
    first, second = (Stream.of(whole(), (2, 4), accumulate=n > 0) for n in range(2))
    of = sides(Stream.of(whole(), (12,)), 3)
    for stream, k in ((first, slice(0, 24)), (second, slice(24, 48))):
        start(device, stream, [0, 0])
        for panel in panel_images(stream, (of[0][:, k], of[1][:, k])):
            for address, contents in panel:
                device.write(address, contents)
        device.wait(1_000_000)
    assert np.array_equal(result(device, first), reference(first, of))


def test_parts_of_a_stream_do_not_overlap():
    for steps in ((1,), (2, 3), (8, 8, 3)):
        stream = Stream.of(whole(), steps)
        ranges = [(0, stream.output_bytes)]
        for panel in stream.panels:
            ranges.append((panel.register_start, panel.register_bytes))
        for panel in stream.panels:
            ranges.append((panel.memory_start, panel.memory_bytes))
        ranges.append((stream.table, stream.table_bytes))
        ranges.append((stream.lists, LINE_BYTES))
        for (at, size), (behind, _) in pairwise(ranges):
            assert at + size <= behind
        assert stream.lists + LINE_BYTES == stream.data_bytes(1)
        assert all(at % LINE_BYTES == 0 for at, _ in ranges if at != stream.table)
        words = stream_table(stream, [64] * len(steps), [9] * len(steps))
        assert words.nbytes == stream.table_bytes


def test_panels_of_equal_steps_share_their_code():
    two, many = (Stream.of(whole(), (8,) * n) for n in (2, 5))
    assert len(two.kinds) == len(many.kinds)
    # What differs is the place of the table, a constant.
    assert abs(len(generate(two)) - len(generate(many))) <= 8


@pytest.mark.parametrize(
    ("formats", "steps"), [(BF16, ()), (BF16, (4, 0)), (CFP8, (3, 2)), (BF16, (-1,))]
)
def test_panels_that_cannot_be_are_refused(formats: OperandFormats, steps: tuple[int, ...]):
    with pytest.raises(ValueError, match="steps must be positive and fill vectors"):
        Stream.of(whole(formats), steps)
