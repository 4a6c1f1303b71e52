# amaranth: UnusedElaboratable=no
"""The matrix unit in its gated clock: values against golden, every cycle against its timetable."""

import numpy as np
import pytest
from d1_golden.numerics import BF16, CFP8_BIASES, Cfp8Config, Cfp8Format
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.dot_product import matrix_step
from d1_golden.numerics.stimulus import OperandKind, dot_operands
from d1_golden.params import preset
from d1_rtl.node.matrix_unit import (
    MatrixOp,
    MatrixUnit,
    accumulator_part_layout,
    matrix_operation_layout,
)

from testbench.layouts import pack_rows
from testbench.nodes import SHAPES
from testbench.on_fpga import gated_model

SEED = 8
#: Operations of a random stream; three quarters are steps of R x C blocks.
OPERATIONS = {"d1": 22_000, "fpga": 8_000, "tiny": 8_000, "four_rows": 8_000}
STEP, ZERO, WRITE = (op.value for op in MatrixOp)
#: In these tests: a part is asked for over `i_read`.
READ = len(MatrixOp)


class Bench:
    """A compiled unit and its golden accumulators, which go along."""

    def __init__(self, params):
        self.params = params
        self.layout = matrix_operation_layout(params)
        self.place = accumulator_part_layout(params)
        self.model = gated_model(
            MatrixUnit(params), name=f"matrix_unit_{params.name}", on_fpga=params is preset("fpga")
        )
        shape = (params.threads, params.accumulators, params.matrix_rows * params.matrix_cols)
        self.accumulators = np.zeros(shape, np.uint32)
        self._scratch = np.empty(8 * params.matrix_cols, np.int32)

    def golden(self, ops):
        """Return the parts that the READs among `ops` give."""
        parts = []
        lanes = self.params.fp32_lanes
        for k, (op, thread, number, part) in enumerate(
            zip(ops["op"], ops["thread"], ops["acc"], ops["part"], strict=True)
        ):
            acc = self.accumulators[thread, number]
            window = slice(lanes * part, lanes * (part + 1))
            if op == STEP:
                a, b = (
                    self._operand(ops[f"{side}"][k], ops[f"{side}_config"][k], ops, k)
                    for side in "ab"
                )
                matrix_step(
                    acc, a, b, bool(ops["first"][k]), self.params.dot_fraction_bits, self._scratch
                )
            elif op == ZERO:
                acc[:] = 0
            elif op == READ:
                parts.append(acc[window].copy())
            else:
                acc[window] = ops["a"][k].view(np.uint32)
        return parts

    def _operand(self, tile, config, ops, k):
        if not ops["cfp8"][k]:
            return tile.view(np.uint16)
        config = Cfp8Config(Cfp8Format(config >> 6), int(config & 63))
        half = 4 * int(ops["half"][k])
        codes = tile.reshape(-1, 8)[:, half : half + 4]
        return cfp8_to_bf16_array(codes, config).ravel()

    def run(self, ops, gaps=None):
        """Play operations, each at the earliest `gaps` cycles late; return the transfer cycles.

        Checks `busy` in every cycle and what is read, and when.
        """
        gaps = np.zeros(len(ops["op"]), int) if gaps is None else gaps
        transfers = timetable(ops, gaps)
        cycles = transfers[-1] + 5
        reads = ops["op"] == READ
        ops = ops | {"place": self._places(ops)}
        fields = {name: ops[name] for name in self.layout.members if self.layout[name].width}
        payload = pack_rows(self.layout, **{k: np.where(reads, 0, v) if k == "op" else v
                                            for k, v in fields.items()})  # fmt: skip
        inputs = {}
        for port, chosen, rows in (
            ("i", ~reads, payload),
            ("i_read", reads, ops["place"].astype(np.uint32)[:, np.newaxis]),
        ):
            valid, row = np.zeros(cycles, np.uint8), np.zeros(cycles, int)
            valid[transfers[chosen]] = 1
            # Between two operations the payload already is the next one's, with valid low.
            numbers = np.flatnonzero(chosen)
            if len(numbers):
                following = np.searchsorted(transfers[chosen], np.arange(cycles))
                row = numbers[np.minimum(following, len(numbers) - 1)]
            inputs |= {f"{port}__payload": rows[row], f"{port}__valid": valid}
        outputs = self.model.play(inputs, ["o_read__valid", "o_read__payload", "busy"])
        self._check_busy(ops["op"], transfers, outputs["busy"][:, 0])
        expected = self.golden(ops)
        came = outputs["o_read__valid"][:, 0] == 1
        assert np.array_equal(np.flatnonzero(came), transfers[reads] + MatrixUnit.READ_LATENCY)
        got = outputs["o_read__payload"][came]
        assert np.array_equal(got, np.array(expected, np.uint32).reshape(got.shape))
        return transfers.tolist()

    def _places(self, ops):
        place = np.zeros(len(ops["op"]), np.uint16)
        for name in self.place.members:
            place |= ops[name].astype(np.uint16) << self.place[name].offset
        return place

    @staticmethod
    def _check_busy(ops, transfers, busy):
        effect = {STEP: 3, ZERO: 3, READ: 2, WRITE: 3}
        expected = np.zeros(len(busy), np.uint32)
        for op, transfer in zip(ops, transfers, strict=True):
            expected[transfer + 1 : transfer + 1 + effect[int(op)]] = 1
        assert np.array_equal(busy, expected)


def timetable(ops, gaps):
    """Return the cycles of the earliest transfers that the unit allows, in order.

    An operation and a read go together if neither waits for the other's accumulator.
    """
    transfers = []
    written: dict[tuple[int, int], int] = {}  # when each accumulator can be read
    last = {False: -1, True: -1}
    fields = (ops["op"], ops["thread"], ops["acc"], ops["first"], gaps)
    for op, thread, number, first, gap in zip(*fields, strict=True):
        place, reads = (int(thread), int(number)), op == READ
        ordered = reads or (op == STEP and not first)
        now = max(last[reads] + 1, last[not reads]) + int(gap)
        if ordered:
            now = max(now, written.get(place, 0))
        last[reads] = now
        transfers.append(now)
        if not reads:
            written[place] = now + MatrixUnit.STEP_LATENCY
    return np.array(transfers)


def operations(params, rng, count, **given):
    """Return random operations; the fields in `given` are what they are."""
    tile = params.vector_bytes
    kinds = rng.choice(len(OperandKind), count)
    a = np.empty((count, tile), np.uint8)
    b = np.empty((count, tile), np.uint8)
    for index, kind in enumerate(OperandKind):
        chosen = kinds == index
        blocks = int(chosen.sum()) * params.matrix_rows
        _, left, right = dot_operands(rng, blocks, params.matrix_depth, BF16, kind)
        a[chosen] = left.view(np.uint8).reshape(-1, tile)
        b[chosen] = right.view(np.uint8).reshape(-1, tile)
    biases, splits = len(CFP8_BIASES), len(Cfp8Format)
    ops = {
        "a": a,
        "b": b,
        "op": rng.choice([STEP, ZERO, READ, WRITE], count, p=[0.75, 0.02, 0.17, 0.06]),
        "first": rng.random(count) < 0.1,
        "cfp8": rng.random(count) < 0.3,
        "half": rng.integers(0, 2, count),
        "a_config": rng.integers(0, biases * splits, count),
        "b_config": rng.integers(0, biases * splits, count),
        "thread": rng.integers(0, params.threads, count),
        "acc": rng.integers(0, params.accumulators, count),
        "part": rng.integers(0, params.accumulator_parts, count),
    }
    ops |= {name: np.broadcast_to(values, count) for name, values in given.items()}
    return {name: np.asarray(values).astype(np.uint8) for name, values in ops.items()}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def bench(request):
    return Bench(request.param)


@pytest.fixture(scope="module")
def tiny():
    return Bench(preset("tiny"))


def test_random_operations_with_random_pauses_equal_golden(bench):
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    count = OPERATIONS[bench.params.name]
    ops = operations(bench.params, rng, count)
    # Long dense stretches and sparse ones: the clock stops only in pauses of four cycles and more.
    pause = np.repeat(rng.choice([0.0, 0.1, 0.6], -(-count // 50)), 50)[:count]
    gaps = np.where(rng.random(count) < pause, rng.integers(1, 9, count), 0)
    bench.run(ops, gaps)
    blocks = int((ops["op"] == STEP).sum()) * bench.params.matrix_rows * bench.params.matrix_cols
    assert blocks >= (1_000_000 if bench.params.name == "d1" else 1)


def test_every_accumulator_is_read_back_as_written_to_the_bit(bench):
    """Any bit pattern, NaN payloads included; neighbouring parts and accumulators stay."""
    params = bench.params
    rng = np.random.default_rng(SEED)
    shape = (params.threads, params.accumulators, params.accumulator_parts)
    places = np.prod(shape)
    thread, number, part = np.unravel_index(rng.permutation(places), shape)
    for op in (WRITE, READ):
        ops = operations(params, rng, places, op=op, thread=thread, acc=number, part=part)
        ops["a"][...] = rng.integers(0, 256, ops["a"].shape)
        transfers = bench.run(ops)
        assert transfers == list(range(places)), "one a cycle"


def test_three_accumulators_in_rotation_take_a_step_every_cycle(bench):
    rng = np.random.default_rng(SEED)
    count = 300
    ops = operations(bench.params, rng, count, op=STEP, first=0, acc=np.arange(count) % 3, thread=0)
    assert bench.run(ops) == list(range(count))


def test_reads_do_not_disturb_steps_of_other_accumulators(bench):
    rng = np.random.default_rng(SEED)
    count = 300
    op = np.where(np.arange(count) % 2, READ, STEP)
    acc = np.where(np.arange(count) % 2, 7, np.arange(count) // 2 % 3)
    ops = operations(bench.params, rng, count, op=op, first=0, acc=acc, thread=0)
    assert bench.run(ops) == [n // 2 for n in range(count)]


def test_the_same_accumulator_of_every_thread_takes_a_step_in_turn(bench):
    rng = np.random.default_rng(SEED)
    threads = np.arange(bench.params.threads)
    ops = operations(bench.params, rng, len(threads), op=STEP, first=0, acc=3, thread=threads)
    assert bench.run(ops) == threads.tolist()


def test_zero_leaves_positive_zeros_even_of_nans(tiny):
    rng = np.random.default_rng(SEED)
    ops = operations(tiny.params, rng, 3, op=[WRITE, ZERO, READ], thread=1, acc=2, part=0)
    ops["a"][0] = 0xFF
    ops["a"][1] = ops["b"][1] = 0xFF
    tiny.run(ops)
    assert not tiny.accumulators[1, 2].any()


def test_accumulators_keep_their_values_through_a_reset_that_drops_what_is_in_flight(tiny):
    rng = np.random.default_rng(SEED)
    tiny.run(operations(tiny.params, rng, 1, op=WRITE, thread=1, acc=5, part=0))
    step = operations(tiny.params, rng, 1, op=STEP, thread=1, acc=5, first=1)
    step["place"] = tiny._places(step)
    fields = {name: step[name] for name in tiny.layout.members if tiny.layout[name].width}
    tiny.model.play(
        {"i__payload": pack_rows(tiny.layout, **fields), "i__valid": np.ones(1, np.uint8)}, []
    )
    assert tiny.model.get("busy") == 1
    tiny.model.set("i__valid", 0)
    tiny.model.reset()
    assert tiny.model.get("busy") == 0
    tiny.run(operations(tiny.params, rng, 1, op=READ, thread=1, acc=5, part=0))
