"""Semaphores and barrier against a model of what the page of transfers says, and against golden."""

import itertools
import random

import numpy as np
import pytest
from d1_golden.node import communication
from d1_golden.node.state import BARRIER_OPEN, NOT_WAITING
from d1_golden.params import PRESETS
from d1_rtl.node.barrier import Barrier
from d1_rtl.node.semaphores import POSTERS, Semaphores
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import CycleModel

PARAMS = PRESETS["tiny"]
GREATEST = 0xFFFF


def event(number: int | None) -> int:
    """Return the bits of a `SemaphoreEvent`."""
    return 0 if number is None else 1 | number << 1


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def semaphores(request):
    if request.param == "simulator":
        with NativeModel(Semaphores(PARAMS), name="semaphores") as model:
            yield model
    else:
        with NativeModel(OnFpga(Semaphores(PARAMS)), name="semaphores_on_fpga") as model:
            yield CycleModel(model)


def counts_of(model: NativeModel) -> list[int]:
    values = model.get("lines__values")
    return [values >> 16 * n & GREATEST for n in range(PARAMS.semaphores)]


@pytest.mark.parametrize("seed", range(3))
def test_takes_posts_of_all_and_writes_of_one_cycle_are_all_counted(semaphores, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    model = semaphores
    model.reset()
    counts = [0] * PARAMS.semaphores
    taken = saturated = 0
    for _ in range(3000):
        near = rng.randrange(PARAMS.semaphores)
        few = [near, near, (near + 1) % PARAMS.semaphores]
        posts = [rng.choice([None, *few]) for _ in range(POSTERS)]
        take = rng.choice([None, *few])
        write = rng.choice([0, 0, 0, 1 << near])
        value = rng.choice([0, 1, GREATEST - 1, GREATEST, rng.getrandbits(16)])
        model.set("take", event(take))
        for n, number in enumerate(posts):
            model.set(f"posts__{n}", event(number))
        model.set("lines__write", write)
        model.set("lines__data", value << 16 * near)
        assert counts_of(model) == counts
        assert model.get("nonzero") == sum((count > 0) << n for n, count in enumerate(counts))
        model.step()
        for n in range(PARAMS.semaphores):
            if take == n and counts[n]:
                counts[n] -= 1
                taken += 1
            total = counts[n] + posts.count(n)
            saturated += total > GREATEST
            counts[n] = value if write >> n & 1 else min(total, GREATEST)
    assert taken > 300 and saturated > 50


@pytest.mark.parametrize("preset", ["d1", "fpga"])
def test_a_barrier_releases_whom_golden_releases(preset):
    params = PRESETS[preset]
    threads = params.threads
    masks = range(1 << threads)
    released_together = 0
    with NativeModel(Barrier(params), name=f"barrier_{preset}") as model:
        for arrived in itertools.product([None, *masks], repeat=threads):
            for n, mask in enumerate(arrived):
                model.set(f"arrive__{n}", 0 if mask is None else 1 | mask << 1)
            # In golden one thread comes after the other; here all stand there at once.
            waiting = np.zeros(threads, np.uint64)
            at_barrier = np.zeros(threads, np.uint64)
            gone = set()
            for n, mask in enumerate(arrived):
                if mask is not None and communication.barrier(
                    np.uint64(mask), n, waiting, at_barrier
                ):
                    gone |= {n, *np.flatnonzero(waiting == BARRIER_OPEN).tolist()}
                    waiting[:] = np.where(waiting == BARRIER_OPEN, NOT_WAITING, waiting)
            assert model.get("release") == sum(1 << n for n in gone), arrived
            released_together += len(gone) == threads
    assert released_together >= 2
