"""Linked records in RTL against the golden node."""

import random

import numpy as np
import pytest
from d1_golden.csr import Cause
from d1_golden.node import communication
from d1_golden.node.communication import NO_CAUSE
from d1_golden.node.state import new_state
from d1_golden.params import PRESETS, NodeParams
from d1_golden.transfer import MAX_HOPS
from d1_rtl.node.link_unit import LinkOp, LinkUnit, link_operation_layout, link_result_layout
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import CycleModel, SteadyClient

OPERATION, RESULT = link_operation_layout(), link_result_layout()
GOLDEN = {LinkOp.LWALK: communication.lwalk, LinkOp.LFIND: communication.lfind}


class Bench:
    """The unit and a memory that lets it wait."""

    def __init__(self, model: NativeModel, params: NodeParams) -> None:
        self.model = model
        self.golden = new_state(params, 0)
        self.memory = self.golden.memory64
        self.bad_words: set[int] = set()
        for port in ("i__valid", "o__ready", "sram_read__request__ready"):
            model.set(port, 0)
        model.reset()

    def run(
        self,
        op: LinkOp,
        x1: int,
        x2: int,
        *,
        thread: int = 0,
        rd: int = 1,
        grant: float = 1.0,
        take: float = 1.0,
        rng: random.Random | None = None,
    ) -> tuple[dict[str, int], int]:
        """Execute an instruction; return its result and the cycles from `i` to `o`."""
        rng = rng or random.Random(0)
        model = self.model
        fields = {"op": op, "x1": x1, "x2": x2, "thread": thread, "rd": rd}
        model.set("i__payload", OPERATION.const(fields).as_value().value)
        model.set("i__valid", 1)
        assert model.get("i__ready")
        model.step()
        model.set("i__valid", 0)
        for cycle in range(1, 4 * MAX_HOPS):
            ready = rng.random() < grant
            model.set("sram_read__request__ready", ready)
            model.set("o__ready", takes := rng.random() < take)
            if model.get("o__valid"):
                bits = model.get("o__payload")
                if takes:
                    model.step()
                    return {
                        name: bits >> field.offset & (1 << field.width) - 1
                        for name, field in RESULT
                    }, cycle
            line = None
            if ready and model.get("sram_read__request__valid"):
                line = model.get("sram_read__request__payload")
            model.step()
            if line is not None:
                words = self.memory[8 * line : 8 * line + 8]
                model.set("sram_read__data", int.from_bytes(words.tobytes(), "little"))
                bad = sum((8 * line + n in self.bad_words) << n for n in range(8))
                model.set("sram_read__uncorrectable", bad)
        raise TimeoutError(f"waited {4 * MAX_HOPS} cycles for the result of {op.name}")


@pytest.fixture(scope="module", params=[*PRESETS, "FPGA"])
def models(request):
    if request.param == "FPGA":
        params = PRESETS["fpga"]
        unit = OnFpga(SteadyClient(LinkUnit(params)))
        with NativeModel(unit, name="link_unit_on_fpga") as model:
            yield params, CycleModel(model)
    else:
        params = PRESETS[request.param]
        with NativeModel(LinkUnit(params), name=f"link_unit_{params.name}") as model:
            yield params, model


@pytest.fixture(scope="module")
def model():
    with NativeModel(LinkUnit(PRESETS["tiny"]), name="link_unit_tiny") as model:
        yield model


@pytest.fixture
def bench(model):
    return Bench(model, PRESETS["tiny"])


def chain(bench: Bench, records: list[int]) -> None:
    """Link records; the key of each is three times its address."""
    for record, following in zip(records, [*records[1:], 0], strict=True):
        bench.memory[record // 8 : record // 8 + 2] = following, 3 * record


@pytest.mark.parametrize("seed", range(3))
def test_random_lists_lead_where_golden_says_whatever_the_pauses(models, seed):
    print(f"seed {seed}")
    params, model = models
    rng = random.Random(seed)
    bench = Bench(model, params)
    causes = set()
    for number in range(400):
        places = rng.sample(range(2, params.sram_bytes // 8 - 2, 2), rng.randrange(1, 15))
        odd = rng.randrange(2)
        records = [8 * (place + odd) for place in places]
        chain(bench, records)
        if rng.random() < 0.3:  # the last one leads astray
            wrong = [records[0], records[-1] + 4, params.sram_bytes, params.sram_bytes - 8]
            bench.memory[records[-1] // 8] = rng.choice([*wrong, 1 << 40, (1 << 64) - 8])
        op = rng.choice(list(LinkOp))
        x1 = records[0] if rng.random() < 0.9 else rng.choice([0, 3, params.sram_bytes])
        x2 = 3 * rng.choice([*records, 1]) if op is LinkOp.LFIND else rng.randrange(20)
        expected = {"thread": number % 4, "rd": number % 32}
        grant, take = rng.choice((0.4, 1.0)), rng.choice((0.4, 1.0))
        if op is LinkOp.LFIND and bench.memory[records[-1] // 8] == records[0] and x2 == 3:
            continue  # 65536 hops: below
        result, _ = bench.run(op, x1, x2, **expected, grant=grant, take=take, rng=rng)
        cause, value = GOLDEN[op](np.uint64(x1), np.uint64(x2), bench.golden)
        expected["fault"] = int(cause != NO_CAUSE)
        expected |= {"cause": cause, "address": value} if expected["fault"] else {"value": value}
        assert {name: result[name] for name in expected} == expected, (op, hex(x1), x2)
        causes.add((op, int(cause)))
    assert len(causes) == 6


def test_a_record_takes_two_cycles_and_four_in_two_lines(bench):
    records = [64 * n for n in range(1, 40)]
    chain(bench, records)
    for n in (0, 1, 7, 38):
        assert bench.run(LinkOp.LWALK, 64, n)[1] == 2 + 2 * n
        assert bench.run(LinkOp.LFIND, 64, 3 * records[n])[1] == 1 + 2 * (n + 1)
    assert bench.run(LinkOp.LFIND, 64, 1)[1] == 2 + 2 * len(records)
    apart = [64 * n - 8 for n in range(1, 10)]
    chain(bench, apart)
    assert bench.run(LinkOp.LWALK, apart[0], 8)[1] == 2 + 2 * 8
    assert bench.run(LinkOp.LFIND, apart[0], 3 * apart[8])[1] == 1 + 4 * 9


def test_a_list_that_never_ends_is_given_up(bench):
    bench.memory[8:10] = 64, 3
    for op, x2 in ((LinkOp.LWALK, 1 << 40), (LinkOp.LFIND, 4)):
        result, cycles = bench.run(op, 64, x2)
        assert (result["fault"], result["cause"]) == (1, Cause.LOAD_ACCESS_FAULT)
        assert result["address"] == 64 and cycles == 2 + 2 * MAX_HOPS
    assert bench.run(LinkOp.LWALK, 64, MAX_HOPS)[0]["value"] == 64


def test_words_that_cannot_be_corrected_are_hardware_errors_if_they_are_needed(bench):
    chain(bench, [64, 128 + 56])
    bench.bad_words = {10, 8 + 7}  # beside the record
    assert bench.run(LinkOp.LWALK, 64, 2)[0]["value"] == 0
    for bad, op, x2, address in (
        (8, LinkOp.LWALK, 1, 64),
        (8, LinkOp.LFIND, 5, 64),
        (9, LinkOp.LFIND, 5, 72),
        (9, LinkOp.LFIND, 3 * 64, 72),
        (16 + 7, LinkOp.LFIND, 5, 184),
        (24, LinkOp.LFIND, 5, 192),
    ):
        bench.bad_words = {bad}
        result, _ = bench.run(op, 64, x2)
        assert (result["fault"], result["cause"]) == (1, Cause.HARDWARE_ERROR), bad
        assert result["address"] == address
    bench.bad_words = {8}  # the link is not needed where the key is found
    assert bench.run(LinkOp.LFIND, 64, 3 * 64)[0]["value"] == 64
