"""The SRAM against a flat memory, and what bank conflicts cost."""

import itertools
import random

import numpy as np
import pytest
from d1_golden.params import LINE_BYTES, PRESETS, NodeParams
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.sram import READ_CLIENTS, WRITE_CLIENTS, Sram, stalled_layout
from d1_rtl.sim.native import NativeModel, from_words, to_words

READERS = [f"r_{name}" for name in READ_CLIENTS]
WRITERS = [f"w_{name}" for name in WRITE_CLIENTS]
CLIENTS = [*READERS, *WRITERS]
ALL_BYTES = (1 << LINE_BYTES) - 1


@pytest.fixture(scope="module", params=["tiny", "d1"])
def params(request):
    return PRESETS[request.param]


@pytest.fixture(scope="module")
def model(params):
    with NativeModel(Sram(params), name=f"sram_{params.name}") as model:
        yield model


@pytest.fixture
def sram(model, params):
    return Driver(model, params)


def write_payload(params: NodeParams, line: int, data: int, mask: int = ALL_BYTES) -> int:
    layout = sram_write_layout(params)
    values = {"line": line, "data": data, "mask": mask}
    return sum(value << layout[name].offset for name, value in values.items())


class Driver:
    """Holds every client's request until it is transferred, and notes what is read."""

    def __init__(self, model: NativeModel, params: NodeParams):
        self.model = model
        self.params = params
        self.asking: dict[str, int] = {}  # client: payload
        self.cycle = 0
        for client in CLIENTS:
            model.set(f"{client}__request__valid", 0)
        model.reset()

    def ask(self, client: str, line: int, *, data: int = 0, mask: int = ALL_BYTES) -> None:
        assert client not in self.asking
        payload = write_payload(self.params, line, data, mask) if client in WRITERS else line
        self.model.set(f"{client}__request__valid", 1)
        self.model.set(f"{client}__request__payload", payload)
        self.asking[client] = payload

    def step(self) -> dict[str, int]:
        """Run a cycle; return what is on the data port of each client that was granted."""
        ready = [c for c in CLIENTS if self.model.get(f"{c}__request__ready")]
        stalled = self.model.get("stalled")
        for client in CLIENTS:
            bit = stalled >> stalled_layout()[client].offset & 1
            assert bit == (client in self.asking and client not in ready), client
        granted = [client for client in ready if client in self.asking]
        self.model.step()
        self.cycle += 1
        for client in granted:
            del self.asking[client]
            self.model.set(f"{client}__request__valid", 0)
        return {c: self.model.get(f"{c}__data") if c in READERS else 0 for c in granted}

    def finish(self) -> dict[str, tuple[int, int]]:
        """Run until nobody asks; return for each client the cycle of its grant and its data."""
        done = {}
        for wait in range(len(CLIENTS)):
            if not self.asking:
                break
            done |= {client: (wait, data) for client, data in self.step().items()}
        assert not self.asking, "a client was not served"
        return done


def bank(params: NodeParams, line: int) -> int:
    return line % params.sram_banks


def test_what_is_written_is_read_back_in_the_next_cycle_from_every_port_in_every_bank(sram, params):
    rng = random.Random(1)
    last = params.sram_bytes // LINE_BYTES - 1
    for line in [*range(params.sram_banks), last - 1, last]:
        for writer, reader in itertools.product(WRITERS, READERS):
            data = rng.getrandbits(8 * LINE_BYTES)
            sram.ask(writer, line, data=data)
            assert list(sram.step()) == [writer]
            sram.ask(reader, line)
            assert sram.step() == {reader: data}


def test_a_write_changes_only_the_bytes_of_its_mask(sram):
    rng = random.Random(2)
    expected = bytearray(LINE_BYTES)
    sram.ask("w_vector", 5, data=0)
    sram.step()
    for _ in range(50):
        data, mask = rng.getrandbits(8 * LINE_BYTES), rng.getrandbits(LINE_BYTES)
        for byte in range(LINE_BYTES):
            if mask >> byte & 1:
                expected[byte] = data >> 8 * byte & 0xFF
        sram.ask("w_scalar", 5, data=data, mask=mask)
        sram.step()
        sram.ask("r_scalar", 5)
        assert sram.step() == {"r_scalar": int.from_bytes(expected, "little")}


def test_clients_on_different_banks_are_all_served_in_one_cycle(sram, params):
    for group in itertools.combinations(CLIENTS, min(len(CLIENTS), params.sram_banks)):
        for number, client in enumerate(group):
            sram.ask(client, 3 * params.sram_banks + number)
        assert sorted(sram.step()) == sorted(group)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(CLIENTS, 2)))
def test_two_clients_of_one_bank_cost_exactly_one_extra_cycle(sram, params, first, second):
    for same_line in (True, False):
        sram.ask(first, 2)
        sram.ask(second, 2 if same_line else 2 + params.sram_banks)
        assert sorted(cycle for cycle, _ in sram.finish().values()) == [0, 1]


def test_all_clients_on_one_bank_are_served_one_per_cycle(sram):
    for client in CLIENTS:
        sram.ask(client, 4)
    assert sorted(cycle for cycle, _ in sram.finish().values()) == list(range(len(CLIENTS)))


@pytest.mark.parametrize("patient", CLIENTS)
def test_a_client_waits_for_each_other_client_once_at_most_while_all_insist(sram, patient):
    rng = random.Random(3)
    longest = 0
    for _ in range(20):
        pause, waited = rng.randrange(len(CLIENTS)), 0
        for cycle in range(pause + len(CLIENTS)):
            for client in CLIENTS:
                if client not in sram.asking and (client != patient or cycle == pause):
                    sram.ask(client, 0)
            served = patient in sram.step()
            waited += cycle >= pause and not served
            if served:
                break
        assert patient not in sram.asking
        longest = max(longest, waited)
    assert longest == len(CLIENTS) - 1  # the bound is met, so it is the bound


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_of_all_clients_agrees_with_a_flat_memory(sram, params, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    # Few lines, so that banks and lines are met again and again.
    lines = rng.sample(range(params.sram_bytes // LINE_BYTES), 3 * params.sram_banks)
    memory = {}
    for line in lines:
        memory[line] = rng.getrandbits(8 * LINE_BYTES)
        sram.ask("w_network", line, data=memory[line])
        sram.step()
    rate = rng.choice((0.1, 0.5, 0.9, 1.0))
    hot = rng.randrange(params.sram_banks)
    requests: dict[str, tuple[int, int, int]] = {}
    waits = dict.fromkeys(CLIENTS, 0)
    served = dict.fromkeys(CLIENTS, 0)
    for cycle in range(1200):
        pool = [n for n in lines if bank(params, n) == hot] if cycle // 100 % 2 else lines
        for client in CLIENTS:
            if client not in sram.asking and rng.random() < rate:
                line = rng.choice(pool or lines)
                data, mask = rng.getrandbits(8 * LINE_BYTES), rng.getrandbits(LINE_BYTES)
                requests[client] = (line, data, mask)
                sram.ask(client, line, data=data, mask=mask)
                waits[client] = 0
        wanted = {bank(params, requests[client][0]) for client in sram.asking}
        granted = sram.step()
        # Every bank that somebody asked for served exactly one.
        assert sorted(bank(params, requests[c][0]) for c in granted) == sorted(wanted)
        for client in sram.asking:
            waits[client] += 1
            assert waits[client] < len(CLIENTS), f"{client} starves"
        for client, data in granted.items():
            served[client] += 1
            line, new, mask = requests[client]
            if client in READERS:
                assert data == memory[line], f"{client} read line {line} in cycle {cycle}"
            else:
                bits = sum(0xFF << 8 * byte for byte in range(LINE_BYTES) if mask >> byte & 1)
                memory[line] = memory[line] & ~bits | new & bits
    sram.finish()
    assert min(served.values()) > 20


def test_one_read_and_one_write_of_a_line_every_cycle_are_sustained(model, params):
    Driver(model, params)  # reset, nobody asks
    rng = np.random.default_rng(4)
    cycles = 1000
    written = rng.integers(0, 1 << 32, (cycles, 16), np.uint32)
    line = np.arange(cycles, dtype=np.uint64) % (params.sram_bytes // LINE_BYTES)
    previous = (line - np.uint64(1)) % np.uint64(params.sram_bytes // LINE_BYTES)
    payloads = [
        write_payload(params, int(n), int.from_bytes(row.tobytes(), "little"))
        for n, row in zip(line, written, strict=True)
    ]
    always = np.ones(cycles, np.uint64)
    recorded = model.play(
        {
            "w_network__request__valid": always,
            "w_network__request__payload": to_words(
                payloads, model.ports["w_network__request__payload"].width
            ),
            "r_network__request__valid": always,
            "r_network__request__payload": previous,
        },
        ["w_network__request__ready", "r_network__request__ready", "r_network__data"],
    )
    assert recorded["w_network__request__ready"].all()
    assert recorded["r_network__request__ready"].all()
    # Row k reads what row k - 1 wrote, and shows it in row k + 1.
    assert from_words(recorded["r_network__data"][2:]) == from_words(written[:-2])
