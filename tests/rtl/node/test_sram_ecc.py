# amaranth: UnusedElaboratable=no
"""Error correction through the SRAM's ports, against golden: flips, stores, scrubbing, counts."""

import itertools
import random

import numpy as np
import pytest
from d1_golden.ecc import CHECK_BITS, DATA_BITS
from d1_golden.memory_map import EccRegister
from d1_golden.node import ecc_state
from d1_golden.params import LINE_BYTES, PRESETS
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.sram import READ_CLIENTS, WRITE_CLIENTS, Sram
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.layouts import pack_rows
from testbench.on_fpga import LINE_PORTS, CycleModel, SteadySram

PARAMS = PRESETS["tiny"]
LINES = PARAMS.sram_bytes // LINE_BYTES
WORDS = LINE_BYTES // 8
BITS = DATA_BITS + CHECK_BITS
READERS = [f"r_{name}" for name in READ_CLIENTS]
WRITERS = [f"w_{name}" for name in WRITE_CLIENTS]
ALL_BYTES = (1 << LINE_BYTES) - 1
M64 = (1 << 64) - 1
#: Cycles after which an injection is done and what was read is counted, with room to spare.
SETTLED = 40


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def model(request):
    if request.param == "simulator":
        with NativeModel(Sram(PARAMS), name="sram_tiny") as model:
            yield model
    else:
        sram = SteadySram(Sram(PARAMS, gated=False))
        with NativeModel(OnFpga(sram), name="sram_on_fpga") as model:
            yield CycleModel(model, late=LINE_PORTS)


@pytest.fixture
def both(model):
    return Both(model)


class Both:
    """The SRAM and its golden twin, which get the same accesses one after the other."""

    def __init__(self, model):
        self.model = model
        self.ecc = ecc_state.new_ecc_state(PARAMS)
        self.memory = np.zeros(PARAMS.sram_bytes // 8, np.uint64)
        for client in (*READERS, *WRITERS):
            model.set(f"{client}__request__valid", 0)
        model.set("write", 0)
        model.reset()
        # The memory keeps what it holds over a reset.
        everything = np.full(LINES, ALL_BYTES, np.uint64)
        line = np.arange(LINES, dtype=np.uint64)
        zeros = pack_rows(sram_write_layout(PARAMS), line=line, mask=everything)
        always = np.ones(LINES, np.uint64)
        ports = {"w_network__request__payload": zeros, "w_network__request__valid": always}
        assert model.play(ports, ["w_network__request__ready"])["w_network__request__ready"].all()
        model.set("w_network__request__valid", 0)

    def settle(self):
        for _ in range(SETTLED):
            if not self.model.get("busy"):
                return
            self.model.step()
        raise TimeoutError(f"waited {SETTLED} cycles for the SRAM not to be busy")

    def registers(self):
        self.settle()
        line = self.model.get("registers")
        return [line >> 64 * n & M64 for n in range(len(EccRegister))]

    def write_registers(self, values):
        data = sum(value << 64 * register for register, value in values.items())
        self.model.set("data", data)
        self.model.set("write", sum(1 << register for register in values))
        self.model.step()
        self.model.set("write", 0)
        for register, value in sorted(values.items()):
            ecc_state.write_register(self.ecc, self.memory, register, np.uint64(value))

    def clear_logs(self):
        self.settle()
        self.write_registers({EccRegister.LAST_CORRECTED: 1, EccRegister.FIRST_UNCORRECTABLE: 1})

    def inject(self, word, data, check):
        self.write_registers(
            {
                EccRegister.INJECT_DATA: data,
                EccRegister.INJECT_CHECK: check,
                EccRegister.INJECT_ADDRESS: 8 * word,
            }
        )
        self.settle()

    def flip(self, word, bits):
        mask = sum(1 << bit for bit in bits)
        self.inject(word, mask & M64, mask >> DATA_BITS)

    def _transfer(self, client):
        self.model.set(f"{client}__request__valid", 1)
        for _ in range(4):
            ready = self.model.get(f"{client}__request__ready")
            self.model.step()
            if ready:
                break
        assert ready
        self.model.set(f"{client}__request__valid", 0)

    def write(self, client, line, data, mask):
        layout = sram_write_layout(PARAMS)
        values = {"line": line, "data": data, "mask": mask}
        self.model.set(
            f"{client}__request__payload",
            sum(value << layout[name].offset for name, value in values.items()),
        )
        self._transfer(client)
        ecc_state.store(self.ecc, line, np.uint64(mask))
        row = self.memory[WORDS * line :][:WORDS].view(np.uint8)
        for byte in range(LINE_BYTES):
            if mask >> byte & 1:
                row[byte] = data >> 8 * byte & 0xFF

    def read(self, client, line):
        """Read from both; return the words and which of them cannot be corrected."""
        self.model.set(f"{client}__request__payload", line)
        self._transfer(client)
        data = self.model.get(f"{client}__data")
        words = [data >> 64 * n & M64 for n in range(WORDS)]
        uncorrectable = self.model.get(f"{client}__uncorrectable")
        assert uncorrectable == ecc_state.check_line(self.ecc, line)
        assert words == self.memory[WORDS * line :][:WORDS].tolist()
        return words, uncorrectable

    def check_registers(self):
        assert self.registers() == self.ecc.registers.tolist()


def flip_masks(size):
    """Return every choice of `size` bits of 72 as masks of the word and of the check byte."""
    chosen = [sum(1 << bit for bit in bits) for bits in itertools.combinations(range(BITS), size)]
    words = np.array([mask & M64 for mask in chosen], np.uint64)
    return words, np.array([mask >> DATA_BITS for mask in chosen], np.uint64)


@pytest.mark.parametrize(("size", "count"), [(1, 72), (2, 2556)])
def test_every_flip_of_one_and_two_bits_in_a_stored_word_is_corrected_or_detected(
    model, both, size, count
):
    print("seed 72")
    rng = np.random.default_rng(72)
    data_flips, check_flips = flip_masks(size)
    assert data_flips.size == count
    lines = rng.integers(0, 1 << 64, (count, WORDS), np.uint64)
    place = rng.integers(0, WORDS, count)
    number = rng.integers(0, LINES, count)
    # Each flip: the line is written, some cycles later a word of it flipped, and then it is read.
    period, flip_at, read_at = 16, 2, 14
    rows = period * count

    def at(offset, values):
        out = np.zeros((rows, *values.shape[1:]), values.dtype)
        out[offset::period] = values
        return out

    ones = np.ones(count, np.uint64)
    registers = np.zeros((count, len(EccRegister)), np.uint64)
    registers[:, EccRegister.INJECT_DATA] = data_flips
    registers[:, EccRegister.INJECT_CHECK] = check_flips
    registers[:, EccRegister.INJECT_ADDRESS] = LINE_BYTES * number + 8 * place
    injection = sum(1 << n for n in EccRegister if "INJECT" in n.name)
    write = pack_rows(
        sram_write_layout(PARAMS),
        line=number.astype(np.uint64),
        data=lines,
        mask=np.full(count, ALL_BYTES, np.uint64),
    )
    recorded = model.play(
        {
            "w_vector__request__valid": at(0, ones),
            "w_vector__request__payload": at(0, write),
            "write": at(flip_at, injection * ones),
            "data": at(flip_at, registers.view(np.uint32)),
            "r_vector_1__request__valid": at(read_at, ones),
            "r_vector_1__request__payload": at(read_at, number.astype(np.uint64)),
        },
        ["r_vector_1__data", "r_vector_1__uncorrectable", "busy"],
    )
    read = recorded["r_vector_1__data"][read_at + 1 :: period].view(np.uint64)
    found = recorded["r_vector_1__uncorrectable"][read_at + 1 :: period, 0]
    assert not recorded["busy"][read_at::period].any()
    total = both.registers()
    if size == 1:
        assert np.array_equal(read, lines)
        assert not found.any()
        assert total[EccRegister.CORRECTED] == count
        assert total[EccRegister.UNCORRECTABLE] == 0
    else:
        lines[np.arange(count), place] ^= data_flips
        assert np.array_equal(read, lines)
        assert np.array_equal(found, 1 << place)
        assert total[EccRegister.CORRECTED] == 0
        assert total[EccRegister.UNCORRECTABLE] == count
        first = total[EccRegister.FIRST_UNCORRECTABLE]
        assert first & 0xFFFF_FFFF == LINE_BYTES * number[0] + 8 * place[0]


def test_memory_at_power_up_is_of_code_words():
    with NativeModel(Sram(PARAMS), name="sram_tiny") as model:
        model.reset()
        always = np.ones(LINES, np.uint64)
        recorded = model.play(
            {
                "r_network__request__valid": always,
                "r_network__request__payload": np.arange(LINES, dtype=np.uint64),
            },
            ["r_network__data", "r_network__uncorrectable"],
        )
        model.step(4)
        assert not recorded["r_network__data"].any()
        assert not recorded["r_network__uncorrectable"].any()
        assert model.get("registers") == 0


def test_every_reader_gets_the_corrected_line_and_the_mark_of_what_cannot_be(both):
    rng = random.Random(1)
    for reader in READERS:
        both.write("w_vector", 9, rng.getrandbits(512), ALL_BYTES)
        both.flip(9 * WORDS + 2, [17])
        both.flip(9 * WORDS + 6, [5, 70])
        assert both.read(reader, 9)[1] == 1 << 6
        both.check_registers()


def test_flips_add_up_and_flipping_them_again_takes_them_back(both):
    both.flip(8, [3])
    both.flip(8, [40])
    assert both.read("r_scalar", 1) == ([1 << 3 | 1 << 40] + [0] * 7, 1)
    both.flip(8, [3, 40])
    assert both.read("r_scalar", 1) == ([0] * 8, 0)
    both.check_registers()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_store_of_part_of_a_word_heals_one_flip_and_leaves_two_uncorrectable(both, writer):
    data = sum(0x0123_4567_89AB_CDEF << 64 * n for n in range(WORDS))
    both.flip(8 + 2, [60])
    both.flip(16 + 2, [60, 61])
    for line in (1, 2):
        both.write(writer, line, data, 0xF << 16)
    assert both.read("r_scalar", 1) == ([0, 0, 0x89AB_CDEF, 0, 0, 0, 0, 0], 0)
    assert both.read("r_scalar", 2)[1] == 1 << 2
    counted = both.registers()
    both.read("r_scalar", 1)
    assert both.registers() == counted  # it is right in memory, not only on the way out
    both.write(writer, 2, data, 0xFF << 16)
    assert both.read("r_scalar", 2) == ([0, 0, 0x0123_4567_89AB_CDEF, 0, 0, 0, 0, 0], 0)
    both.check_registers()


def test_a_store_to_other_words_leaves_a_flipped_word_as_it_is(both):
    both.flip(8, [1])
    both.flip(9, [1, 2])
    both.write("w_vector", 1, 0, 0xFF << 16)  # whole: the row is not read
    assert both.registers()[: EccRegister.UNCORRECTABLE + 1] == [0, 0]
    both.write("w_vector", 1, 0, 0x0F << 16)  # part of a word: it is, and both words are found
    assert both.registers()[: EccRegister.UNCORRECTABLE + 1] == [1, 1]
    assert both.read("r_fetch", 1) == ([0, 6, 0, 0, 0, 0, 0, 0], 2)
    assert both.registers()[: EccRegister.UNCORRECTABLE + 1] == [2, 2]
    both.check_registers()


def test_an_injection_outside_of_sram_and_one_of_no_bits_change_nothing(both):
    both.write_registers({EccRegister.INJECT_DATA: 1, EccRegister.INJECT_CHECK: 1 << 64 - 1 | 2})
    for address in (PARAMS.sram_bytes, 1 << 24, 1 << 63):
        both.write_registers({EccRegister.INJECT_ADDRESS: address})
        both.settle()
    both.inject(0, 0, 0)
    for line in (0, LINES - 1):
        assert both.read("r_fetch", line)[1] == 0
    both.check_registers()
    assert both.registers()[EccRegister.CORRECTED] == 0


def test_registers_that_count_cannot_be_written_and_logs_are_cleared_by_a_write(both):
    both.flip(3, [9])
    both.flip(4, [9, 10])
    both.read("r_fetch", 0)
    registers = both.registers()
    assert registers[EccRegister.CORRECTED] == registers[EccRegister.UNCORRECTABLE] == 1
    assert registers[EccRegister.LAST_CORRECTED] & 0xFFFF_FFFF == 3 * 8
    assert registers[EccRegister.FIRST_UNCORRECTABLE] & 0xFFFF_FFFF == 4 * 8
    both.write_registers({EccRegister.CORRECTED: 0, EccRegister.UNCORRECTABLE: 0})
    assert both.registers() == registers
    both.clear_logs()
    assert both.registers()[EccRegister.LAST_CORRECTED] == 0
    assert both.registers()[EccRegister.FIRST_UNCORRECTABLE] == 0
    both.read("r_fetch", 0)
    assert both.registers()[EccRegister.LAST_CORRECTED] == registers[EccRegister.LAST_CORRECTED]
    both.check_registers()


def test_a_reset_clears_the_registers_and_keeps_what_is_stored(both):
    both.write("w_network", 3, 77, ALL_BYTES)
    both.flip(24, [0])
    both.read("r_fetch", 3)
    both.write_registers({EccRegister.SCRUB_INTERVAL: 1000})
    both.model.reset()
    both.ecc.registers[:] = 0
    assert both.registers() == [0] * 8
    assert both.read("r_fetch", 3)[0][0] == 77
    both.check_registers()
    assert both.registers()[EccRegister.CORRECTED] == 1  # the flip was kept too


def test_random_accesses_and_flips_agree_with_golden(both):
    rng = random.Random(5)
    print("seed 5")
    for _ in range(2500):
        line = rng.randrange(6)
        what = rng.random()
        if what < 0.3:
            both.read(rng.choice(READERS), line)
        elif what < 0.6:
            writer = rng.choice(WRITERS)
            data, mask = rng.getrandbits(512), rng.getrandbits(64) & rng.getrandbits(64)
            if writer == "w_scalar":
                data = sum((data & M64) << 64 * n for n in range(WORDS))
                mask = rng.choice((0xFF, 0xF, 0xF0, 0x80)) << 8 * rng.randrange(WORDS)
            elif rng.random() < 0.4:
                mask = sum(0xFF << 8 * n for n in range(WORDS) if rng.random() < 0.5)
            both.write(writer, line, data, mask)
        elif what < 0.97:
            # More than two flips at times: three may be taken for one, by both alike.
            both.flip(line * WORDS + rng.randrange(WORDS), rng.sample(range(BITS), 1))
        else:
            both.clear_logs()
        both.check_registers()
    registers = both.registers()
    assert min(registers[EccRegister.CORRECTED], registers[EccRegister.UNCORRECTABLE]) > 300


def test_scrubbing_visits_a_line_each_interval_and_heals_what_can_be(both):
    lines = [0, 1, 5, 9, 40, 63]
    for number, line in enumerate(lines):
        both.flip(line * WORDS + number, [11])
    both.flip(2 * WORDS, [1, 2])
    interval = 10
    both.write_registers({EccRegister.SCRUB_INTERVAL: interval})
    assert both.model.get("busy")
    seen = {}
    for cycle in range(interval * 70):
        both.model.step()
        found = both.model.get("registers") & M64
        seen.setdefault(found, cycle)
    cycles = [seen[n] for n in range(1, len(lines) + 1)]
    assert [cycle - cycles[0] for cycle in cycles] == [interval * line for line in lines]
    both.write_registers({EccRegister.SCRUB_INTERVAL: 0})
    for line in range(70):
        ecc_state.scrub(both.ecc, line)
    both.check_registers()
    counted = both.registers()[EccRegister.CORRECTED]
    for line in lines:
        both.read("r_fetch", line)
    assert both.registers()[EccRegister.CORRECTED] == counted  # nothing is left to correct
    assert both.read("r_fetch", 2) == ([6] + [0] * 7, 1)  # what cannot be is not touched


def test_scrubbing_begins_again_after_the_last_line(both):
    both.flip((LINES - 1) * WORDS, [1])
    both.write_registers({EccRegister.SCRUB_INTERVAL: 1})
    both.model.step(4 * LINES)
    assert both.model.get("registers") & M64 == 1
    both.write_registers(
        {EccRegister.INJECT_DATA: 1, EccRegister.INJECT_CHECK: 0, EccRegister.INJECT_ADDRESS: 0}
    )
    both.model.step(4 * LINES)
    assert both.model.get("registers") & M64 == 2
