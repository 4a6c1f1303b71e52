# amaranth: UnusedElaboratable=no
"""Fetch of all threads against a memory of known words: what comes, and in which cycle."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from d1_golden.params import LINE_BYTES, NodeParams, preset
from d1_rtl.clock_gate import ClockGate
from d1_rtl.node.frontend import (
    Frontend,
    redirect_layout,
    training_layout,
    window_layout,
)
from d1_rtl.node.instruction_store import BLOCK_BYTES
from d1_rtl.node.micro_op import FetchFault
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import CycleModel

_SEED = 13
_PARAMS = preset("tiny")
WINDOW = _PARAMS.issue_width
_STORE_BYTES = _PARAMS.instruction_lines * LINE_BYTES


def _word(pc: int, version: int = 0) -> int:
    """Return what memory holds at an address."""
    return (pc // 4 * 0x9E37_79B1 + version * 0x8501) & 0xFFFF_FFFF


def _versions(pc: int, word: int, newest: int) -> list[int]:
    """Return the versions of memory in which a word is at an address."""
    return [version for version in range(newest + 1) if _word(pc, version) == word]


class _GatedFrontend(wiring.Component):
    """A front end in a clock domain that stands still while it is not active."""

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._frontend, self._gated = Frontend(params), gated
        super().__init__(self._frontend.signature)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gate = ClockGate(domain="fetch", gated=self._gated)
        m.domains += gate.clock_domain
        m.submodules.gate = gate
        m.submodules.frontend = gate.drive(self._frontend)
        wiring.connect(m, wiring.flipped(self), self._frontend)
        m.d.comb += gate.en.eq(self._frontend.active)
        return m


@dataclass(frozen=True)
class _Entry:
    """An instruction that was taken."""

    pc: int
    insn: int
    fault: FetchFault
    predicted: bool
    target: int
    start: int


@dataclass
class _Branch:
    """What an executed branch tells."""

    start: int
    slot: int
    taken: bool
    target: int


@dataclass
class _Cycle:
    """What is done in a cycle; what is taken is the least of `take` and what is there."""

    take: dict[int, int] = field(default_factory=dict)
    redirect: dict[int, int] = field(default_factory=dict)
    halt: int = 0
    invalidate: bool = False
    train: tuple[_Branch, ...] = ()


class _Fetch:
    """Drives a front end cycle by cycle, with the memory it fetches from."""

    def __init__(self, model: Any, params: NodeParams = _PARAMS, busy: float = 0.0) -> None:
        self.model, self.params, self.busy = model, params, busy
        self.rng = random.Random(_SEED)
        self.version = 0
        self.bad_lines: set[int] = set()
        self.requests: list[tuple[int, int]] = []  # cycle and line
        self.now = 0
        self.groups = params.issue_groups
        self.counts = [0] * self.groups  # of the windows in the last cycle
        self.fault_pcs = [0] * params.threads  # in the last cycle
        model.reset()
        self._drive(_Cycle(invalidate=True), [0] * self.groups, [0] * self.groups)
        model.step()

    def cycle(self, **actions) -> dict[int, list[_Entry]]:
        """Run a cycle; return what was taken of each thread."""
        return self.run(_Cycle(**actions))

    def run(self, cycle: _Cycle) -> dict[int, list[_Entry]]:
        model, taken = self.model, {}
        selected = [*cycle.take, *(t for t in range(self.params.threads) if t not in cycle.take)]
        selected = selected[: self.groups]
        self._drive(cycle, selected, [0] * self.groups)
        takes = []
        for index, thread in enumerate(selected):
            count, entries = self._window(index)
            good = entries and FetchFault(entries[0].fault) is FetchFault.NONE
            if good and self.groups > 1:
                assert model.get(f"heads__{thread}") == entries[0].insn
            assert (count > 0) == (model.get("available") >> thread & 1)
            self.counts[index] = count
            takes.append(min(count, cycle.take.get(thread, 0)))
            taken[thread] = entries[: takes[-1]]
        self.fault_pcs = [model.get(f"fault_pc__{n}") for n in range(self.params.threads)]
        self._drive(cycle, selected, takes)
        ready = self.rng.random() >= self.busy
        model.set("sram__request__ready", ready)
        line = model.get("sram__request__payload")
        transfer = ready and model.get("sram__request__valid")
        model.step()
        self.now += 1
        data, uncorrectable = self.rng.getrandbits(512), self.rng.getrandbits(8)
        if transfer:  # only in the cycle after it, `data` is the line
            self.requests.append((self.now - 1, line))
            words = [_word(line * LINE_BYTES + 4 * n, self.version) for n in range(16)]
            data = sum(word << 32 * n for n, word in enumerate(words))
            uncorrectable = 0x40 if line in self.bad_lines else 0
        model.set("sram__data", data)
        model.set("sram__uncorrectable", uncorrectable)
        return taken

    def _drive(self, cycle: _Cycle, selected: list[int], takes: list[int]) -> None:
        model = self.model
        for index in range(self.groups):
            model.set(f"select__{index}", selected[index])
            model.set(f"take__{index}", takes[index])
            train = training_layout().const({"valid": 0})
            if index < len(cycle.train):
                train = training_layout().const({"valid": 1, **vars(cycle.train[index])})
            model.set(f"train__{index}", train.as_bits())
        for thread in range(self.params.threads):
            valid = thread in cycle.redirect
            redirect = {"valid": valid, "target": cycle.redirect.get(thread, 0)}
            model.set(f"redirect__{thread}", redirect_layout().const(redirect).as_bits())
        model.set("halt", cycle.halt)
        model.set("invalidate", cycle.invalidate)

    def _window(self, index: int) -> tuple[int, list[_Entry]]:
        window = window_layout(self.params).from_bits(self.model.get(f"window__{index}"))
        names = _Entry.__dataclass_fields__
        entries = [_Entry(**{n: getattr(entry, n) for n in names}) for entry in window.entries]
        return window.count, entries[: window.count]

    def warm(self, address: int, size: int) -> None:
        """Have a range in the store and all threads halted; fetch goes up to three lines on."""
        self.cycle(redirect={0: address})
        end = address + size
        for _ in range(100 + size):
            entries = self.cycle(take={0: WINDOW})[0]
            if entries and entries[-1].pc >= end - 4:
                break
        else:
            raise AssertionError(f"waited {100 + size} cycles for the word at {end - 4:#x}")
        self.halt_all()

    def halt_all(self) -> None:
        """Halt every thread and let what is on its way come."""
        self.cycle(halt=(1 << self.params.threads) - 1)
        for _ in range(4):
            self.cycle()

    def until_taken(self, thread: int, max_cycles: int = 50) -> tuple[int, list[_Entry]]:
        """Take everything of a thread; return the cycles before something is there, and that."""
        for cycles in range(max_cycles):
            if entries := self.cycle(take={thread: WINDOW})[thread]:
                return cycles, entries
        raise AssertionError(f"waited {max_cycles} cycles for an instruction of thread {thread}")


@pytest.fixture(scope="module")
def model():
    with NativeModel(_GatedFrontend(_PARAMS), name="frontend_tiny") as model:
        yield model


@dataclass
class _Thread:
    """What the next entry of a thread must be."""

    pc: int | None = None  # None: nothing can come
    start: int = 0
    oldest: int = 0  # version of memory that it may still show

    def check(self, entry: _Entry, fault_pc: int, fetch: _Fetch, newest: int) -> None:
        params, pc = fetch.params, self.pc
        assert pc is not None, "nothing comes after a fault or a halt"
        fault = FetchFault.NONE
        if pc % 4:
            fault = FetchFault.MISALIGNED
        elif pc >= params.sram_bytes:
            fault = FetchFault.ACCESS
        elif pc // LINE_BYTES in fetch.bad_lines:
            fault = FetchFault.HARDWARE
        assert FetchFault(entry.fault) is fault
        assert fault is FetchFault.NONE or fault_pc == pc
        assert entry.pc == pc & 0xFF_FFFC
        assert entry.start == self.start & 0xFF_FFFC
        if fault is not FetchFault.NONE:
            assert not entry.predicted
            self.pc = None
            return
        assert any(v >= self.oldest for v in _versions(pc, entry.insn, newest))
        self.pc = entry.target if entry.predicted else pc + 4
        if entry.predicted or self.pc % BLOCK_BYTES == 0:
            self.start = self.pc


def _random_target(rng: random.Random, params: NodeParams) -> int:
    """Return an address: near the start, at the end of SRAM, or one that cannot be fetched."""
    end, far = params.sram_bytes, rng.getrandbits(64)
    near = 4 * rng.randrange(rng.choice((32, 256, 2048)))
    return rng.choice((*[near] * 20, end - 4 * rng.randrange(1, 40), end, far, near + 2))


@pytest.mark.parametrize("busy", [0.0, 0.6])
@pytest.mark.parametrize(
    ("name", "on_fpga"), [("tiny", False), ("fpga", False), ("fpga", True)], ids=str
)
def test_every_thread_gets_its_own_path_whatever_is_predicted_redirected_and_held_up(
    name, on_fpga, busy
):
    params = preset(name)
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    design: Any = _GatedFrontend(params, gated=not on_fpga)
    with NativeModel(OnFpga(design) if on_fpga else design, name=f"frontend_{name}") as model:
        fetch = _Fetch(CycleModel(model) if on_fpga else model, params, busy)
        threads = [_Thread() for _ in range(params.threads)]
        taken, predicted, faults = 0, 0, set()
        fetch.bad_lines = {17, 40}
        eager = 0.5
        for now in range(6000 // params.issue_groups):
            if now % 100 == 0:
                eager = rng.choice((0.1, 0.6, 1.0))
            cycle = _Cycle(invalidate=rng.random() < 0.005)
            # Memory has changed before the cycle of an invalidation.
            fetch.version += cycle.invalidate
            for n, thread in enumerate(threads):
                if rng.random() < (0.01 if thread.pc is not None else 0.1):
                    cycle.redirect[n] = _random_target(rng, params)
                elif rng.random() < 0.002:
                    cycle.halt |= 1 << n
            chosen = rng.sample(range(params.threads), params.issue_groups)
            cycle.take = {
                n: rng.randint(1, params.issue_width) if rng.random() < eager else 0 for n in chosen
            }
            if rng.random() < 0.3:
                cycle.train = tuple(
                    _random_branch(rng, threads) for _ in range(rng.randint(1, params.issue_groups))
                )
            for n, entries in fetch.run(cycle).items():
                for entry in entries:
                    threads[n].check(
                        entry, fetch.fault_pcs[n], fetch, fetch.version - cycle.invalidate
                    )
                    predicted += entry.predicted
                    faults.add(FetchFault(entry.fault))
                taken += len(entries)
            for n, thread in enumerate(threads):
                if n in cycle.redirect:
                    target = cycle.redirect[n]
                    threads[n] = _Thread(target, target, thread.oldest)
                    if cycle.invalidate:
                        threads[n].oldest = fetch.version
                if cycle.halt >> n & 1:
                    thread.pc = None
        print(f"{taken} instructions, {predicted} predicted, {fetch.version} invalidations")
        assert taken > 2000 and predicted > 50 and fetch.version > 5
        assert faults == set(FetchFault)


def _random_branch(rng: random.Random, threads: list[_Thread]) -> _Branch:
    """Return a branch at a place where some thread may come by soon, and a random fate."""
    pc = rng.choice([thread.pc or 0 for thread in threads]) + 4 * rng.randrange(64)
    start = rng.choice((pc, pc - pc % BLOCK_BYTES)) & 0xFF_FFFC
    slot = rng.randint(start // 4 % 8, 7)
    return _Branch(start, slot, rng.random() < 0.8, 4 * rng.randrange(512))


def test_a_target_whose_line_is_stored_is_in_the_window_two_cycles_after_the_redirect(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 64)
    fetch.cycle(redirect={2: 0x414})
    cycles, entries = fetch.until_taken(2)
    assert 1 + cycles == 2
    assert [entry.pc for entry in entries] == [0x414, 0x418, 0x41C], "to the end of its block"


@pytest.mark.parametrize("bank_wait", [0, 3])
def test_a_missing_line_costs_three_cycles_and_the_wait_for_its_bank(model, bank_wait):
    fetch = _Fetch(model)
    fetch.cycle(redirect={1: 0x400})
    fetch.busy = 1.0
    for _ in range(1 + bank_wait):  # the lookup, and requests that are refused
        fetch.cycle()
    assert fetch.requests == []
    fetch.busy = 0.0
    cycles, _ = fetch.until_taken(1)
    assert 2 + bank_wait + cycles == 2 + 3 + bank_wait
    assert fetch.requests[0] == (2 + bank_wait, 0x400 // LINE_BYTES)


def test_straight_line_code_of_one_thread_fills_a_row_every_cycle(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 256)
    fetch.cycle(redirect={0: 0x400})
    fetch.cycle()
    pcs = []
    for _ in range(16):  # 64 instructions, four a cycle
        pcs += [entry.pc for entry in fetch.cycle(take={0: WINDOW})[0]]
    assert pcs == list(range(0x400, 0x500, 4))


def test_two_threads_get_eight_instructions_a_cycle_between_them(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 320)
    fetch.cycle(redirect={0: 0x400, 3: 0x400})
    for _ in range(4):
        fetch.cycle()
    for n in range(20):
        taken = fetch.cycle(take={0: WINDOW, 3: WINDOW})
        for thread in (0, 3):
            assert [entry.pc for entry in taken[thread]] == [
                0x400 + 16 * n + 4 * k for k in range(4)
            ]


def test_four_threads_share_the_fetches_equally(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 320)
    fetch.cycle(redirect=dict.fromkeys(range(4), 0x400))
    for _ in range(6):
        fetch.cycle()
    for n in range(40):
        pair = (0, 2) if n % 2 else (1, 3)
        taken = fetch.cycle(take=dict.fromkeys(pair, WINDOW))
        assert [len(taken[thread]) for thread in pair] == [4, 4], "eight a cycle, sustained"


def _loop(start: int, branch: int) -> _Branch:
    """Return what a branch that leads back to `start` tells, fetched from there."""
    return _Branch(start, branch // 4 % 8, True, start)


def test_a_predicted_loop_of_four_instructions_goes_round_every_cycle(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 64)
    for _ in range(2):
        fetch.cycle(train=(_loop(0x408, 0x414),))
    fetch.cycle(redirect={0: 0x408})
    fetch.cycle()
    for _ in range(20):
        entries = fetch.cycle(take={0: WINDOW})[0]
        assert [entry.pc for entry in entries] == [0x408, 0x40C, 0x410, 0x414]
        assert [entry.predicted for entry in entries] == [False, False, False, True]
        assert entries[3].target == 0x408 and entries[3].start == 0x408


def test_a_window_shows_what_is_behind_a_predicted_branch_but_only_one_row_of_it(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 128)
    fetch.cycle(train=(_Branch(0x400, 0, True, 0x458), _Branch(0x458, 6, True, 0x400)))
    fetch.cycle(redirect={0: 0x400})
    for _ in range(5):
        fetch.cycle()
    taken = [[entry.pc for entry in fetch.cycle(take={0: WINDOW})[0]] for _ in range(2)]
    assert taken == [[0x400, 0x458], [0x400, 0x458]]


def test_training_and_forgetting_take_effect_two_cycles_later(model):
    def predicted(wait: int, **actions) -> bool:
        """Act, and say whether a fetch of `wait` cycles later is predicted to be taken."""
        fetch.cycle(**actions)
        for _ in range(wait - 2):
            fetch.cycle()
        fetch.cycle(redirect={0: 0x400})
        _, entries = fetch.until_taken(0)
        fetch.halt_all()
        return entries[0].predicted

    fetch = _Fetch(model)
    fetch.warm(0x400, 64)
    branch = _Branch(0x400, 0, True, 0x420)
    assert not predicted(2)
    assert predicted(2, train=(branch,))
    assert not predicted(2, train=(_Branch(0x400, 0, False, 0x420),))
    assert predicted(2, train=(branch,))
    assert not predicted(2, train=(branch,), invalidate=True)


def test_cold_straight_line_code_takes_three_cycles_a_line(model):
    fetch = _Fetch(model)
    fetch.cycle(redirect={0: 0x1000})
    fetch.until_taken(0)
    while len(fetch.requests) < 12:
        fetch.cycle(take={0: WINDOW})
    fetch.halt_all()
    assert [line for _, line in fetch.requests[:12]] == [
        0x1000 // LINE_BYTES + n for n in range(12)
    ]
    times = [cycle for cycle, _ in fetch.requests]
    assert times[3] - times[0] == 9, "while rows are free"
    assert times[11] - times[7] == 16, "then as fast as four instructions a cycle are taken"


def test_the_next_line_is_not_asked_for_where_it_is_known_or_not_needed(model):
    fetch = _Fetch(model)
    last = _PARAMS.sram_bytes // LINE_BYTES - 1
    fetch.cycle(redirect={0: last * LINE_BYTES})
    faults = []
    for _ in range(20):
        faults += [entry.fault for entry in fetch.cycle(take={0: WINDOW})[0]]
    assert faults == [FetchFault.NONE] * 16 + [FetchFault.ACCESS]
    assert [line for _, line in fetch.requests] == [last], "there is none behind the last"
    fetch.cycle(train=(_loop(0x400, 0x41C),))
    fetch.cycle(redirect={0: 0x400})
    for _ in range(20):
        fetch.cycle(take={0: WINDOW})
    assert [line for _, line in fetch.requests[1:]] == [0x400 // LINE_BYTES], "a loop needs none"


def test_a_loop_as_large_as_the_store_is_read_once(model):
    fetch = _Fetch(model)
    fetch.warm(0, _STORE_BYTES)
    last_block = _STORE_BYTES - BLOCK_BYTES
    branch = _Branch(last_block, 0, True, 0)
    fetch.cycle(train=(branch,))
    fetch.cycle(redirect={0: 0})
    seen = 0
    for _ in range(4 * _STORE_BYTES // 16):
        if seen == _STORE_BYTES:
            fetch.requests.clear()  # the line behind the store came before the loop was known
        seen += len(fetch.cycle(take={0: WINDOW})[0])
    assert seen > 3 * _STORE_BYTES // 4


def test_threads_that_evict_each_other_get_a_row_for_every_line_read(model):
    fetch = _Fetch(model)
    # A loop over two lines for each thread, all eight in the same two places of the store.
    starts = [0x400 + n * _STORE_BYTES for n in range(4)]
    fetch.cycle(train=tuple(_Branch(s + 64, 7, True, s) for s in starts[:2]))
    fetch.cycle(train=tuple(_Branch(s + 64, 7, True, s) for s in starts[2:]))
    fetch.cycle(redirect=dict(enumerate(starts)))
    rows = [0] * 4
    for now in range(1200):
        for thread, entries in fetch.cycle(
            take=dict.fromkeys(((0, 2), (1, 3))[now % 2], 4)
        ).items():
            rows[thread] += sum(entry.pc % BLOCK_BYTES == 0 for entry in entries)
    print(f"rows {rows}, {len(fetch.requests)} lines read")
    assert sum(rows) >= len(fetch.requests) - 8
    assert max(rows) - min(rows) <= 0.2 * max(rows)


def test_halt_takes_back_what_was_offered_and_then_nothing_is_active(model):
    fetch = _Fetch(model)
    fetch.cycle(redirect={0: 0, 1: 0x800})
    for _ in range(20):
        fetch.cycle()
    assert fetch.model.get("available") == 0b11
    fetch.cycle(halt=0b01)
    for _ in range(10):
        assert fetch.cycle(take={0: WINDOW})[0] == []
    _, entries = fetch.until_taken(1)
    assert entries[0].pc == 0x800, "the other thread keeps what it has"
    fetch.cycle(halt=0b11)
    for _ in range(10):
        fetch.cycle()
    requests = len(fetch.requests)
    for _ in range(10):
        fetch.cycle(halt=0b11)
        assert fetch.model.get("active") == 0
    assert len(fetch.requests) == requests


def test_with_full_rows_nothing_is_active_until_something_is_taken(model):
    fetch = _Fetch(model)
    fetch.warm(0x400, 256)
    fetch.cycle(redirect={0: 0x400})
    for _ in range(12):
        fetch.cycle()
    assert fetch.model.get("active") == 0
    fetch.cycle(take={0: 4})
    fetch.cycle(take={0: 4})
    assert fetch.model.get("active") == 1, "a row is free"


def test_a_line_on_its_way_is_dropped_by_an_invalidation(model):
    for delay in range(1, 5):
        fetch = _Fetch(model)
        fetch.cycle(redirect={0: 0x400})
        for _ in range(delay):
            fetch.cycle()
        fetch.version += 1
        fetch.cycle(invalidate=True, redirect={0: 0x400})
        _, entries = fetch.until_taken(0)
        assert entries[0].insn == _word(0x400, fetch.version)


def test_a_line_that_cannot_be_corrected_is_reported_once_and_read_anew_next_time(model):
    fetch = _Fetch(model)
    line = 0x440 // LINE_BYTES
    fetch.bad_lines = {line}
    for _ in range(2):
        fetch.cycle(redirect={0: 0x420})
        seen = []
        for _ in range(30):
            seen += fetch.cycle(take={0: WINDOW})[0]
        assert [entry.fault for entry in seen] == [FetchFault.NONE] * 8 + [FetchFault.HARDWARE]
        assert seen[8].pc == 0x440 and fetch.fault_pcs[0] == 0x440
    before = sum(number == line for _, number in fetch.requests)
    assert before >= 2
    fetch.bad_lines = set()
    fetch.cycle(redirect={0: 0x440})
    cycles, entries = fetch.until_taken(0)
    assert entries[0].insn == _word(0x440) and 1 + cycles == 2 + 3


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (2, FetchFault.MISALIGNED),
        (_PARAMS.sram_bytes, FetchFault.ACCESS),
        (1 << 63, FetchFault.ACCESS),
        (0xDEAD_BEEF_0000_0003, FetchFault.MISALIGNED),
    ],
)
def test_an_address_that_cannot_be_fetched_gives_one_faulty_entry(model, target, fault):
    fetch = _Fetch(model)
    fetch.cycle(redirect={3: target})
    seen = []
    for _ in range(20):
        seen += fetch.cycle(take={3: WINDOW})[3]
    assert [FetchFault(entry.fault) for entry in seen] == [fault]
    assert fetch.fault_pcs[3] == target
    assert fetch.requests == []
