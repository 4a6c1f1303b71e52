# amaranth: UnusedElaboratable=no
"""Gathers and scatters by themselves: addresses, order, refusals."""

import random

import numpy as np
import pytest
from d1_golden.node.ecc_accesses import first_failing_lane
from d1_golden.node.ecc_state import EccState, check_line, inject, new_ecc_state
from d1_golden.params import LINE_BYTES, preset
from d1_rtl.node.gather_unit import (
    GatherUnit,
    gather_operation_layout,
    gathered_layout,
    vector_blocking_layout,
)
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.gated import GatedUnit
from testbench.on_fpga import CycleModel, SteadyClient

_SEED = 16
_PARAMS = preset("tiny")
_LANES = _PARAMS.fp32_lanes
_BOUND = 400


class Bench:
    """A gather unit with its memory."""

    def __init__(self, *, on_fpga: bool):
        self.rng = random.Random(_SEED)
        self.memory = bytearray(self.rng.randbytes(_PARAMS.sram_bytes))
        self.ecc = new_ecc_state(_PARAMS)
        unit = GatherUnit(_PARAMS)
        if on_fpga:
            native = NativeModel(OnFpga(SteadyClient(unit)), name="gather_unit_on_fpga")
            self.model = CycleModel(native, late={"sram_write__request__payload"})
        else:
            self.model = NativeModel(GatedUnit(unit), name="gather_unit")
        self.model.reset()

    def run(self, *, base, offsets, values, mask, scatters, stall=0.0):
        """Carry out an operation; return the gathered vector, the report and the cycles."""
        model = self.model
        payload = gather_operation_layout(_PARAMS).const(
            {
                "offsets": words(offsets),
                "values": words(values),
                "base": base,
                "mask": mask,
                "register": 7,
                "thread": 2,
                "scatters": scatters,
            }
        )
        assert model.get("busy") == 0
        model.set("i__payload", payload.as_bits())
        model.set("i__valid", 1)
        model.step()
        model.set("i__valid", 0)
        gathered, refused = None, 0
        for cycle in range(1, _BOUND):
            assert model.get("busy") == 1
            grant = self.rng.random() >= stall
            for name in ("sram_read__request", "sram_write__request", "o", "o_blocking"):
                model.set(f"{name}__ready", int(grant))
            asks = model.get("sram_read__request__valid") | model.get("sram_write__request__valid")
            assert model.get("urgent") == (refused >= 7)
            refused = 0 if grant else refused + 1 if asks else refused
            line, uncorrectable = self.serve(grant)
            if grant and model.get("o__valid"):
                assert gathered is None
                gathered = gathered_layout(_PARAMS).from_bits(model.get("o__payload"))
                assert (gathered.register, gathered.thread) == (7, 2)
            ends = grant and model.get("o_blocking__valid")
            report = vector_blocking_layout().from_bits(model.get("o_blocking__payload"))
            model.step()
            model.set("sram_read__data", line)
            model.set("sram_read__uncorrectable", uncorrectable)
            if ends:
                assert report.thread == 2
                return None if gathered is None else gathered.value, report, cycle
        raise AssertionError(f"the unit must report within {_BOUND} cycles")

    def serve(self, grant):
        model = self.model
        if grant and model.get("sram_write__request__valid"):
            write = sram_write_layout(_PARAMS).from_bits(model.get("sram_write__request__payload"))
            for byte in range(LINE_BYTES):
                if write.mask >> byte & 1:
                    self.memory[write.line * LINE_BYTES + byte] = write.data >> 8 * byte & 0xFF
        if grant and model.get("sram_read__request__valid"):
            number = model.get("sram_read__request__payload")
            start = number * LINE_BYTES
            line = int.from_bytes(self.memory[start : start + LINE_BYTES], "little")
            return line, check_line(self.ecc, number)
        return self.rng.getrandbits(8 * LINE_BYTES), self.rng.getrandbits(LINE_BYTES // 8)

    def flip(self, rng, count, end):
        """Flip two bits of some words before an address; return golden's state of them."""
        memory = np.frombuffer(self.memory, np.uint64)
        self.ecc = new_ecc_state(_PARAMS)
        for word in rng.sample(range(end // 8), count):
            inject(self.ecc, memory, word, np.uint64(0b11), np.uint8(0))
        return EccState(*(part.copy() for part in self.ecc))

    def word(self, address):
        return int.from_bytes(self.memory[address : address + 4], "little")


def words(values):
    return sum(value << 32 * n for n, value in enumerate(values))


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def bench(request):
    bench = Bench(on_fpga=request.param == "FPGA")
    yield bench
    bench.model.close()


@pytest.mark.parametrize("scatters", [0, 1])
def test_random_lanes_are_moved_and_bad_ones_have_no_effect(bench, scatters):
    print(f"seed {_SEED}")
    rng = bench.rng
    faults = 0
    for _ in range(400):
        span = rng.choice([32, 256, _PARAMS.sram_bytes])
        base = rng.randrange(0, _PARAMS.sram_bytes, 4) - rng.choice([0, 0, 64])
        if rng.random() < 0.8:
            base = min(base, _PARAMS.sram_bytes - span) % (1 << 64)
        base %= 1 << 64
        offsets = [4 * rng.randrange(span // 4) | (rng.random() < 0.02) for _ in range(_LANES)]
        values = [rng.getrandbits(32) for _ in range(_LANES)]
        mask = rng.choice([(1 << _LANES) - 1, rng.getrandbits(_LANES)])
        addresses = [(base + offset) % (1 << 64) for offset in offsets]
        active = [n for n in range(_LANES) if mask >> n & 1]
        bad = [addresses[n] for n in active
               if addresses[n] % 4 or addresses[n] >= _PARAMS.sram_bytes]  # fmt: skip
        before, expected = bytes(bench.memory), list(values)
        after = bytearray(before)
        for n in [] if bad else active:
            if scatters:
                after[addresses[n] : addresses[n] + 4] = values[n].to_bytes(4, "little")
            else:
                expected[n] = bench.word(addresses[n])
        gathered, report, _ = bench.run(
            base=base, offsets=offsets, values=values, mask=mask, scatters=scatters, stall=0.3
        )
        assert gathered == (None if scatters else words(expected))
        assert bench.memory == after
        assert report.fault == bool(bad) and report.hardware == 0
        assert report.address == (bad[0] if bad else 0)
        faults += bool(bad)
    assert 20 < faults < 380


def test_words_that_cannot_be_corrected_are_faults_and_each_line_is_read_once(bench):
    print(f"seed {_SEED}")
    rng = random.Random(_SEED)
    span, faults = 512, 0
    for _ in range(200):
        golden = bench.flip(rng, 12, span)
        offsets = [rng.randrange(0, span, 4) for _ in range(_LANES)]
        mask = rng.getrandbits(_LANES)
        _, report, _ = bench.run(
            base=0, offsets=offsets, values=[0] * _LANES, mask=mask, scatters=0, stall=0.3
        )
        lanes = np.array(offsets, np.uint32).view(np.uint64)
        lane = first_failing_lane(golden, np.uint64(0), lanes, np.uint64(mask))
        assert report.fault == report.hardware == (lane >= 0)
        assert report.address == (offsets[lane] if lane >= 0 else 0)
        assert np.array_equal(bench.ecc.registers, golden.registers)
        faults += lane >= 0
    assert 20 < faults < 180
    bench.ecc = new_ecc_state(_PARAMS)


@pytest.mark.parametrize(("scatters", "rest"), [(0, 4), (1, 3)])
def test_each_line_takes_a_cycle(bench, scatters, rest):
    for lines in range(1, _LANES + 1):
        offsets = [64 * (n % lines) + 4 * n for n in range(_LANES)]
        values = [0] * _LANES
        _, _, cycles = bench.run(
            base=0, offsets=offsets, values=values, mask=(1 << _LANES) - 1, scatters=scatters
        )
        assert cycles == lines + rest


def test_the_higher_of_two_lanes_at_one_word_is_stored(bench):
    values = list(range(100, 100 + _LANES))
    bench.run(base=0x40, offsets=[8] * _LANES, values=values, mask=0b0111, scatters=1)
    assert bench.word(0x48) == 102


def test_an_access_that_is_refused_becomes_urgent(bench):
    bench.run(base=0, offsets=[0] * _LANES, values=[0] * _LANES, mask=1, scatters=1, stall=0.95)
