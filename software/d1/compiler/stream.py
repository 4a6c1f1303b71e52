"""A product whose operands come to the node while it computes, panel by panel of k.

The program of a stream computes one panel after the other; the sums of a panel continue those of
the one before. Thread 0 is the *lead*: before the passes of a panel it waits until all of the panel
has come, lets the other threads go on, and starts the list that sends the node's own part of the
next panel, which then travels while this one is multiplied:

    lead     send 0 | collect 0 | release | send 1 | passes of 0 | collect 1 | release | send 2 ...
    others                  wait for release | passes of 0 |       wait for release | passes ...

All panels have their own place, so that none waits until another has been used. The data at a0:

    result | register side of panel 0, 1 ... | memory side of panel 0, 1 ... | table | lists
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from d1_golden.params import LINE_BYTES

from d1.compiler.schedule import PASS_BYTES, BlockKind, Schedule
from d1.compiler.tile import ceil_div

__all__ = ["ARRIVED", "RELEASED", "Stream"]

#: Semaphores of a stream: posted with each part of a panel that comes; and from here on one for
#: each thread, posted by the lead.
ARRIVED, RELEASED = 0, 1
_WORD_BYTES = 4
#: Passes of a panel beside those of blocks: of the lead, and of each other thread; and at the end.
_LEAD_PASSES, _OTHER_PASSES, _LAST_PASSES = 3, 1, 1


@dataclass(frozen=True)
class Stream:
    """Everything that the program of a streamed product depends on.

    Parameters
    ----------
    panels
        The schedule of each panel, of the same product but for its steps; placed as `of` does.

    """

    panels: tuple[Schedule, ...]

    @staticmethod
    def of(whole: Schedule, steps: Sequence[int], *, accumulate: bool = False) -> Stream:
        """Return the stream of a product.

        Parameters
        ----------
        whole
            Schedule of a product; its steps and places do not matter.
        steps
            Those of each panel. All but the last must fill vectors.
        accumulate
            Whether the result in SRAM is continued.

        Raises
        ------
        ValueError
            A panel but the last would end within a vector, or there is none.

        """
        halves = whole.tile.halves
        if not steps or any(n <= 0 for n in steps) or any(n % halves for n in steps[:-1]):
            raise ValueError(
                f"steps must be positive and fill vectors of {halves}, not {tuple(steps)!r}"
            )
        sized = [
            replace(whole, steps=n, accumulate=accumulate or number > 0)
            for number, n in enumerate(steps)
        ]
        at = _in_lines(whole.output_bytes)
        panels = []
        for panel in sized:
            panels.append(replace(panel, register_at=at))
            at += _in_lines(panel.register_bytes)
        for number, panel in enumerate(panels):
            panels[number] = replace(panel, memory_at=at)
            at += _in_lines(panel.memory_bytes)
        return Stream(tuple(panels))

    @property
    def output_bytes(self) -> int:
        """Bytes of the result; it lies at the start of the data."""
        return self.panels[0].output_bytes

    @property
    def table(self) -> int:
        """Where the table of passes is: bytes from the start of the data."""
        last = self.panels[-1]
        return last.memory_start + _in_lines(last.memory_bytes)

    @property
    def lists(self) -> int:
        """Where lists may be: bytes from the start of the data, a whole line."""
        return self.table + _in_lines(self.table_bytes)

    @property
    def threads(self) -> int:
        """Threads that compute."""
        return len(self.panels[0].passes)

    @cached_property
    def kinds(self) -> tuple[tuple[Schedule, BlockKind], ...]:
        """The kinds of blocks that there are, with a panel of each; code is shared by equals."""
        found: dict[tuple[BlockKind, int, bool], tuple[Schedule, BlockKind]] = {}
        for panel in self.panels:
            for kind in panel.kinds:
                found.setdefault((kind, panel.steps, panel.accumulate), (panel, kind))
        return tuple(found.values())

    def entry(self, panel: Schedule, kind: BlockKind) -> int:
        """Return the number of the code of a kind in a panel among `kinds`."""
        for number, (other, of_other) in enumerate(self.kinds):
            same = other.steps == panel.steps and other.accumulate == panel.accumulate
            if same and of_other == kind:
                return number
        raise ValueError(f"kind must be one of the panel, not {kind!r}")

    @property
    def table_bytes(self) -> int:
        """Bytes of the table of passes."""
        passes = sum(len(of_thread) for panel in self.panels for of_thread in panel.passes)
        beside = _LEAD_PASSES + _OTHER_PASSES * (self.threads - 1)
        passes += len(self.panels) * beside + _LAST_PASSES + self.threads
        return self.threads * _WORD_BYTES + passes * PASS_BYTES

    def data_bytes(self, descriptors: int) -> int:
        """Return the bytes of all data, with so many descriptors in the lists of a node.

        The room past the end that loading ahead may touch is among them.
        """
        panel = self.panels[0]
        ahead = max(panel.register_group, panel.memory_group) * panel.params.vector_bytes
        return self.lists + max(descriptors * LINE_BYTES, ahead)


def _in_lines(size: int) -> int:
    return ceil_div(size, LINE_BYTES) * LINE_BYTES
