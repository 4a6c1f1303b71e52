# amaranth: UnusedElaboratable=no
"""The choice of a thread: turns, and how long one keeps its turn."""

import random

import numpy as np
import pytest
from d1_rtl.node.thread_choice import ThreadChoice
from d1_rtl.sim.native import NativeModel

_SEED = 14


def play(threads, stay, requests, taken):
    with NativeModel(ThreadChoice(threads, stay=stay), name="thread_choice") as model:
        model.reset()
        inputs = {"requests": np.array(requests, np.uint8), "taken": np.array(taken, np.uint8)}
        if threads == 1:
            return [0] * len(requests), model.play(inputs, ["valid"])["valid"][:, 0].tolist()
        outputs = model.play(inputs, ["valid", "chosen"])
    return outputs["chosen"][:, 0].tolist(), outputs["valid"][:, 0].tolist()


@pytest.mark.parametrize(("threads", "stay"), [(1, 1), (2, 1), (3, 2), (4, 1), (4, 5), (4, 64)])
def test_the_turn_passes_after_so_many_takes(threads, stay):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    requests = [rng.choice([0, (1 << threads) - 1, rng.getrandbits(threads)]) for _ in range(3000)]
    taken = [int(bits != 0 and rng.random() < 0.8) for bits in requests]
    chosen, valid = play(threads, stay, requests, taken)
    turn = row = 0
    for n, bits in enumerate(requests):
        assert valid[n] == (bits != 0)
        if not bits:
            continue
        expected = next(t % threads for t in range(turn, turn + threads) if bits >> t % threads & 1)
        assert chosen[n] == expected, n
        if taken[n]:
            row = row + 1 if expected == turn else 1
            turn = expected
            if row == stay:
                turn, row = (expected + 1) % threads, 0


def test_threads_that_all_ask_share_equally():
    chosen, _ = play(4, 1, [15] * 40, [1] * 40)
    assert chosen == [0, 1, 2, 3] * 10
    chosen, _ = play(4, 5, [15] * 40, [1] * 40)
    assert chosen == [n // 5 % 4 for n in range(40)]


def test_what_is_not_taken_is_chosen_again():
    chosen, _ = play(4, 1, [15] * 12, [0, 0, 1] * 4)
    assert chosen == [n // 3 for n in range(12)]


@pytest.mark.parametrize(
    ("threads", "stay", "message"),
    [(0, 1, "threads must be at least 1, not 0"), (4, 0, "stay must be at least 1, not 0")],
)
def test_parameters_out_of_range_are_refused(threads, stay, message):
    with pytest.raises(ValueError, match=message):
        ThreadChoice(threads, stay=stay)
