# amaranth: UnusedElaboratable=no
"""The choice of threads: different ones, eligible ones, unlike ones, and everyone's turn."""

from dataclasses import replace

import numpy as np
import pytest
from d1_golden.params import preset
from d1_rtl.node.head_preview import Head
from d1_rtl.node.thread_chooser import ChosenThread, ThreadChooser
from d1_rtl.sim.native import NativeModel

_SEED = 21
_CYCLES = 4000


class _Chooser:
    """A chooser, shown one cycle after the other."""

    def __init__(self, model: NativeModel, threads: int) -> None:
        self._model, self._threads = model, threads
        model.reset()

    def choose(self, *, eligible=None, waits=0, heads=(), store_free=1, keep=0) -> list[int]:
        """Return the threads that are chosen in a cycle; all are eligible by default."""
        inputs = {
            "eligible": (1 << self._threads) - 1 if eligible is None else eligible,
            "waits": waits,
            "store_free": store_free,
            "keep": keep,
        }
        for thread in range(self._threads):
            head = heads[thread] if heads else Head.PLAIN
            inputs[f"heads__{thread}"] = head.value
        outputs = self._model.play(
            {name: np.array([value], np.uint32) for name, value in inputs.items()},
            ["chosen__0", "chosen__1"],
        )
        codes = (int(outputs[f"chosen__{group}"][0, 0]) for group in range(2))
        chosen = [ChosenThread.from_bits(code) for code in codes]
        assert chosen[0].valid or not chosen[1].valid
        return [int(choice.thread) for choice in chosen if choice.valid]


@pytest.fixture
def chooser(request):
    threads = request.param
    component = ThreadChooser(replace(preset("tiny"), threads=threads))
    with NativeModel(component, name=f"thread_chooser_{threads}") as model:
        opened = _Chooser(model, threads)
        opened.threads = threads
        yield opened


def _threads(*counts: int):
    return pytest.mark.parametrize("chooser", counts, indirect=True)


def _fits(first: Head, second: Head, store_free: int) -> bool:
    """Return whether a thread with the second head can issue beside one with the first."""
    if second is Head.PLAIN:
        return True
    return second is not first and (second is not Head.STORE or bool(store_free))


@_threads(1, 2, 3, 4)
def test_two_different_eligible_threads_are_chosen_and_nobody_waits_long(chooser):
    threads = chooser.threads
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    steady = int(rng.integers(0, threads))  # one thread always wants to be chosen
    last, unlike = -1, 0
    for n in range(_CYCLES):
        eligible = int(rng.integers(0, 1 << threads)) | 1 << steady
        waits = int(rng.integers(0, 1 << threads)) & ~(1 << steady)
        heads = [Head(int(code)) for code in rng.integers(0, len(Head), threads)]
        store_free = int(rng.integers(0, 2))
        chosen = chooser.choose(eligible=eligible, waits=waits, heads=heads, store_free=store_free)
        assert len(set(chosen)) == len(chosen) == min(2, eligible.bit_count())
        assert all(eligible >> t & 1 for t in chosen)
        fresh = eligible & ~waits
        assert sum(fresh >> t & 1 for t in chosen) == min(len(chosen), fresh.bit_count())
        if len(chosen) == 2 and fresh.bit_count() >= 2:
            first, second = chosen
            possible = [
                t
                for t in range(threads)
                if fresh >> t & 1 and t != first and _fits(heads[first], heads[t], store_free)
            ]
            assert second in possible or not possible
            unlike += bool(possible)
        if steady in chosen:
            last = n
        assert n - last <= 2 * threads
    assert threads < 3 or unlike > _CYCLES / 4


@_threads(3, 4)
@pytest.mark.parametrize("head", [head for head in Head if head is not Head.PLAIN])
def test_the_second_thread_does_not_begin_as_the_first_one_does(chooser, head):
    threads = chooser.threads
    for odd in range(threads):
        heads = [head] * threads
        heads[odd] = Head.PLAIN
        for _ in range(2 * threads):
            assert odd in chooser.choose(heads=heads)


@_threads(3, 4)
def test_a_store_is_not_second_while_its_slot_is_taken(chooser):
    heads = [Head.LOAD, Head.STORE, Head.PLAIN, Head.PLAIN][: chooser.threads]
    for store_free, expected in ((1, True), (0, False)):
        seconds = set()
        for _ in range(4 * chooser.threads):
            chosen = chooser.choose(heads=heads, store_free=store_free)
            seconds.add(chosen[1])
        assert (1 in seconds) == expected


@_threads(2, 3, 4)
@pytest.mark.parametrize("head", Head)
def test_every_thread_is_first_in_its_turn_whatever_all_begin_with(chooser, head):
    threads = chooser.threads
    firsts = [chooser.choose(heads=[head] * threads)[0] for _ in range(3 * threads)]
    assert firsts == [n % threads for n in range(3 * threads)]


@_threads(2, 3, 4)
@pytest.mark.parametrize("period", [2, 3, 4, 6, 8])
def test_what_becomes_free_in_any_rhythm_is_given_to_all_threads_in_turn(chooser, period):
    threads = chooser.threads
    winners = []
    for n in range(period * threads * 10):
        free = n % period == 0
        chosen = chooser.choose(heads=[Head.STORE] * threads, store_free=free, keep=not free)
        if free:
            winners.append(chosen[0])
    assert winners == [n % threads for n in range(10 * threads)]


@pytest.mark.parametrize("threads", [2, 4])
def test_where_one_is_chosen_it_is_the_next_in_turn_that_waits_for_nothing(threads):
    params = replace(preset("tiny"), threads=threads, issue_groups=1)
    rng = np.random.default_rng(_SEED)
    print(f"seed {_SEED}")
    inputs = {
        name: rng.integers(0, 1 << threads, _CYCLES).astype(np.uint32)
        for name in ("eligible", "waits")
    }
    inputs["keep"] = rng.integers(0, 2, _CYCLES).astype(np.uint32)
    with NativeModel(ThreadChooser(params), name=f"thread_chooser_1_of_{threads}") as model:
        model.reset()
        chosen = model.play(inputs, ["chosen__0"])["chosen__0"][:, 0]
    turn = 0
    for n, code in enumerate(chosen):
        eligible, waits, keep = (int(inputs[name][n]) for name in ("eligible", "waits", "keep"))
        wanted = eligible & ~waits or eligible
        in_turn = [(turn + step) % threads for step in range(threads)]
        expected = next((thread for thread in in_turn if wanted >> thread & 1), None)
        choice = ChosenThread.from_bits(int(code))
        assert choice.valid == (expected is not None), n
        if expected is not None:
            assert choice.thread == expected, n
            turn = expected if keep else (expected + 1) % threads
