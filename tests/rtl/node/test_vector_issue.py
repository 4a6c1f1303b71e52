# amaranth: UnusedElaboratable=no
"""The choice of vector operations: which slot, whose turn, and that nobody waits for ever."""

import random

import pytest
from d1_golden.params import preset
from d1_rtl.node.vector_issue import ChosenOperation, VectorIssue, VectorKind, vector_stalls_layout
from d1_rtl.sim.native import NativeModel

_SEED = 17
_THREADS = preset("tiny").threads
_CONDITIONS = ("operands", "accumulator", "result", "order", "unit")
STEP = {"slot_1": 1, "matrix": 1}
VM_STEP = {"slot_1": 1, "matrix": 1, "loads": 1}
LOAD = {"slot_0": 1, "slot_1": 1, "loads": 1}
STORE = {"slot_0": 1, "slot_1": 1, "stores": 1}
GATHER = {"slot_1": 1, "loads": 1}
SIMD = {"slot_0": 1}
KINDS = (STEP, VM_STEP, LOAD, STORE, GATHER, SIMD)
ALL = (1 << _THREADS) - 1


class Bench:
    def __init__(self):
        self.model = NativeModel(VectorIssue(preset("tiny")), name="vector_issue")
        self.reset()

    def reset(self):
        self.model.reset()
        for name in _CONDITIONS:
            self.model.set(name, ALL)
        for name in ("valid", "taken", "no_loads"):
            self.model.set(name, 0)

    def give(self, *kinds):
        """Give each thread an operation, or None."""
        self.model.set("valid", sum((kind is not None) << t for t, kind in enumerate(kinds)))
        for thread, kind in enumerate(kinds):
            self.model.set(f"kinds__{thread}", VectorKind.const(kind or {}).as_bits())

    def chosen(self):
        """Return the threads chosen for both slots, or None."""
        values = [ChosenOperation.from_bits(self.model.get(f"chosen__{slot}")) for slot in (0, 1)]
        return [value.thread if value.valid else None for value in values]

    def stall(self, thread):
        stalls = vector_stalls_layout().from_bits(self.model.get(f"stalls__{thread}"))
        causes = [name for name in vector_stalls_layout().members if stalls[name]]
        assert len(causes) <= 1
        return causes[0] if causes else None

    def step(self, taken):
        self.model.set("taken", sum((flag and 1) << slot for slot, flag in enumerate(taken)))
        self.model.step()
        self.model.set("taken", 0)


@pytest.fixture(scope="module")
def compiled():
    bench = Bench()
    yield bench
    bench.model.close()


@pytest.fixture
def bench(compiled):
    compiled.reset()
    return compiled


@pytest.mark.parametrize(
    ("kinds", "slots"),
    [
        ((STEP, None, None, None), [None, 0]),
        ((SIMD, None, None, None), [0, None]),
        ((LOAD, None, None, None), [None, 0]),
        ((LOAD, STEP, None, None), [0, 1]),
        ((LOAD, LOAD, None, None), [1, 0]),
        ((STORE, STORE, None, None), [None, 0]),
        ((STORE, LOAD, None, None), [1, 0]),
        ((GATHER, VM_STEP, None, SIMD), [3, 1]),
        ((GATHER, None, SIMD, SIMD), [2, 0]),
        ((STEP, STEP, STEP, STEP), [None, 0]),
        ((None,) * 4, [None, None]),
    ],
)
def test_slot_1_prefers_matrix_operations_and_slot_0_takes_another_thread(bench, kinds, slots):
    bench.give(*kinds)
    assert bench.chosen() == slots


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("operands", "vector_operand"),
        ("accumulator", "accumulator"),
        ("result", "result"),
        ("order", "vector_bank"),
        ("unit", "vector_slot"),
    ],
)
def test_an_operation_that_misses_something_is_not_chosen(bench, condition, cause):
    bench.give(STEP, SIMD, None, None)
    bench.model.set(condition, ALL & ~1)
    assert bench.chosen() == [1, None]
    assert bench.stall(0) == cause
    assert bench.stall(2) is None


def test_one_that_is_refused_waits_for_a_bank_and_one_not_chosen_for_its_slot(bench):
    bench.give(LOAD, VM_STEP, VM_STEP, None)
    assert [bench.stall(thread) for thread in range(3)] == [
        "vector_bank", "vector_bank", "vector_slot"
    ]  # fmt: skip


def test_while_the_port_is_taken_slot_1_loads_nothing(bench):
    bench.give(VM_STEP, STEP, LOAD, None)
    bench.model.set("no_loads", 1)
    assert bench.chosen() == [2, 1]


def test_threads_take_turns(bench):
    bench.give(STEP, STEP, STEP, STEP)
    order = []
    for _ in range(8):
        order.append(bench.chosen()[1])
        bench.step([False, True])
    assert order == [0, 1, 2, 3] * 2


def test_nobody_waits_longer_than_the_bound(bench):
    """Random operations, refusals, and units that are busy: each starts within 250 cycles."""
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    kinds = [rng.choice(KINDS) for _ in range(_THREADS)]
    waited = [0] * _THREADS
    longest = 0
    for cycle in range(8000):
        kinds[0] = GATHER if cycle > 4000 else kinds[0]
        unit = rng.getrandbits(_THREADS) | rng.getrandbits(_THREADS)
        bench.model.set("unit", unit)
        bench.give(*kinds)
        taken = [
            thread is not None and bool(unit >> thread & 1) and rng.random() < 0.8
            for thread in bench.chosen()
        ]
        started = [thread for thread, flag in zip(bench.chosen(), taken, strict=True) if flag]
        assert len(set(started)) == len(started)
        bench.step(taken)
        for thread in range(_THREADS):
            waited[thread] = 0 if thread in started else waited[thread] + 1
            longest = max(longest, waited[thread])
            if thread in started:
                # The others keep slot 1 busy with what it prefers.
                kinds[thread] = rng.choice(KINDS) if cycle < 4000 else VM_STEP
    assert 30 < longest < 250
