"""The SRAM against a flat memory: what its clients read, and what meetings in a bank cost."""

import itertools
import random
from dataclasses import dataclass

import numpy as np
import pytest
from d1_golden.params import LINE_BYTES, NodeParams, preset
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.sram import (
    PATIENCE,
    READ_CLIENTS,
    URGENT_CLIENT,
    WRITE_CLIENTS,
    Sram,
    stalled_layout,
)
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import LINE_PORTS, CycleModel, SteadySram
from testbench.sram_streams import play_sram_streams

READERS = [f"r_{name}" for name in READ_CLIENTS]
WRITERS = [f"w_{name}" for name in WRITE_CLIENTS]
CLIENTS = [*READERS, *WRITERS]
ONE_WORD = "w_scalar"
WORDS, WORD_BITS, WORD_BYTES = 8, 64, 8
ALL_BYTES = (1 << LINE_BYTES) - 1
#: Cycles that a client waits at most: those in which it lets the urgent one go first, a read of
#: each other reader and two cycles of each writer, the maintenance included.
LONGEST_WAIT = PATIENCE + (len(READERS) - 1) + 2 * (len(WRITERS) + 1)


@pytest.fixture(scope="module", params=["tiny", "d1", "fpga"])
def params(request):
    return preset(request.param)


@pytest.fixture(scope="module")
def model(params):
    on_fpga = params is preset("fpga")
    sram = Sram(params, gated=not on_fpga)
    design = OnFpga(SteadySram(sram)) if on_fpga else sram
    with NativeModel(design, name=f"sram_{params.name}") as model:
        yield CycleModel(model, late=LINE_PORTS) if on_fpga else model


@pytest.fixture
def sram(model, params):
    return Driver(model, params)


@dataclass(frozen=True)
class Write:
    """What a writer asks for."""

    data: int = 0
    mask: int = ALL_BYTES

    @property
    def is_partial(self) -> bool:
        """Whether some word is written in part."""
        lanes = (self.mask >> WORD_BYTES * n & 0xFF for n in range(WORDS))
        return any(word not in (0, 0xFF) for word in lanes)

    def on(self, line: int) -> int:
        """Return the line after the write."""
        bits = sum(0xFF << 8 * byte for byte in range(LINE_BYTES) if self.mask >> byte & 1)
        return line & ~bits | self.data & bits

    @classmethod
    def random(cls, rng: random.Random, client: str, *, whole: bool | None = None) -> "Write":
        """Return a write that the client may ask for; of whole words or not, or either."""
        if whole is None:
            whole = rng.random() < 0.5
        if client == ONE_WORD:
            data = rng.getrandbits(WORD_BITS)
            lanes = 0xFF if whole else rng.choice((0x0F, 0xF0, 0x03, 0x80, 0x01, 0x3C))
            repeated = sum(data << WORD_BITS * n for n in range(WORDS))
            return cls(repeated, lanes << WORD_BYTES * rng.randrange(WORDS))
        data = rng.getrandbits(8 * LINE_BYTES)
        if whole:
            words = rng.choice((0xFF, 0x0F, rng.getrandbits(WORDS)))
            return cls(data, sum(0xFF << 8 * n for n in range(WORDS) if words >> n & 1))
        return cls(data, rng.getrandbits(LINE_BYTES) & ~1 | 2)


class Driver:
    """Holds every client's request until it is transferred, and notes what is read."""

    def __init__(self, model: NativeModel, params: NodeParams):
        self.model = model
        self.params = params
        self.layout = sram_write_layout(params)
        self.asking: set[str] = set()
        self.reading: list[str] = []  # those granted in the step before
        self.arrived: dict[str, int] = {}
        self.cycle = 0
        for client in CLIENTS:
            model.set(f"{client}__request__valid", 0)
        model.set("write", 0)
        model.reset()

    def ask(self, client: str, line: int, write: Write | None = None) -> None:
        assert client not in self.asking
        payload = line
        if client in WRITERS:
            write = write or Write.random(random.Random(0), client, whole=True)
            values = {"line": line, "data": write.data, "mask": write.mask}
            payload = sum(value << self.layout[name].offset for name, value in values.items())
        self.model.set(f"{client}__request__valid", 1)
        self.model.set(f"{client}__request__payload", payload)
        self.asking.add(client)

    def step(self, *, look: bool = True) -> dict[str, int]:
        """Run a cycle; return what is on the data port of each client that was granted.

        Who looks cannot ask in the next cycle any more. Who does not finds in `arrived`, after the
        next step, what was read.
        """
        ready = [c for c in CLIENTS if self.model.get(f"{c}__request__ready")]
        stalled = self.model.get("stalled")
        for client in CLIENTS:
            bit = stalled >> stalled_layout()[client].offset & 1
            assert bit == (client in self.asking and client not in ready), client
        self.arrived = {client: self.model.get(f"{client}__data") for client in self.reading}
        granted = [client for client in ready if client in self.asking]
        self.reading = [client for client in granted if client in READERS]
        self.model.step()
        self.cycle += 1
        for client in granted:
            self.asking.remove(client)
            self.model.set(f"{client}__request__valid", 0)
        if not look:
            return dict.fromkeys(granted, 0)
        for client in granted:
            assert client in WRITERS or self.model.get(f"{client}__uncorrectable") == 0
        return {c: self.model.get(f"{c}__data") if c in READERS else 0 for c in granted}

    def finish(self) -> dict[str, tuple[int, int]]:
        """Run until nobody asks; return for each client the cycle of its grant and its data."""
        done: dict[str, tuple[int, int]] = {}
        for wait in range(LONGEST_WAIT + 1):
            if not self.asking:
                break
            done |= {client: (wait, data) for client, data in self.step().items()}
        assert not self.asking, "a client was not served"
        return done

    def write(self, client: str, line: int, write: Write) -> None:
        """Write, with nobody else asking, in the cycles that this takes."""
        self.ask(client, line, write)
        if write.is_partial:
            assert self.step() == {}
        assert list(self.step()) == [client]

    def read(self, client: str, line: int) -> int:
        """Read, with nobody else asking."""
        self.ask(client, line)
        return self.step()[client]


def bank(params: NodeParams, line: int) -> int:
    return line % params.sram_banks


def test_the_clients_are_those_of_the_training_node():
    assert READERS == ["r_fetch", "r_scalar", "r_vector_0", "r_vector_1", "r_network"]
    assert WRITERS == ["w_scalar", "w_vector", "w_network"]


def test_what_is_written_is_read_back_in_the_next_cycle_from_every_port_in_every_bank(sram, params):
    rng = random.Random(1)
    last = params.sram_bytes // LINE_BYTES - 1
    for line in [*range(params.sram_banks), last - 1, last]:
        expected = sram.read("r_scalar", line)
        for writer, reader in itertools.product(WRITERS, READERS):
            write = Write.random(rng, writer, whole=True)
            sram.write(writer, line, write)
            expected = write.on(expected)
            assert sram.read(reader, line) == expected


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_changes_only_the_bytes_of_its_mask(sram, writer):
    rng = random.Random(2)
    expected = 0
    sram.write("w_vector", 5, Write(0))
    for _ in range(80):
        write = Write.random(rng, writer)
        sram.write(writer, 5, write)
        expected = write.on(expected)
        assert sram.read("r_scalar", 5) == expected


def test_a_write_of_no_byte_changes_nothing(sram):
    line = Write.random(random.Random(3), "w_vector", whole=True)
    sram.write("w_network", 7, Write(line.data))
    sram.write("w_vector", 7, Write(0, 0))
    assert sram.read("r_fetch", 7) == line.data


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


@pytest.mark.parametrize("writer", WRITERS)
def test_a_write_to_part_of_a_word_takes_its_bank_for_two_cycles(sram, params, writer):
    write = Write.random(random.Random(4), writer, whole=False)
    sram.ask(writer, 4, write)
    assert sram.step() == {}
    # Whoever comes in the second cycle waits for one cycle; other banks are not concerned.
    sram.ask("r_fetch", 4)
    sram.ask(URGENT_CLIENT, 4 + params.sram_banks)
    elsewhere = ["r_network"] if params.sram_banks > 1 else []
    for client in elsewhere:
        sram.ask(client, 5)
    assert sorted(sram.step()) == sorted([writer, *elsewhere])
    assert list(sram.step()) == [URGENT_CLIENT]
    assert list(sram.step()) == ["r_fetch"]


def test_stores_of_words_one_after_the_other_into_one_line_take_two_cycles_each(sram):
    for n in range(16):
        sram.ask(ONE_WORD, 4, Write(n, 0xF << 4 * n))
        assert sram.step() == {}
        assert list(sram.step()) == [ONE_WORD]
    sram.read("r_fetch", 4)
    assert sram.cycle == 33


def test_the_urgent_client_goes_first_until_others_have_waited_four_cycles(sram, params):
    waiting = [client for client in CLIENTS if client != URGENT_CLIENT]
    for client in waiting:
        sram.ask(client, 0)
    order = []
    for _ in range(PATIENCE + len(CLIENTS)):
        if URGENT_CLIENT not in sram.asking:
            sram.ask(URGENT_CLIENT, params.sram_banks)
        order += sram.step(look=False)
    assert order[:PATIENCE] == [URGENT_CLIENT] * PATIENCE
    # Then those who have waited, and the urgent one is not among them for another four cycles.
    assert sorted(order[PATIENCE:]) == sorted(CLIENTS)
    assert URGENT_CLIENT not in order[PATIENCE : 2 * PATIENCE]


@pytest.mark.parametrize("patient", CLIENTS)
def test_no_client_waits_longer_than_the_bound_whatever_the_others_do(sram, params, patient):
    rng = random.Random(5)
    sram.model.set("data", 1 << WORD_BITS * 4)
    sram.model.set("write", 1 << 4)
    sram.model.step()  # scrub one line after the other
    sram.model.set("write", 0)
    longest = 0
    for _ in range(30):
        pause, waited = rng.randrange(2 * len(CLIENTS)), 0
        for cycle in range(pause + LONGEST_WAIT + 1):
            for client in CLIENTS:
                if client not in sram.asking and (client != patient or cycle == pause):
                    write = None
                    if client in WRITERS:
                        write = Write.random(rng, client, whole=False)
                    sram.ask(client, params.sram_banks * rng.randrange(2), write)
            served = patient in sram.step(look=False)
            waited += cycle >= pause and not served
            if served:
                break
        assert patient not in sram.asking
        longest = max(longest, waited)
    # The urgent one waits for a write that has begun and for those who were late before it.
    assert (1 if patient == URGENT_CLIENT else len(CLIENTS)) < longest <= LONGEST_WAIT


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_of_all_clients_agrees_with_a_flat_memory(sram, params, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    # Few lines, so that banks and lines are met again and again.
    lines = rng.sample(range(params.sram_bytes // LINE_BYTES), 3 * params.sram_banks)
    memory = {}
    for line in lines:
        memory[line] = rng.getrandbits(8 * LINE_BYTES)
        sram.write("w_network", line, Write(memory[line]))
    rate = rng.choice((0.1, 0.5, 0.9, 1.0))
    hot = rng.randrange(params.sram_banks)
    requests: dict[str, tuple[int, Write]] = {}
    waits = dict.fromkeys(CLIENTS, 0)
    served = dict.fromkeys(CLIENTS, 0)
    due: dict[str, int] = {}  # what was read in the cycle before
    begun: set[int] = set()  # banks in which a write to part of a word ends in this cycle
    for cycle in range(1000):
        pool = [n for n in lines if bank(params, n) == hot] if cycle // 100 % 2 else lines
        for client in CLIENTS:
            if client not in sram.asking and rng.random() < rate:
                requests[client] = (rng.choice(pool or lines), Write.random(rng, client))
                sram.ask(client, *requests[client])
                waits[client] = 0
        asked = {bank(params, requests[client][0]) for client in sram.asking}
        granted = sram.step(look=False)
        assert sram.arrived == due, f"read in cycle {cycle - 1}"
        due = {}
        busy = {bank(params, requests[client][0]): client for client in granted}
        assert len(busy) == len(granted), "a bank serves one client at most"
        # A bank that is asked and serves nobody has begun a write, which ends in the next cycle.
        assert all(n in busy and requests[busy[n]][1].is_partial for n in begun)
        begun = asked - set(busy)
        for client in sram.asking:
            waits[client] += 1
            assert waits[client] <= LONGEST_WAIT, f"{client} starves"
        for client in granted:
            served[client] += 1
            line, write = requests[client]
            if client in READERS:
                due[client] = memory[line]
            else:
                memory[line] = write.on(memory[line])
    sram.finish()
    assert min(served.values()) > 20


@pytest.mark.parametrize("params", ["tiny", "d1"], indirect=True)
def test_all_ports_of_the_node_at_once_read_200_and_write_136_bytes_a_cycle(model, params):
    Driver(model, params)  # reset, nobody asks
    streams = play_sram_streams(model, params, seed=6)
    assert streams.bytes_per_cycle == {"r": 200, "w": 136}  # of 200 and 136 that D1 has
    for port, found in streams.read.items():
        assert np.array_equal(found, streams.expected[port]), port
