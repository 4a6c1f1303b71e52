# amaranth: UnusedElaboratable=no
"""The convert unit: every conversion, every lane, with pauses and a clock that stops."""

from contextlib import closing

import numpy as np
import pytest
from d1_golden.numerics import BF16, CFP8_BIASES, Cfp8Config, Cfp8Format, Rounding
from d1_golden.numerics.convert import (
    bf16_to_fp32_array,
    cfp8_to_fp32_array,
    fp32_to_bf16_array,
    fp32_to_cfp8_array,
)
from d1_golden.numerics.stimulus import conversion_operands
from d1_golden.params import preset
from d1_rtl.node.convert_unit import ConvertOp, ConvertUnit, convert_operation_layout

from testbench.gated import play_operations
from testbench.nodes import SHAPES
from testbench.on_fpga import gated_model

SEED = 9
#: Random streams of so many operations: on d1, more than a million lanes of each kind.
OPERATIONS = 66_000
STREAMS = {"d1": 4, "fpga": 1, "tiny": 1, "four_rows": 1}


@pytest.fixture(scope="module", params=SHAPES, ids=lambda p: p.name)
def unit(request):
    params = request.param
    on_fpga = params is preset("fpga")
    name = f"convert_unit_{params.name}"
    with closing(gated_model(ConvertUnit(params), name=name, on_fpga=on_fpga)) as model:
        yield params, model


def operations(params, rng, count):
    """Return random operations of every kind."""
    op = rng.integers(0, len(ConvertOp), count)
    narrow = np.isin(op, [ConvertOp.FP32_FROM_BF16.value, ConvertOp.BF16_FROM_FP32.value])
    source = conversion_operands(rng, count * params.fp32_lanes, BF16).reshape(count, -1)
    config = rng.integers(0, len(CFP8_BIASES) * len(Cfp8Format), count).astype(np.uint8)
    to_cfp8 = op == ConvertOp.CFP8_FROM_FP32.value
    for word in np.unique(config):
        chosen = to_cfp8 & (config == word)
        form = cfp8_config(word).float_format
        values = conversion_operands(rng, int(chosen.sum()) * params.fp32_lanes, form)
        source[chosen] = values.reshape(-1, params.fp32_lanes)
    widen = np.isin(op, [ConvertOp.FP32_FROM_BF16.value, ConvertOp.FP32_FROM_CFP8.value])
    source[widen] = rng.integers(0, 1 << 32, source[widen].shape, np.uint32)
    return {
        "source": source,
        "merge": rng.integers(0, 1 << 32, source.shape, np.uint32),
        "seed": rng.integers(0, 1 << 64, count, np.uint64),
        "op": op.astype(np.uint8),
        "part": rng.integers(0, np.where(narrow, 2, 4)).astype(np.uint8),
        "stochastic": rng.integers(0, len([Rounding.NEAREST_EVEN, Rounding.STOCHASTIC]), count)
        .astype(np.uint8),
        "config": config,
    }  # fmt: skip


def cfp8_config(word):
    return Cfp8Config(Cfp8Format(int(word) >> 6), int(word) & 63)


def golden(params, ops, k):
    """Return the vector that operation k gives."""
    lanes = params.fp32_lanes
    op, part = ConvertOp(int(ops["op"][k])), int(ops["part"][k])
    source = np.ascontiguousarray(ops["source"][k])
    config = cfp8_config(ops["config"][k])
    window = slice(lanes * part, lanes * (part + 1))
    if op is ConvertOp.FP32_FROM_BF16:
        return bf16_to_fp32_array(source.view(np.uint16)[window])
    if op is ConvertOp.FP32_FROM_CFP8:
        return cfp8_to_fp32_array(source.view(np.uint8)[window], config)
    rounding, seed = Rounding(int(ops["stochastic"][k])), int(ops["seed"][k])
    result = ops["merge"][k].copy()
    if op is ConvertOp.BF16_FROM_FP32:
        result.view(np.uint16)[window] = fp32_to_bf16_array(source, rounding, seed)
    else:
        result.view(np.uint8)[window] = fp32_to_cfp8_array(source, config, rounding, seed)
    return result


def test_every_conversion_equals_golden_after_two_cycles(unit):
    params, model = unit
    assert ConvertUnit.LATENCY == 2
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    lanes = np.zeros(len(ConvertOp), int)
    for _ in range(STREAMS[params.name]):
        ops = operations(params, rng, OPERATIONS)
        expected = np.array([golden(params, ops, k) for k in range(OPERATIONS)])
        actual = play_operations(
            model, convert_operation_layout(params), rng, ops, latency=ConvertUnit.LATENCY
        )
        assert np.array_equal(actual, expected)
        lanes += np.bincount(ops["op"]) * params.fp32_lanes
    assert lanes.min() >= (1_000_000 if params.name == "d1" else 1)
