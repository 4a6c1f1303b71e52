# amaranth: UnusedElaboratable=no
"""The SRAM under load while bits flip: no reader ever gets a wrong word that is not marked."""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.ecc import CHECK_BITS, DATA_BITS
from d1_golden.memory_map import EccRegister
from d1_golden.params import LINE_BYTES, PRESETS
from d1_rtl.node.interfaces import line_address_bits, register_line, sram_write_layout
from d1_rtl.node.sram import READ_CLIENTS, WRITE_CLIENTS, Sram
from d1_rtl.sim.native import NativeModel
from numba import njit

from testbench.layouts import pack_rows

PARAMS = PRESETS["tiny"]
WORDS = LINE_BYTES // 8
READERS = [f"r_{name}" for name in READ_CLIENTS]
WRITERS = [f"w_{name}" for name in WRITE_CLIENTS]
CLIENTS = [*READERS, *WRITERS]
#: Lines that are used: few, so that clients meet, and a flipped word is soon read.
LINES = 96
#: Cycles of one run; between runs every line is written anew.
CYCLES = 20_000
#: An injection has been made so many cycles after it was written.
SETTLED = 40
ACCESSES = 1_000_000


class Traffic(wiring.Component):
    """The SRAM with a register before each client's port.

    A wish that is offered while the register is free, or about to be, is accepted and asked for
    until it is granted; others are dropped.
    """

    def __init__(self) -> None:
        read, write = line_address_bits(PARAMS), sram_write_layout(PARAMS)
        super().__init__(
            {f"{client}__wish": In(read if client in READERS else write) for client in CLIENTS}
            | {f"{client}__wishes": In(1) for client in CLIENTS}
            | {f"{client}__{event}": Out(1) for client in CLIENTS for event in EVENTS}
            | {f"{client}__data": Out(8 * LINE_BYTES) for client in READERS}
            | {f"{client}__uncorrectable": Out(WORDS) for client in READERS}
            | {"write": In(8), "data": In(register_line()), "registers": Out(register_line())}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.sram = sram = Sram(PARAMS)
        m.d.comb += [
            sram.write.eq(self.write),
            sram.data.eq(self.data),
            self.registers.eq(sram.registers),
        ]
        for client in CLIENTS:
            port, wish = getattr(sram, client), getattr(self, f"{client}__wish")
            asks = Signal(name=f"{client}_asks")
            asked_for = Signal.like(wish, name=f"{client}_asked_for")
            accepted = getattr(self, f"{client}__accepted")
            free = ~asks | port.request.ready
            m.d.comb += [
                accepted.eq(free & getattr(self, f"{client}__wishes")),
                getattr(self, f"{client}__granted").eq(asks & port.request.ready),
                port.request.valid.eq(asks),
                port.request.payload.eq(asked_for),
            ]
            with m.If(free):
                m.d.sync += [asks.eq(accepted), asked_for.eq(wish)]
            if client in READERS:
                m.d.comb += [
                    getattr(self, f"{client}__data").eq(port.data),
                    getattr(self, f"{client}__uncorrectable").eq(port.uncorrectable),
                ]
        return m


EVENTS = ("accepted", "granted")


def masks(rng, client, count):
    """Return byte masks: whole lines, whole words and any bytes; of one word for a scalar."""
    words = rng.integers(0, 256, (count, WORDS), np.uint8)  # any bytes
    whole = rng.random(count) < 0.6
    words[whole] = np.where(rng.random((count, WORDS)) < 0.7, 0xFF, 0).astype(np.uint8)[whole]
    words[rng.random(count) < 0.3] = 0xFF
    if client == "w_scalar":
        one = np.eye(WORDS, dtype=np.uint8)[rng.integers(0, WORDS, count)]
        lanes = rng.choice(np.array([0xFF, 0x0F, 0xF0, 0x03, 0x80], np.uint8), count)
        words = one * lanes[:, None]
    return np.ascontiguousarray(words).view(np.uint64)[:, 0]


def accesses(recorded, client, wishes):
    """Return the cycles of a client's grants and which row of `wishes` each was."""
    accepted = np.flatnonzero(recorded[f"{client}__accepted"][:, 0])
    granted = np.flatnonzero(recorded[f"{client}__granted"][:, 0])
    return granted, accepted[: granted.size]


@njit(cache=True)
def replay(cycle, kind, line, data, mask, memory, injected, twice):
    """Check every read, in order, against a flat memory; return what was wrong and counts.

    `injected` is the cycle in which bits of each word were made to flip, or -1, `twice` whether
    there were two of them. A word is marked from then on until it is written as a whole.
    """
    wrong_words = missed = marked = 0
    written_since = np.zeros(injected.size, np.bool_)
    for n in range(cycle.size):
        for place in range(8):
            word = line[n] * 8 + place
            flipped = twice[word] and 0 <= injected[word] < cycle[n]
            lanes = mask[n] >> np.uint64(8 * place) & np.uint64(0xFF)
            if kind[n] == 1:
                if lanes == np.uint64(0xFF) and flipped:
                    written_since[word] = True
                bits = np.uint64(0)
                for byte in range(8):
                    if lanes >> np.uint64(byte) & np.uint64(1):
                        bits |= np.uint64(0xFF) << np.uint64(8 * byte)
                memory[word] = memory[word] & ~bits | data[n, place] & bits
            elif lanes != np.uint64(0):  # of a read: the words that were marked
                marked += 1
                wrong_words += not flipped
            else:
                wrong_words += data[n, place] != memory[word]
                missed += flipped and cycle[n] > injected[word] + 40 and not written_since[word]
    return wrong_words, missed, marked


def run(model, rng, *, scrub):
    """Run `CYCLES` of load from a memory of known words; return what `replay` does, and more."""
    model.reset()
    inputs, wishes = {}, {}
    busy = rng.choice([0.2, 0.7, 1.0], len(CLIENTS))
    for client, rate in zip(CLIENTS, busy, strict=True):
        line = rng.integers(0, LINES, CYCLES).astype(np.uint64)
        calm = rng.random(CYCLES) >= rate
        inputs[f"{client}__wishes"] = (~calm).astype(np.uint64)
        # First every line is written, by one client; then all begin.
        inputs[f"{client}__wishes"][: 2 * LINES] = 0
        if client in READERS:
            inputs[f"{client}__wish"] = line
            wishes[client] = (line, None, None)
            continue
        data = rng.integers(0, 1 << 64, (CYCLES, WORDS), np.uint64)
        mask = masks(rng, client, CYCLES)
        if client == "w_scalar":
            data = np.repeat(data[:, :1], WORDS, axis=1)
        elif client == "w_network":
            inputs[f"{client}__wishes"][:LINES] = 1
            line[:LINES] = np.arange(LINES)
            mask[:LINES] = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
        wishes[client] = (line, data, mask)
        fields = {"line": line, "data": data, "mask": mask}
        inputs[f"{client}__wish"] = pack_rows(sram_write_layout(PARAMS), **fields)
    words = rng.permutation(LINES * WORDS)[: (CYCLES - 3 * LINES) // SETTLED]
    injected = np.full(LINES * WORDS, -1)
    twice = np.zeros(LINES * WORDS, bool)
    at = 3 * LINES + SETTLED * np.arange(words.size)
    injected[words], twice[words] = at, rng.random(words.size) < 0.5
    registers = np.zeros((CYCLES, len(EccRegister)), np.uint64)
    for word, cycle in zip(words, at, strict=True):
        bits = rng.choice(DATA_BITS + CHECK_BITS, 1 + twice[word], replace=False).tolist()
        flips = sum(1 << bit for bit in bits)
        registers[cycle, EccRegister.INJECT_DATA] = flips & (1 << DATA_BITS) - 1
        registers[cycle, EccRegister.INJECT_CHECK] = flips >> DATA_BITS
        registers[cycle, EccRegister.INJECT_ADDRESS] = 8 * word
    inputs["write"] = np.zeros(CYCLES, np.uint64)
    inputs["write"][at] = sum(1 << r for r in EccRegister if "INJECT" in r.name)
    scrub_at = at[0] - 1
    registers[scrub_at, EccRegister.SCRUB_INTERVAL] = scrub
    inputs["write"][scrub_at] = 1 << EccRegister.SCRUB_INTERVAL
    inputs["data"] = registers.view(np.uint32)
    outputs = [f"{client}__{event}" for client in CLIENTS for event in EVENTS]
    outputs += [f"{client}__{what}" for client in READERS for what in ("data", "uncorrectable")]
    recorded = model.play(inputs, outputs)

    columns = []
    for client in CLIENTS:
        granted, wish = accesses(recorded, client, wishes[client])
        line, data, mask = wishes[client]
        if client in READERS:
            granted, wish = granted[granted < CYCLES - 1], wish[: (granted < CYCLES - 1).sum()]
            seen = recorded[f"{client}__data"][granted + 1].view(np.uint64)
            marks = recorded[f"{client}__uncorrectable"][granted + 1]
            lanes = np.where(marks >> np.arange(WORDS) & 1, 0xFF, 0).astype(np.uint8)
            marked = np.ascontiguousarray(lanes).view(np.uint64)[:, 0]
            columns.append((granted, np.zeros_like(granted), line[wish], seen, marked))
        else:
            columns.append((granted, np.ones_like(granted), line[wish], data[wish], mask[wish]))
    cycle, kind, line, data, mask = map(np.concatenate, zip(*columns, strict=True))
    order = np.argsort(cycle, kind="stable")
    memory = np.zeros(LINES * WORDS, np.uint64)
    ordered = (
        np.ascontiguousarray(a[order]) for a in (cycle, kind, line.astype(np.int64), data, mask)
    )
    counts = replay(*ordered, memory, injected, twice)
    counted = model.get("registers")
    return cycle.size, *counts, *(counted >> 64 * n & (1 << 64) - 1 for n in range(2))


def test_no_wrong_word_is_read_unmarked_in_a_million_accesses_while_bits_flip():
    seed = 1_000_000
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    total = marked = corrected = runs = 0
    with NativeModel(Traffic(), name="sram_traffic") as model:
        while total < ACCESSES:
            result = run(model, rng, scrub=(0, 7)[runs % 2])
            number, wrong_words, missed, marks, found, uncorrectable = result
            assert wrong_words == 0, f"run {runs}"
            assert missed == 0, f"run {runs}"
            assert uncorrectable > 0
            total, marked, corrected = total + number, marked + marks, corrected + found
            runs += 1
    print(f"{total} accesses, {corrected} words corrected, {marked} words marked, {runs} runs")
    assert corrected > 1000
    assert marked > 1000
