# amaranth: UnusedElaboratable=no
"""The choice of threads: different ones, eligible ones, and everyone's turn."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.params import preset
from d1_rtl.node.thread_chooser import ChosenThread, ThreadChooser
from d1_rtl.sim.native import NativeModel

_SEED = 21
_CYCLES = 4000


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_two_different_eligible_threads_are_chosen_and_nobody_waits_long(threads):
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    eligible = rng.integers(0, 1 << threads, _CYCLES).astype(np.uint32)
    steady = int(rng.integers(0, threads))  # one thread always wants to be chosen
    eligible |= np.uint32(1 << steady)
    params = replace(preset("tiny"), threads=threads)
    chooser = ThreadChooser(params)
    history: list[set[int]] = []
    with NativeModel(chooser, name=f"thread_chooser_{threads}") as model:
        model.reset()
        tired = 0
        for n in range(_CYCLES):
            outputs = model.play(
                {
                    "eligible": eligible[n : n + 1],
                    "tired": np.array([tired], np.uint32),
                    "keep": np.array([0], np.uint32),
                },
                ["chosen__0", "chosen__1"],
            )
            codes = (int(outputs[f"chosen__{group}"][0, 0]) for group in range(2))
            chosen = [ChosenThread.from_bits(code) for code in codes]
            threads_now = [c.thread for c in chosen if c.valid]
            assert len(set(threads_now)) == len(threads_now)
            assert all(eligible[n] >> t & 1 for t in threads_now)
            assert len(threads_now) == min(2, int(eligible[n]).bit_count())
            fresh = int(eligible[n]) & ~tired
            expected_fresh = min(len(threads_now), fresh.bit_count())
            assert sum(fresh >> t & 1 for t in threads_now) == expected_fresh
            history.append(set(threads_now))
            # Chosen threads issue nothing half of the time.
            tired = sum(1 << t for t in threads_now if rng.random() < 0.5)
    waits = [n for n, chosen in enumerate(history) if steady in chosen]
    assert max(np.diff([-1, *waits])) <= 2 * threads


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("period", [2, 3, 4, 6, 8])
def test_what_becomes_free_in_any_rhythm_is_given_to_all_threads_in_turn(threads, period):
    everyone = np.array([(1 << threads) - 1], np.uint32)
    chooser = ThreadChooser(replace(preset("tiny"), threads=threads))
    winners = []
    with NativeModel(chooser, name=f"thread_chooser_{threads}") as model:
        model.reset()
        for n in range(period * threads * 10):
            free = n % period == 0
            outputs = model.play(
                {
                    "eligible": everyone,
                    "tired": np.array([0], np.uint32),
                    "keep": np.array([not free], np.uint32),
                },
                ["chosen__0"],
            )
            first = ChosenThread.from_bits(int(outputs["chosen__0"][0, 0]))
            assert first.valid
            if free:
                winners.append(int(first.thread))
    assert winners == [n % threads for n in range(10 * threads)]
