# amaranth: UnusedElaboratable=no
"""The interlock of the accumulators against a list of what started."""

import random

import numpy as np
from d1_golden.params import preset
from d1_rtl.node.accumulator_interlock import AccumulatorInterlock, accumulator_query_layout
from d1_rtl.node.matrix_unit import MatrixUnit
from d1_rtl.sim.native import NativeModel

_SEED = 15
_CYCLES = 4000


def test_an_accumulator_is_free_when_the_matrix_unit_has_written_it():
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    params = preset("tiny")
    layout = accumulator_query_layout(params)

    def query(thread):
        return (int(rng.random() < 0.7), thread, rng.choice([0, 1, params.accumulators - 1]))

    threads = range(params.threads)
    cycles = [
        (query(rng.randrange(params.threads)), [query(thread) for thread in threads])
        for _ in range(_CYCLES)
    ]

    def bits(item):
        used, thread, acc = item
        return layout.const({"used": used, "thread": thread, "acc": acc}).as_bits()

    inputs = {"enter": np.array([bits(enter) for enter, _ in cycles], np.uint32)}
    for thread in threads:
        column = [bits(queries[thread]) for _, queries in cycles]
        inputs[f"queries__{thread}"] = np.array(column, np.uint32)
    with NativeModel(AccumulatorInterlock(params), name="accumulator_interlock") as model:
        model.reset()
        free = model.play(inputs, ["free"])["free"][:, 0]
    held = 0
    for n, (_, queries) in enumerate(cycles):
        window = [enter for enter, _ in cycles[max(0, n - MatrixUnit.STEP_LATENCY + 1) : n]]
        for thread, query in enumerate(queries):
            waits = bool(query[0]) and query in window
            held += waits
            assert (free[n] >> thread & 1) == (not waits), n
    assert held > 100
