# amaranth: UnusedElaboratable=no
"""Fetch against a memory of known words, with busy banks, redirects and a slow taker."""

import random

import pytest
from d1_golden.params import LINE_BYTES, preset
from d1_rtl.node.frontend import LINE_BUFFERS, Frontend
from d1_rtl.node.micro_op import FetchFault, fetched_layout
from d1_rtl.sim.native import NativeModel

_PARAMS = preset("tiny")
_SEED = 13
_LAYOUT = fetched_layout()


def _word(pc: int, version: int = 0) -> int:
    """Return what memory holds at an address."""
    return (pc // 4 * 0x9E37_79B1 + version * 0x8501) & 0xFFFF_FFFF


class _Fetch:
    """Drives a front end cycle by cycle, with the memory it fetches from."""

    def __init__(self, model: NativeModel, rng: random.Random, busy: float) -> None:
        self.model, self.rng, self.busy = model, rng, busy
        self.version = 0
        self.requests: list[int] = []
        for port in ("redirect", "invalidate", "halt", "o__ready"):
            model.set(port, 0)
        model.reset()

    def cycle(self, *, take: bool = True, **pulses: int) -> tuple[int, int, int] | None:
        """Run a cycle; return pc, word and fault of what was taken in it."""
        model = self.model
        for port in ("redirect", "invalidate", "halt"):
            model.set(port, port in pulses)
        model.set("target", pulses.get("redirect", 0))
        model.set("o__ready", take)
        ready = self.rng.random() >= self.busy
        model.set("sram__request__ready", ready)
        line = model.get("sram__request__payload")
        transfer = ready and model.get("sram__request__valid")
        taken = None
        if take and model.get("o__valid"):
            bits = model.get("o__payload")
            taken = tuple(
                bits >> field.offset & (1 << field.width) - 1
                for field in (_LAYOUT["pc"], _LAYOUT["insn"], _LAYOUT["fault"])
            )
        model.step()
        data = self.rng.getrandbits(512)  # only in the cycle after a transfer it is the line
        if transfer:
            self.requests.append(line)
            words = [_word(line * LINE_BYTES + 4 * n, self.version) for n in range(16)]
            data = sum(word << 32 * n for n, word in enumerate(words))
        model.set("sram__data", data)
        return taken


@pytest.fixture(scope="module")
def model():
    with NativeModel(Frontend(_PARAMS), name="frontend_tiny") as model:
        yield model


@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_words_come_in_program_order_whatever_is_redirected_and_held_up(model, busy):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    fetch = _Fetch(model, rng, busy)
    fetch.cycle(redirect=0, invalidate=1)
    expected, taken = 0, 0
    for _ in range(6000):
        pulses = {}
        if rng.random() < 0.05:
            pulses["redirect"] = 4 * rng.randrange(rng.choice((64, 1 << 12)))
            if rng.random() < 0.2:
                pulses["invalidate"] = 1
        # Memory has changed before the cycle of an invalidation.
        fetch.version += "invalidate" in pulses
        entry = fetch.cycle(take=rng.random() < 0.7, **pulses)
        if entry is not None:
            pc, word, fault = entry
            assert (pc, fault) == (expected, FetchFault.NONE.value)
            # What is taken in the cycle of a redirect is the last of the old path.
            version = fetch.version - ("invalidate" in pulses)
            assert word == _word(pc, version), "lines older than the invalidation are gone"
            expected, taken = pc + 4, taken + 1
        expected = pulses.get("redirect", expected)
    assert taken > 1500 and fetch.version > 20


def test_straight_line_code_never_waits_after_the_first_line(model):
    fetch = _Fetch(model, random.Random(_SEED), 0.0)
    fetch.cycle(redirect=0x400, invalidate=1)
    entries = [fetch.cycle() for _ in range(200)]
    first = next(n for n, entry in enumerate(entries) if entry is not None)
    assert first == 3, "two cycles to look up, two to read the line, less the one of the redirect"
    assert all(entry is not None for entry in entries[first:])


def test_a_loop_that_fits_the_line_buffers_is_read_once(model):
    fetch = _Fetch(model, random.Random(_SEED), 0.0)
    fetch.cycle(redirect=0x400, invalidate=1)
    size = (LINE_BUFFERS - 1) * LINE_BYTES
    for _ in range(5):
        while (entry := fetch.cycle()) is None or entry[0] != 0x400 + size - 4:
            pass
        for _ in range(2):  # the branch is seen two cycles after it was taken from here
            fetch.cycle()
        fetch.cycle(redirect=0x400)
    assert len(fetch.requests) == LINE_BUFFERS, "and the line after it"


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (2, FetchFault.MISALIGNED),
        (_PARAMS.sram_bytes, FetchFault.ACCESS),
        (1 << 63, FetchFault.ACCESS),
    ],
)
def test_an_address_that_cannot_be_fetched_gives_one_faulty_entry(model, target, fault):
    fetch = _Fetch(model, random.Random(_SEED), 0.0)
    fetch.cycle(redirect=target)
    entries = [entry for _ in range(20) if (entry := fetch.cycle()) is not None]
    assert [(pc, kind) for pc, _, kind in entries] == [(target, fault.value)]
    assert fetch.requests == []


def test_the_line_after_the_last_is_not_asked_for(model):
    fetch = _Fetch(model, random.Random(_SEED), 0.0)
    last = _PARAMS.sram_bytes // LINE_BYTES - 1
    fetch.cycle(redirect=last * LINE_BYTES, invalidate=1)
    entries = [entry for _ in range(40) if (entry := fetch.cycle()) is not None]
    assert [kind for _, _, kind in entries] == [0] * 16 + [FetchFault.ACCESS.value]
    assert fetch.requests == [last]


def test_halt_takes_back_what_was_offered(model):
    fetch = _Fetch(model, random.Random(_SEED), 0.0)
    fetch.cycle(redirect=0)
    for _ in range(10):
        fetch.cycle(take=False)
    fetch.cycle(take=False, halt=1)
    assert [fetch.cycle() for _ in range(20)] == [None] * 20
