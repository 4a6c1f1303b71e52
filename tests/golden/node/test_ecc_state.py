"""The state of error correction against a memory of stored words and check bytes."""

import random

import numpy as np
import pytest
from d1_golden.ecc import EccStatus, decode_word, encode_word
from d1_golden.memory_map import EccRegister
from d1_golden.node import ecc_state
from d1_golden.node.ecc_accesses import read_fails
from d1_golden.params import LINE_BYTES, PRESETS

PARAMS = PRESETS["tiny"]
WORDS = LINE_BYTES // 8
LINES = 4


class Stored:
    """Rows as they are stored: words and check bytes, decoded at every read."""

    def __init__(self):
        self.words = [0] * (LINES * WORDS)
        self.checks = [0] * (LINES * WORDS)
        self.counts = {EccStatus.OK: 0, EccStatus.CORRECTED: 0, EccStatus.UNCORRECTABLE: 0}

    def decoded(self, word):
        fixed, _, status, _ = decode_word(np.uint64(self.words[word]), np.uint8(self.checks[word]))
        return int(fixed), EccStatus(status)

    def read(self, line):
        row = [self.decoded(word) for word in range(WORDS * line, WORDS * (line + 1))]
        for _, status in row:
            self.counts[status] += 1
        return [word for word, _ in row], [status is EccStatus.UNCORRECTABLE for _, status in row]

    def store(self, line, mask, data):
        lanes = [mask >> 8 * place & 0xFF for place in range(WORDS)]
        if any(0 < lane < 0xFF for lane in lanes):
            self.read(line)
        for place, lane in enumerate(lanes):
            word = WORDS * line + place
            bits = sum(0xFF << 8 * n for n in range(8) if lane >> n & 1)
            old, status = self.decoded(word)
            error = 0
            if lane != 0xFF and status is EccStatus.UNCORRECTABLE:
                error = self.checks[word] ^ int(encode_word(np.uint64(old)))
            if lane:
                self.words[word] = old & ~bits | data[place] & bits
                self.checks[word] = int(encode_word(np.uint64(self.words[word]))) ^ error

    def scrub(self, line):
        self.read(line)
        for word in range(WORDS * line, WORDS * (line + 1)):
            fixed, status = self.decoded(word)
            if status is EccStatus.CORRECTED:
                self.words[word] = fixed
                self.checks[word] = int(encode_word(np.uint64(fixed)))


def write_memory(memory, line, mask, data):
    row = memory[WORDS * line :][:WORDS].view(np.uint8)
    new = np.array(data, np.uint64).view(np.uint8)
    written = np.array([mask >> n & 1 for n in range(LINE_BYTES)], bool)
    row[written] = new[written]


@pytest.mark.parametrize("flips", [1, 2, 3])
def test_reads_stores_scrubs_and_flips_agree_with_stored_words_and_check_bytes(flips):
    print(f"seed {flips}")
    rng = random.Random(flips)
    ecc, memory = ecc_state.new_ecc_state(PARAMS), np.zeros(PARAMS.sram_bytes // 8, np.uint64)
    stored = Stored()
    for _ in range(3000):
        line, what = rng.randrange(LINES), rng.random()
        if what < 0.35:
            words, bad = stored.read(line)
            marks = ecc_state.check_line(ecc, line)
            assert memory[WORDS * line :][:WORDS].tolist() == words
            assert [bool(marks >> n & 1) for n in range(WORDS)] == bad
        elif what < 0.6:
            mask = rng.choice((rng.getrandbits(64), 0xFF << 8 * rng.randrange(WORDS), 0xF0))
            data = [rng.getrandbits(64) for _ in range(WORDS)]
            stored.store(line, mask, data)
            ecc_state.store(ecc, line, np.uint64(mask))
            write_memory(memory, line, mask, data)
        elif what < 0.65:
            stored.scrub(line)
            ecc_state.scrub(ecc, line)
        else:
            word = WORDS * line + rng.randrange(WORDS)
            flipped = sum(1 << bit for bit in rng.sample(range(72), rng.randint(1, flips)))
            values = {
                EccRegister.INJECT_DATA: flipped & (1 << 64) - 1,
                EccRegister.INJECT_CHECK: flipped >> 64,
                EccRegister.INJECT_ADDRESS: 8 * word,
            }
            for register, value in values.items():
                ecc_state.write_register(ecc, memory, register, np.uint64(value))
            stored.words[word] ^= flipped & (1 << 64) - 1
            stored.checks[word] ^= flipped >> 64
        assert ecc.wrong[0] == np.count_nonzero(ecc.syndromes)
    assert ecc.registers[EccRegister.CORRECTED] == stored.counts[EccStatus.CORRECTED] > 100
    assert ecc.registers[EccRegister.UNCORRECTABLE] == stored.counts[EccStatus.UNCORRECTABLE] > 100


def test_a_read_fails_only_when_a_word_it_uses_cannot_be_corrected():
    ecc, memory = ecc_state.new_ecc_state(PARAMS), np.zeros(PARAMS.sram_bytes // 8, np.uint64)
    ecc_state.inject(ecc, memory, 9, np.uint64(3), np.uint8(0))
    ecc_state.inject(ecc, memory, 10, np.uint64(1), np.uint8(0))
    for size in (1, 2, 4, 8, 16, 64):
        for address in range(64, 128, size):
            uses = address < 80 and address + size > 72  # bytes of word 9
            assert read_fails(ecc, address, size) == uses, (address, size)


def test_the_registers_may_be_a_row_of_the_control_block():
    control = np.zeros((2, 8), np.uint64)
    ecc = ecc_state.new_ecc_state(PARAMS, control[1])
    memory = np.zeros(PARAMS.sram_bytes // 8, np.uint64)
    ecc_state.write_register(ecc, memory, EccRegister.SCRUB_INTERVAL, np.uint64(1 << 40 | 5))
    assert control[1, EccRegister.SCRUB_INTERVAL] == 5
