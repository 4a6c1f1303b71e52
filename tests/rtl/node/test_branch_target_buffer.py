# amaranth: UnusedElaboratable=no
"""Predictions against a table in Python that learns the same branches."""

import random
from dataclasses import dataclass

import pytest
from d1_golden.params import preset
from d1_rtl.node.branch_target_buffer import (
    BranchTargetBuffer,
    prediction_layout,
    training_layout,
)
from d1_rtl.sim.native import NativeModel

_SEED = 5


@dataclass
class _Entry:
    """What the table holds in one place."""

    start: int
    slot: int
    target: int
    counter: int


class _Table:
    """The table as its documentation has it; addresses are numbers of instruction words."""

    def __init__(self, entries: int) -> None:
        self._bits = entries.bit_length() - 1
        self.entries: dict[int, _Entry] = {}

    def place(self, start: int) -> int:
        spread = start % 8 << max(self._bits - 3, 0)
        return (start // 8 ^ spread) % (1 << self._bits)

    def predict(self, start: int) -> tuple[int, int] | None:
        """Return slot and target of the branch that is predicted to be taken."""
        entry = self.entries.get(self.place(start))
        if entry is None or entry.start != start or entry.counter < 2 or entry.slot < start % 8:
            return None
        return entry.slot, entry.target

    def learn(self, start: int, slot: int, taken: bool, target: int) -> bool:
        """Learn a branch; return whether the table was written."""
        place = self.place(start)
        entry = self.entries.get(place)
        if entry is None or entry.start != start:
            if taken:
                self.entries[place] = _Entry(start, slot, target, 2)
            return taken
        if entry.slot == slot:
            if taken:
                entry.counter, entry.target = min(entry.counter + 1, 3), target
                return True
            written = entry.counter > 0
            entry.counter = max(entry.counter - 1, 0)
            return written
        if taken and entry.counter >= 2:
            entry.counter -= 1
        elif taken:
            self.entries[place] = _Entry(start, slot, target, 2)
        return taken


class OnFpga(BranchTargetBuffer):
    """As it is where small memories have one write port."""

    def elaborate(self, platform):
        return super().elaborate("an FPGA")


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((BranchTargetBuffer, name) for name in ("tiny", "fpga", "d1")), (OnFpga, "fpga")],
)
def test_predictions_are_those_of_the_table_that_learns_the_same(kind, name):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    params = preset(name)
    starts = [rng.randrange(1 << 22) for _ in range(2 * params.branch_targets)]
    starts += [start ^ 1 << 20 for start in starts] + [start & ~7 for start in starts]
    table, pending = _Table(params.branch_targets), []
    hits = clashes = 0
    with NativeModel(kind(params), name=f"branch_target_buffer_{name}") as model:
        model.reset()
        for _ in range(20 * params.branch_targets + 2500):
            start = rng.choice(starts)
            expected = table.predict(start)
            model.set("start", start)
            branches = []
            for port in range(params.issue_groups):
                branch = training_layout().const({"valid": 0}).as_bits()
                if rng.random() < 0.5:
                    # Often the branch that was just looked up, so that entries become strong.
                    about = start if rng.random() < 0.5 else rng.choice(starts)
                    slot, taken = rng.randint(about % 8, min(about % 8 + 1, 7)), rng.random() < 0.7
                    target = rng.randrange(1 << 22)
                    branches.append((about, slot, taken, target))
                    fields = {"start": 4 * about, "slot": slot, "taken": taken}
                    branch = training_layout().const({"valid": 1, "target": 4 * target, **fields})
                    branch = branch.as_bits()
                model.set(f"train__{port}", branch)
            invalidate = rng.random() < 0.002
            model.set("invalidate", invalidate)
            prediction = prediction_layout().from_bits(model.get("prediction"))
            assert prediction.taken == (expected is not None)
            if expected is not None:
                assert (prediction.slot, prediction.target) == expected
                hits += 1
            assert model.get("busy") == bool(pending)
            model.step()
            written = set()
            for start, *branch in pending:
                if table.place(start) in written:
                    clashes += 1  # port 0 has changed the entry
                elif table.learn(start, *branch):
                    written.add(table.place(start))
            pending = branches
            if invalidate:
                table.entries.clear()
                pending = []
    print(f"{hits} predicted, {clashes} clashes")
    assert hits > 300
    assert (clashes > 5) == (params.issue_groups > 1)
