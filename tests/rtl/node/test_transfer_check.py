"""Exceptions of transfer instructions against the golden node."""

import random

import numpy as np
import pytest
from d1_golden.node.communication import NO_CAUSE, transfer_fault
from d1_golden.params import PRESETS
from d1_golden.transfer import TransferOp
from d1_rtl.node.transfer_check import TransferCheck
from d1_rtl.sim.native import NativeModel


@pytest.mark.parametrize("preset", PRESETS)
def test_operands_raise_the_exceptions_of_golden(preset):
    params = PRESETS[preset]
    print("seed 17")
    rng = random.Random(17)
    count = 20_000
    end = params.sram_bytes

    def local() -> int:
        base = rng.choice([0, 64, end, end - 64, 1 << 23, 1 << 24, 1 << 32, 1 << 63, 2**64])
        value = base + 64 * rng.randrange(-40, 40) if rng.random() < 0.7 else rng.randrange(end)
        return (value & ~63 if rng.random() < 0.9 else value) % 2**64

    def remote() -> int:
        node = rng.choice([0, 0x0102_0304, rng.getrandbits(32), 1 << 32, 1 << 39])
        offset = rng.choice([0, (1 << 24) - 64 * rng.randrange(1, 40), rng.getrandbits(24)])
        return (node << 24 | (offset & ~63 if rng.random() < 0.9 else offset)) % 2**64

    rows = []
    for _ in range(count):
        op = rng.choice(list(TransferOp))
        x1, x2 = local(), remote()
        if op is TransferOp.BCAST and rng.random() < 0.8:
            far = x2 >> 24 | rng.getrandbits(32) if rng.random() < 0.7 else rng.getrandbits(32)
            x1 = x1 & 0xFFFF_FFFF | (far & 0xFFFF_FFFF) << 32
        if op is TransferOp.POST:
            x1 = remote()
        rows.append((op, x1, x2, rng.choice([0, 1, 2, 31, rng.randrange(32)])))
    columns = [np.array(column, np.uint64) for column in zip(*rows, strict=True)]
    inputs = dict(zip(("op", "x1", "x2", "count"), columns, strict=True))
    with NativeModel(TransferCheck(params), name=f"transfer_check_{preset}") as model:
        outputs = model.play(inputs, ["fault", "cause", "value"])
    values = np.ascontiguousarray(outputs["value"]).view("<u8").reshape(-1)
    causes = set()
    for n in range(count):
        operands = [column[n] for column in columns]
        cause, value = transfer_fault(*operands, np.uint64(end))
        fault = outputs["fault"][n, 0]
        assert fault == (cause != NO_CAUSE), rows[n]
        if fault:
            assert (outputs["cause"][n, 0], values[n]) == (cause, value), rows[n]
            causes.add((int(operands[0]), int(cause)))
    # Both ends misaligned and misplaced of three operations, two of XLIST, one of POST.
    assert len(causes) == 2 * 4 + 4 + 2 + 1
