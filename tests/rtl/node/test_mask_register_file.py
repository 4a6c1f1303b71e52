# amaranth: UnusedElaboratable=no
"""The mask registers against an array."""

import numpy as np
import pytest
from d1_golden.params import PRESETS, preset
from d1_rtl.node.mask_register_file import MaskNumber, MaskRegisterFile, mask_write_layout
from d1_rtl.sim.native import NativeModel

from testbench.layouts import pack_rows

SEED = 41
CYCLES = 5_000
READS = ("a", "b", "memory")


class OnFpga(MaskRegisterFile):
    """As it is where small memories have one write port."""

    def elaborate(self, platform):
        return super().elaborate("an FPGA")


@pytest.fixture(
    scope="module", params=[*((MaskRegisterFile, name) for name in PRESETS), (OnFpga, "fpga")]
)
def file(request):
    kind, name = request.param
    params = preset(name)
    with NativeModel(kind(params), name=f"mask_registers_{name}") as model:
        yield params, model


def register_rows(params, registers):
    """Return numbers of registers, counted through all threads, as rows of `MaskNumber`."""
    rows = pack_rows(
        MaskNumber.as_shape(),
        thread=(registers // 8).astype(np.uint8),
        number=(registers % 8).astype(np.uint8),
    )
    return rows[:, 0]


def write_rows(params, valid, registers, values):
    register = register_rows(params, registers)
    return pack_rows(
        mask_write_layout(params), valid=valid.astype(np.uint8), register=register, value=values
    )


def test_reads_show_the_writes_of_earlier_cycles_of_every_thread(file):
    params, model = file
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    count = 8 * params.threads
    first = rng.integers(0, count, CYCLES)
    second = (first + rng.integers(1, count, CYCLES)) % count  # never the same register
    written = np.stack([first, second])
    valid = rng.random((2, CYCLES)) < 0.7
    values = rng.integers(0, 1 << params.fp32_lanes, (2, CYCLES), np.uint32)
    reads = {name: rng.integers(0, count, CYCLES) for name in READS}
    inputs = {f"number_{name}": register_rows(params, rows) for name, rows in reads.items()}
    for n in range(2):
        inputs[f"write_{n}"] = write_rows(params, valid[n], written[n], values[n])
    outputs = model.play(inputs, READS)
    registers = np.zeros(count, np.uint32)
    seen = set()
    for cycle in range(CYCLES):
        for name in READS:
            assert outputs[name][cycle, 0] == registers[reads[name][cycle]], (cycle, name)
        for n in range(2):
            if valid[n, cycle]:
                registers[written[n, cycle]] = values[n, cycle]
                seen.add((n, int(written[n, cycle])))
    assert len(seen) == 2 * count


def test_a_reset_leaves_the_masks_as_they_are(file):
    params, model = file
    ones = (1 << params.fp32_lanes) - 1
    everything = np.arange(8 * params.threads)
    always = np.ones(len(everything), bool)
    values = np.full(len(everything), ones, np.uint32)
    idle = np.zeros_like(write_rows(params, always, everything, values))
    model.play({"write_0": write_rows(params, always, everything, values), "write_1": idle}, [])
    model.set("write_0", 0)
    model.reset()
    outputs = model.play({"number_a": register_rows(params, everything)}, ["a"])
    assert (outputs["a"] == ones).all()
