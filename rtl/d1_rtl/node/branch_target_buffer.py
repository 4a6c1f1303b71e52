"""Branch target buffer: where a fetch goes on."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import NodeParams

from ..multi_write_memory import multi_write_memory
from .instruction_store import SLOT_BITS

__all__ = ["BranchTargetBuffer", "prediction_layout", "training_layout"]

#: Bits of the number of an instruction word in a node's space.
_WORD_BITS = LOCAL_BITS - 2
#: States of the counter of an entry: the upper two predict that the branch is taken.
_WEAKLY_TAKEN, _STRONGLY_TAKEN = 2, 3


def prediction_layout() -> data.StructLayout:
    """Return the layout of a prediction.

    Fields
    ------
    taken
        The branch in `slot` of the block that is fetched leads to `target`.
    slot
        Number of its word in the block.
    target
        Number of the instruction word that is fetched next.
    """
    return data.StructLayout({"taken": 1, "slot": SLOT_BITS, "target": _WORD_BITS})


def training_layout() -> data.StructLayout:
    """Return the layout of what an executed branch or jump tells.

    Fields
    ------
    valid
        There is one.
    start
        The address from which the fetch began that brought it.
    slot
        Number of its word in its block, not before `start`.
    taken, target
        Whether it was taken, and where it leads; the low two bits of `target` are ignored.
    """
    return data.StructLayout(
        {"valid": 1, "start": LOCAL_BITS, "slot": SLOT_BITS, "taken": 1, "target": LOCAL_BITS}
    )


class BranchTargetBuffer(wiring.Component):
    """Predict whether and where a fetch leaves its block.

    An entry belongs to the address from which a fetch starts, so that one lookup tells about all
    the words behind it in the block. It has one branch: slot, target and a counter of two bits.
    The table is direct-mapped; its tags are whole addresses, so an entry is never another's.

    Lookup is combinational, one a cycle. Training takes effect for lookups two cycles later. A
    taken branch takes a place that is free or belongs to another start; in an entry of its own
    start it takes the place of another branch as soon as that is not predicted to be taken, and
    weakens it until then. When two ports change one entry in a cycle, port 0 does.

    Golden twin: none; predictions change timing, never results.

    Parameters
    ----------
    params
        Entries of the table; groups of instructions, which have one branch each.

    Members
    -------
    start : In(22)
        The instruction word at which a fetch starts.
    prediction : Out(prediction_layout())
    train : In(training_layout()).array(issue_groups)
    invalidate : In(1)
        Forget everything, training in this cycle and the one before included.
    busy : Out(1)
        Training is going on. Otherwise registers change only by inputs.
    """

    start: Signal
    prediction: Any
    train: Any
    invalidate: Signal
    busy: Signal

    def __init__(self, params: NodeParams):
        self._entries = params.branch_targets
        super().__init__(
            {
                "start": In(_WORD_BITS),
                "prediction": Out(prediction_layout()),
                "train": In(training_layout()).array(params.issue_groups),
                "invalidate": In(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        layout = data.StructLayout(
            {"start": _WORD_BITS, "target": _WORD_BITS, "slot": SLOT_BITS, "counter": 2}
        )
        entries = multi_write_memory(
            m,
            "entries",
            shape=layout,
            depth=self._entries,
            writes=len(self.train),
            platform=platform,
        )
        valid = Signal(self._entries)
        found, entry = self._find(m, entries, valid, self.start)
        m.d.comb += [
            self.prediction.taken.eq(
                found & entry.counter[1] & (entry.slot >= self.start[:SLOT_BITS])
            ),
            self.prediction.slot.eq(entry.slot),
            self.prediction.target.eq(entry.target),
        ]
        taken_places: list[tuple[Value, Value]] = []  # by the ports before: whether, which
        for index, train in enumerate(self.train):
            branch: Any = Signal(training_layout(), name=f"branch_{index}")
            m.d.sync += branch.valid.eq(train.valid & ~self.invalidate)
            with m.If(train.valid):
                m.d.sync += [
                    getattr(branch, name).eq(getattr(train, name))
                    for name in ("start", "slot", "taken", "target")
                ]
            with m.If(branch.valid):
                m.d.comb += self.busy.eq(1)
            write = entries.write_port()
            changes = self._learn(m, entries, valid, branch, write)
            clash = Cat(other & (place == write.addr) for other, place in taken_places).any()
            m.d.comb += write.en.eq(branch.valid & changes & ~clash)
            with m.If(write.en):
                m.d.sync += valid.bit_select(write.addr, 1).eq(1)
            taken_places.append((write.en, write.addr))
        with m.If(self.invalidate):
            m.d.sync += valid.eq(0)
        return m

    def _place(self, start: Value) -> Value:
        """Return where the entry of a start is: by its block, starts in one block apart."""
        bits = (self._entries - 1).bit_length()
        spread = Cat(Const(0, max(bits - SLOT_BITS, 0)), start[:SLOT_BITS])
        return (start[SLOT_BITS:] ^ spread)[:bits]

    def _find(self, m: Module, entries: Any, valid: Signal, start: Value) -> tuple[Value, Any]:
        """Return whether there is an entry of a start, and what is in its place."""
        read = entries.read_port(domain="comb")
        m.d.comb += read.addr.eq(self._place(start))
        return valid.bit_select(read.addr, 1) & (read.data.start == start), read.data

    def _learn(self, m: Module, entries: Any, valid: Signal, branch: Any, write: Any) -> Value:
        """Return whether a branch changes its entry, and say to `write` how."""
        start = branch.start[-_WORD_BITS:]
        found, old = self._find(m, entries, valid, start)
        own = found & (old.slot == branch.slot)
        changes = Signal(name="changes")
        m.d.comb += [write.addr.eq(self._place(start)), write.data.eq(old)]
        with m.If(branch.taken & found & ~own & old.counter[1]):
            m.d.comb += [changes.eq(1), write.data.counter.eq(old.counter - 1)]
        with m.Elif(branch.taken):
            stronger = Mux(old.counter == _STRONGLY_TAKEN, old.counter, old.counter + 1)
            m.d.comb += [
                changes.eq(1),
                write.data.start.eq(start),
                write.data.slot.eq(branch.slot),
                write.data.target.eq(branch.target[-_WORD_BITS:]),
                write.data.counter.eq(Mux(own, stronger, _WEAKLY_TAKEN)),
            ]
        with m.Elif(own & (old.counter != 0)):
            m.d.comb += [changes.eq(1), write.data.counter.eq(old.counter - 1)]
        return changes
