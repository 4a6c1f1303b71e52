"""Instruction fetch for all threads of a node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import NodeParams

from .arbiter import RoundRobinArbiter
from .branch_target_buffer import BranchTargetBuffer, training_layout
from .fetch_rows import ROWS, FetchRows, previewed_threads, window_layout
from .instruction_store import BLOCK_BITS, BLOCK_WORDS, SLOT_BITS, InstructionStore
from .interfaces import SramReadSignature
from .micro_op import FetchFault

__all__ = [
    "SLOT_BITS",
    "Frontend",
    "redirect_layout",
    "training_layout",
    "window_layout",
]

#: A thread with at most so many rows is fetched for before those with more.
_SHORT = 1


def redirect_layout() -> data.StructLayout:
    """Return the layout of where a thread goes on: `target`, if `valid`."""
    return data.StructLayout({"valid": 1, "target": 64})


class Frontend(wiring.Component):
    """Fetch the instructions of every thread, in program order as far as it is predicted.

    One fetch a cycle, of one thread: up to 8 instructions of an aligned block of 32 bytes, from
    where the thread is to the end of the block or to a branch that is predicted to be taken. They
    form a row, of which a thread has up to 4. Threads with at most one row come first; among equals
    they take turns. A thread's next fetch can be in the next cycle, behind a predicted branch too.

    After `redirect` in cycle t the target is looked up in t + 1, when no other thread has its turn,
    and is in the window in t + 2. A fetch whose line is not in the store in cycle t is repeated in
    t + 3, when the bank is free and nobody else's line is on its way (`InstructionStore`).

    No livelock: a thread whose line has come is fetched for before others, and until then no other
    line is filled, so every line that was asked for yields a row even when threads evict each
    other's lines; waiting threads take turns in asking.

    A pc that is misaligned or not in SRAM, and one whose line cannot be corrected, gives one entry
    with `fault`, after which nothing is fetched until the next `redirect`. A line is refused as a
    whole: the fault is that of the first instruction wanted of it.

    Golden twin: the fetch of `d1_golden.node.GoldenNode`, which predicts nothing: whoever executes
    a window compares each `predicted` and `target` with what the instruction does.

    Parameters
    ----------
    params
        Threads, SRAM, instruction store and branch target buffer.

    Members
    -------
    available : Out(threads)
        The thread has at least one instruction buffered.
    heads : Out(32).array(threads)
        The next instruction of each available thread; none if `issue_groups` is 1.
    select : In(range(threads)).array(issue_groups)
    window : Out(window_layout(params)).array(issue_groups)
        The next instructions of the selected threads; combinational.
    take : In(range(issue_width + 1)).array(issue_groups)
        How many of them are consumed at the end of this cycle. Threads of two must differ when
        something is taken from both.
    redirect : In(redirect_layout()).array(threads)
        The thread goes on at `target`; what is buffered of it is dropped, taken or not.
    halt : In(threads)
        Drop what is buffered of the thread and stop fetching. Goes before `redirect`.
    fault_pc : Out(64).array(threads)
        Where the next fetch is; after a fault the pc of the faulty entry, until the next redirect.
    train : In(training_layout()).array(issue_groups)
        What executed branches tell the branch target buffer.
    invalidate : In(1)
        Forget every line and prediction. Rows stay: redirect the threads that must not use them.
    active : Out(1)
        The registers may change at the end of this cycle. The component may be in a clock domain
        that stands still while this is low.
    sram : Out(SramReadSignature(params))
    """

    available: Signal
    heads: Any
    select: Any
    window: Any
    take: Any
    redirect: Any
    halt: Signal
    fault_pc: Any
    train: Any
    invalidate: Signal
    active: Signal
    sram: Any

    def __init__(self, params: NodeParams):
        self._params = params
        threads, groups = params.threads, params.issue_groups
        super().__init__(
            {
                "available": Out(threads),
                "heads": Out(32).array(previewed_threads(params)),
                "select": In(range(threads)).array(groups),
                "window": Out(window_layout(params)).array(groups),
                "take": In(range(params.issue_width + 1)).array(groups),
                "redirect": In(redirect_layout()).array(threads),
                "halt": In(threads),
                "fault_pc": Out(64).array(threads),
                "train": In(training_layout()).array(groups),
                "invalidate": In(1),
                "active": Out(1),
                "sram": Out(SramReadSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        threads = self._params.threads
        m.submodules.store = store = InstructionStore(self._params)
        m.submodules.branch_targets = branch_targets = BranchTargetBuffer(self._params)
        m.submodules.rows = rows = FetchRows(self._params)
        wiring.connect(m, store.sram, wiring.flipped(self.sram))
        # Of each thread: it fetches; its line is not there; its line has come and is kept for it;
        # its line cannot be corrected; what it has is void at the end of this cycle.
        running, missing, urgent, broken, drop = (
            Signal(threads, name=name)
            for name in ("running", "missing", "urgent", "broken", "drop")
        )
        m.d.comb += [
            drop.eq(self.halt | Cat(redirect.valid for redirect in self.redirect)),
            self.available.eq(Cat(level != 0 for level in rows.levels)),
            rows.drop.eq(drop),
            store.invalidate.eq(self.invalidate),
            branch_targets.invalidate.eq(self.invalidate),
        ]
        for index in range(len(self.window)):
            m.d.comb += [
                rows.select[index].eq(self.select[index]),
                rows.take[index].eq(self.take[index]),
                self.window[index].eq(rows.window[index]),
            ]
        m.d.comb += [head.eq(word) for head, word in zip(self.heads, rows.heads, strict=True)]
        for port, train in zip(branch_targets.train, self.train, strict=True):
            m.d.comb += port.eq(train)
        eligible = running & ~missing & Cat(level < ROWS for level in rows.levels)
        grants = self._choose(m, rows, eligible, urgent)
        miss = self._fetch(m, store, branch_targets, rows, grants, running, broken)
        self._demand(m, store, grants, miss, missing, urgent, broken, drop)
        with m.If(self.invalidate):
            m.d.sync += missing.eq(0)  # what they waited for was dropped
        for n, redirect in enumerate(self.redirect):
            with m.If(redirect.valid):
                m.d.sync += [self.fault_pc[n].eq(redirect.target), running[n].eq(1)]
            with m.If(self.halt[n]):
                m.d.sync += running[n].eq(0)
        m.d.comb += self.active.eq(
            (eligible | missing | (drop & (running | self.available | ~self.halt))).any()
            | Cat(take != 0 for take in self.take).any()
            | Cat(train.valid for train in self.train).any()
            | self.invalidate
            | store.busy
            | branch_targets.busy
        )
        return m

    def _choose(self, m: Module, rows: FetchRows, eligible: Value, urgent: Value) -> Signal:
        """Return the thread that is fetched for in this cycle, a bit for each."""
        m.submodules.turns = turns = RoundRobinArbiter(len(self.halt))
        short = Cat(level <= _SHORT for level in rows.levels)
        with m.If((eligible & urgent).any()):
            m.d.comb += turns.requests.eq(eligible & urgent)
        with m.Elif((eligible & short).any()):
            m.d.comb += turns.requests.eq(eligible & short)
        with m.Else():
            m.d.comb += turns.requests.eq(eligible)
        return turns.grants

    def _fetch(
        self,
        m: Module,
        store: InstructionStore,
        branch_targets: BranchTargetBuffer,
        rows: FetchRows,
        grants: Signal,
        running: Signal,
        broken: Signal,
    ) -> Value:
        """Look up the block of a thread and go on behind it; return whether it is missing."""
        prediction, push, row = branch_targets.prediction, rows.push, rows.push.row
        pc, fault, good = Signal(LOCAL_BITS), Signal(FetchFault), Signal()
        slot, block = pc[2:-BLOCK_BITS], pc[-BLOCK_BITS:]
        next_pc = Signal(LOCAL_BITS)
        m.d.comb += [
            good.eq(fault == FetchFault.NONE),
            store.lookup.eq(grants.any() & good),
            store.block.eq(block),
            store.falls_through.eq(~prediction.taken),
            branch_targets.start.eq(pc[2:]),
            next_pc.eq(Cat(Const(0, LOCAL_BITS - BLOCK_BITS), block + 1)),
            push.valid.eq(grants.any() & (store.hit | ~good)),
            row.words.as_value().eq(store.words.as_value() >> Cat(Const(0, 5), slot)),
            row.first.eq(slot),
            row.last.eq(BLOCK_WORDS - 1),
            row.block.eq(block),
            row.fault.eq(fault),
            row.target.eq(prediction.target),
        ]
        with m.If(~good):
            m.d.comb += row.last.eq(slot)
        with m.Elif(prediction.taken):
            m.d.comb += [
                row.last.eq(prediction.slot),
                row.predicted.eq(1),
                next_pc.eq(Cat(Const(0, 2), prediction.target)),
            ]
        with m.Switch(grants):
            for n, thread_pc in enumerate(self.fault_pc):
                with m.Case(1 << n):
                    m.d.comb += [pc.eq(thread_pc), push.thread.eq(n)]
                    with m.If(thread_pc[:2].any()):
                        m.d.comb += fault.eq(FetchFault.MISALIGNED)
                    with m.Elif(thread_pc >= self._params.sram_bytes):
                        m.d.comb += fault.eq(FetchFault.ACCESS)
                    with m.Elif(broken[n]):
                        m.d.comb += fault.eq(FetchFault.HARDWARE)
                    with m.If(~good):
                        m.d.sync += running[n].eq(0)
                    with m.Elif(store.hit):
                        m.d.sync += thread_pc[:LOCAL_BITS].eq(next_pc)
        return store.lookup & ~store.hit

    def _demand(
        self,
        m: Module,
        store: InstructionStore,
        grants: Signal,
        miss: Value,
        missing: Signal,
        urgent: Signal,
        broken: Signal,
        drop: Signal,
    ) -> None:
        """Have the lines filled that threads wait for, and wake them."""
        m.submodules.demand_turns = turns = RoundRobinArbiter(len(drop))
        line_of = [store.line(pc[-BLOCK_BITS:]) for pc in (p[:LOCAL_BITS] for p in self.fault_pc)]
        waiting, wants, landed = (
            Signal(len(drop), name=name) for name in ("waiting", "wants", "landed")
        )
        m.d.comb += [
            waiting.eq(missing & ~drop),
            wants.eq(waiting | Mux(miss, grants & ~drop, 0)),
            turns.requests.eq(Mux(store.accepts, waiting, 0)),
            store.hold.eq((urgent & ~grants & ~drop).any()),
            store.demand.valid.eq(wants.any()),
            store.demand.line.eq(store.line(store.block)),
        ]
        with m.Switch(turns.grants):
            for n, line in enumerate(line_of):
                with m.Case(1 << n):
                    m.d.comb += store.demand.line.eq(line)
        with m.If(store.filled.valid):
            m.d.comb += landed.eq(wants & Cat(line == store.filled.line for line in line_of))
        m.d.sync += [
            missing.eq(wants & ~landed),
            urgent.eq((urgent & ~grants & ~drop) | landed),
            broken.eq((broken | Mux(store.filled.failed, landed, 0)) & ~drop),
        ]
