# amaranth: UnusedElaboratable=no
"""The operands of the elementary functions' steps, with golden's multiply-add in between."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.numerics import elementary
from d1_golden.numerics.fp32 import fma_array
from d1_golden.numerics.vector_stimulus import fp32_corners
from d1_rtl.numerics.elementary import (
    ElementaryFunction,
    ElementaryOperands,
    ElementaryPass,
    first_operands,
)
from d1_rtl.sim.native import NativeModel

from testbench.layouts import pack_rows

SEED = 18
LANES = 64
SLOTS = 4
BATCHES = 600

GOLDEN = {
    ElementaryFunction.RECIPROCAL: elementary.reciprocal_array,
    ElementaryFunction.RECIPROCAL_SQRT: elementary.reciprocal_sqrt_array,
    ElementaryFunction.EXP2: elementary.exp2_array,
}


class AllOperands(wiring.Component):
    """`ElementaryOperands`, and the operands of the first steps."""

    def __init__(self):
        self.unit = ElementaryOperands(LANES)
        members = dict(self.unit.signature.members)
        first = {f"first_{name}": Out(32 * LANES) for name in "abc"}
        super().__init__({**members, **first, "function": In(ElementaryFunction)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        for name, member in self.unit.signature.members.items():
            inner, outer = getattr(self.unit, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        with m.Switch(self.function):
            for function in ElementaryFunction:
                with m.Case(function):
                    for lane in range(LANES):
                        values = first_operands(function, self.x.word_select(lane, 32))
                        for name, value in zip("abc", values, strict=True):
                            port = getattr(self, f"first_{name}")
                            m.d.comb += port.word_select(lane, 32).eq(value)
        return m


@pytest.fixture(scope="module")
def model():
    with NativeModel(AllOperands(), name="elementary_operands") as model:
        model.reset()
        yield model


def operands(rng, shape):
    """Return numbers of every exponent, those around table rows, and corners."""
    words = rng.integers(0, 1 << 32, shape, np.uint32)
    fields = rng.integers(127 - 9, 127 + 9, shape, np.uint32) << 23
    keep = np.uint32(0xFFFFFFFF) << rng.integers(0, 24, shape, np.uint32)
    edges = words & np.uint32(1 << 31) | fields | words & keep & np.uint32(0x7FFFFF)
    edges += rng.integers(-1, 2, shape).astype(np.uint32)
    kind = rng.integers(0, 3, shape)
    return np.choose(kind, [words, edges, rng.choice(fp32_corners(), shape)]).astype(np.uint32)


def run_batch(model, x, functions, order):
    """Run a function in every slot, slots in some order in each round; return the results."""
    step_of = np.zeros(SLOTS, int)
    lengths = np.array([len(function.sequence.steps) for function in functions])
    played = model.play(
        {
            "enter": np.ones(SLOTS, np.uint8),
            "enter_slot": order.astype(np.uint8),
            "x": x[order],
            "function": np.array([functions[slot].value for slot in order], np.uint8),
            "step_valid": np.zeros(SLOTS, np.uint8),
        },
        [f"first_{name}" for name in "abc"],
    )
    results = np.zeros_like(x)
    results[order] = fma_array(*(played[f"first_{name}"] for name in "abc"))
    while (step_of < lengths - 1).any():
        goes_on = step_of < lengths - 1
        rows = pack_rows(
            ElementaryPass.as_shape(),
            function=np.array([functions[slot].value for slot in order], np.uint8),
            remaining=np.where(goes_on, lengths - 1 - step_of, 0)[order].astype(np.uint8),
            slot=order.astype(np.uint8),
        )
        still = np.zeros(1, np.uint8)
        played = model.play(
            {
                "enter": np.zeros(SLOTS + 1, np.uint8),
                "step_valid": np.concatenate([goes_on[order].astype(np.uint8), still]),
                "step": np.concatenate([rows, rows[-1:]]),
                "results": np.concatenate([results[order], results[order][-1:]]),
            },
            list("abc"),
        )
        following = fma_array(*(played[name][1:] for name in "abc"))
        results[order] = np.where(goes_on[order, None], following, results[order])
        step_of += goes_on
    return results


def test_functions_in_four_slots_equal_golden(model):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    functions = list(ElementaryFunction)
    done = dict.fromkeys(functions, 0)
    for _ in range(BATCHES):
        chosen = [functions[n] for n in rng.integers(0, len(functions), SLOTS)]
        x = operands(rng, (SLOTS, LANES))
        results = run_batch(model, x, chosen, rng.permutation(SLOTS))
        for slot, function in enumerate(chosen):
            expected = GOLDEN[function](x[slot])
            wrong = np.flatnonzero(results[slot] != expected)[:3]
            assert not wrong.size, (function, [f"{int(w):08x}" for w in x[slot][wrong]])
            done[function] += LANES
    assert min(done.values()) > 40_000
