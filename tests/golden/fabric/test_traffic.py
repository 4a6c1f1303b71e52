"""Traffic: where the packets of each pattern go, and how many there are."""

import numpy as np
import pytest
from d1_golden.fabric.traffic import HOTSPOT_SHARE, Pattern, Traffic, random_traffic

RNG_SEED = 20240607


def traffic(pattern: Pattern, columns: int = 8, rows: int = 8, **options: object) -> Traffic:
    rng = np.random.default_rng(RNG_SEED)
    arguments: dict = {"load": 0.5, "cycles": 400, "rng": rng} | options
    return random_traffic(pattern, columns, rows, **arguments)


@pytest.mark.parametrize(
    ("pattern", "to"),
    [
        (Pattern.TRANSPOSE, lambda x, y: (y, x)),
        (Pattern.BIT_COMPLEMENT, lambda x, y: (7 - x, 7 - y)),
        (Pattern.TORNADO, lambda x, y: ((x + 3) % 8, y)),
        (Pattern.NEIGHBOUR, lambda x, y: ((x + 1) % 8, y)),
    ],
)
def test_permutations_send_everything_of_a_place_to_one_other(pattern, to) -> None:
    sent = traffic(pattern)
    for place, row in enumerate(sent.place):
        x, y = to(place % 8, place // 8)
        assert (row == 8 * y + x).all()


def test_uniform_traffic_goes_equally_to_all_others() -> None:
    sent = traffic(Pattern.UNIFORM, 4, 3, cycles=20_000)
    for place, (row, cycles) in enumerate(zip(sent.place, sent.cycle, strict=True)):
        counts = np.bincount(row[cycles != Traffic.NEVER], minlength=12)
        assert counts[place] == 0
        assert np.allclose(np.delete(counts, place), counts.sum() / 11, rtol=0.15)


def test_a_tenth_of_hotspot_traffic_more_goes_to_one_place() -> None:
    sent = traffic(Pattern.HOTSPOT, cycles=4000)
    share = (sent.place == 4 * 8 + 4)[np.arange(64) != 36].mean()
    assert share == pytest.approx(HOTSPOT_SHARE + (1 - HOTSPOT_SHARE) / 63, rel=0.05)


def test_packets_are_made_one_a_cycle_at_the_load() -> None:
    sent = traffic(Pattern.UNIFORM, load=0.25, cycles=10_000)
    assert sent.packets == pytest.approx(0.25 * 64 * 10_000, rel=0.02)
    for cycles in sent.cycle:
        made = cycles[cycles != Traffic.NEVER]
        assert (np.diff(made) > 0).all() and made[-1] < 10_000
        assert (cycles[len(made) :] == Traffic.NEVER).all()


def test_dead_places_neither_send_nor_receive() -> None:
    live = np.ones(12, np.bool_)
    live[[2, 7]] = False
    sent = traffic(Pattern.UNIFORM, 4, 3, live=live)
    offered = sent.cycle != Traffic.NEVER
    assert not offered[~live].any() and offered[live].any()
    assert live[sent.place[offered]].all()


def test_a_load_a_shape_and_dead_places_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"load must be in 0\.\.1, not 1\.5"):
        traffic(Pattern.UNIFORM, load=1.5)
    with pytest.raises(ValueError, match="rows must equal columns for transpose, not 4 x 3"):
        traffic(Pattern.TRANSPOSE, 4, 3)
    with pytest.raises(ValueError, match="live must be None for tornado traffic"):
        traffic(Pattern.TORNADO, live=np.ones(64, np.bool_))
