"""Fetch rows: what was fetched for each thread and is not issued yet."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import NodeParams

from .instruction_store import BLOCK_BITS, BLOCK_WORDS, SLOT_BITS
from .micro_op import FetchFault

__all__ = ["ROWS", "FetchRows", "previewed_threads", "row_layout", "window_layout"]

#: Rows of each thread.
ROWS = 4
_ROW_BITS = (ROWS - 1).bit_length()
_WORD_BITS = LOCAL_BITS - 2


def row_layout() -> data.StructLayout:
    """Return the layout of a row: instructions that follow each other in one block.

    Fields
    ------
    words
        The block from `first` on: word 0 is the first instruction.
    first, last
        Numbers of the first and the last instruction in the block.
    block
        Number of the block.
    fault
        Why there are no words; the row is then one entry.
    predicted, target
        The last instruction is predicted to lead to the instruction word `target`.
    """
    return data.StructLayout(
        {
            "words": data.ArrayLayout(32, BLOCK_WORDS),
            "first": SLOT_BITS,
            "last": SLOT_BITS,
            "block": BLOCK_BITS,
            "fault": FetchFault,
            "predicted": 1,
            "target": _WORD_BITS,
        }
    )


def window_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of the next instructions of a thread, `issue_width` at most.

    Fields
    ------
    count
        Entries that are there.
    entries
        The instructions in program order: `pc`; `insn`, or `fault`: why it could not be fetched
        (`pc` then has neither its low two nor its high bits, `Frontend.fault_pc` has all);
        `predicted` and `target`: the thread was fetched on at `target`, otherwise at pc + 4;
        `start`: the pc from which the fetch that brought it started.
    """
    entry = data.StructLayout(
        {
            "pc": LOCAL_BITS,
            "insn": 32,
            "fault": FetchFault,
            "predicted": 1,
            "target": LOCAL_BITS,
            "start": LOCAL_BITS,
        }
    )
    return data.StructLayout(
        {
            "count": range(params.issue_width + 1),
            "entries": data.ArrayLayout(entry, params.issue_width),
        }
    )


def previewed_threads(params: NodeParams) -> int:
    """Return how many threads are looked at before some are chosen: none if one is chosen."""
    return params.threads if params.issue_groups > 1 else 0


class FetchRows(wiring.Component):
    """Keep up to `ROWS` rows for each thread, and show the next instructions of those that issue.

    A row that is pushed in a cycle is seen from the next cycle on. `window` is combinational from
    `select`: up to `issue_width` instructions, out of one or two rows; so is what `take` removes at
    the end of the cycle. One row in, and a window of `issue_groups` threads out, a cycle. `drop`
    goes before `push` and `take`.

    Golden twin: none; the order of instructions does not change.

    Parameters
    ----------
    params
        Number of threads, of those that issue in a cycle, and of instructions of each.

    Members
    -------
    push : In({valid, thread, row})
        A row for a thread that has less than `ROWS`.
    drop : In(threads)
        The thread has no rows from the next cycle on.
    levels : Out(range(ROWS + 1)).array(threads)
        Rows in use.
    heads : Out(32).array(threads)
        The next instruction of each thread that has a row; none if `issue_groups` is 1.
    select : In(range(threads)).array(issue_groups)
    window : Out(window_layout(params)).array(issue_groups)
    take : In(range(issue_width + 1)).array(issue_groups)
        How many entries of the window are done with; at most `count`. Threads of two windows must
        differ when something is taken from both.
    """

    push: Any
    drop: Signal
    levels: Any
    heads: Any
    select: Any
    window: Any
    take: Any

    def __init__(self, params: NodeParams):
        self._params = params
        threads, groups = params.threads, params.issue_groups
        push = data.StructLayout({"valid": 1, "thread": range(threads), "row": row_layout()})
        super().__init__(
            {
                "push": In(push),
                "drop": In(threads),
                "levels": Out(range(ROWS + 1)).array(threads),
                "heads": Out(32).array(previewed_threads(params)),
                "select": In(range(threads)).array(groups),
                "window": Out(window_layout(params)).array(groups),
                "take": In(range(params.issue_width + 1)).array(groups),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        threads = self._params.threads
        rows: Any = memory.Memory(shape=row_layout(), depth=ROWS * threads, init=[])
        m.submodules.rows = rows
        # Of each thread: its oldest row, and how many instructions of that are done with.
        heads = Array(Signal(_ROW_BITS, name=f"head_{n}") for n in range(threads))
        dones = Array(Signal(SLOT_BITS, name=f"done_{n}") for n in range(threads))
        write = rows.write_port()
        thread = self.push.thread
        free = (heads[thread] + Array(self.levels)[thread])[:_ROW_BITS]
        m.d.comb += [
            write.addr.eq(Cat(free, thread)),
            write.data.eq(self.push.row),
            write.en.eq(self.push.valid),
        ]
        taken = [self._show(m, index, rows, heads, dones) for index in range(len(self.window))]
        for n in range(threads):
            if self.heads:
                port = rows.read_port(domain="comb")
                m.d.comb += [
                    port.addr.eq(ROWS * n + heads[n]),
                    self.heads[n].eq(port.data.words[dones[n]]),
                ]
            emptied = Signal(range(3), name=f"emptied_{n}")
            for select, take, (count, done) in zip(self.select, self.take, taken, strict=True):
                with m.If((select == n) & (take != 0)):
                    m.d.comb += emptied.eq(count)
                    m.d.sync += dones[n].eq(done)
            pushed = self.push.valid & (thread == n)
            m.d.sync += [
                heads[n].eq(heads[n] + emptied),
                self.levels[n].eq(self.levels[n] + pushed - emptied),
            ]
            with m.If(self.drop[n]):
                m.d.sync += [self.levels[n].eq(0), dones[n].eq(0)]
        return m

    def _show(
        self, m: Module, index: int, rows: memory.Memory, heads: Array, dones: Array
    ) -> tuple[Signal, Signal]:
        """Fill a window; return how many rows its `take` empties, and then `done` of the oldest."""
        select, take, window = self.select[index], self.take[index], self.window[index]
        width = len(window.entries)
        ports = [rows.read_port(domain="comb") for _ in range(2)]
        row, behind = (port.data for port in ports)
        level = Array(self.levels)[select]
        # Instructions that are left in the oldest row, and those of the row behind it.
        left, more = (Signal(range(BLOCK_WORDS + 1), name=f"{n}_{index}") for n in ("left", "more"))
        done, total = Signal.like(dones[0], name=f"done_{index}"), left + more
        m.d.comb += [
            ports[0].addr.eq(Cat(heads[select], select)),
            ports[1].addr.eq(Cat((heads[select] + 1)[:_ROW_BITS], select)),
            done.eq(dones[select]),
            left.eq(Mux(level > 0, row.last - row.first - done + 1, 0)),
            more.eq(Mux(level > 1, behind.last - behind.first + 1, 0)),
            window.count.eq(Mux(total > width, width, total)),
        ]
        words: Any = Signal(data.ArrayLayout(32, width), name=f"words_{index}")
        m.d.comb += words.as_value().eq(row.words.as_value() >> Cat(Const(0, 5), done))
        for n, entry in enumerate(window.entries):
            with m.Switch(left):
                for of_row in range(1, n + 1):
                    with m.Case(of_row):
                        word = n - of_row
                        m.d.comb += self._entry(entry, behind, word, behind.words[word])
                with m.Default():
                    m.d.comb += self._entry(entry, row, done + n, words[n])
        # What of `take` is taken out of the row behind.
        rest = Signal.like(take, name=f"rest_{index}")
        emptied, next_done = Signal(range(3), name=f"count_{index}"), Signal.like(done)
        m.d.comb += rest.eq(take - left)
        with m.If(take < left):
            m.d.comb += next_done.eq(done + take)
        with m.Elif((rest != 0) & (rest == more)):
            m.d.comb += emptied.eq(2)
        with m.Else():
            m.d.comb += [emptied.eq(1), next_done.eq(rest)]
        return emptied, next_done

    def _entry(self, entry: Any, row: Any, offset: Value | int, word: Value) -> list[Any]:
        """Return the assignments that make an entry of the instruction at an offset in a row."""
        slot = (row.first + offset)[:SLOT_BITS]
        return [
            entry.pc.eq(Cat(Const(0, 2), slot, row.block)),
            entry.insn.eq(word),
            entry.fault.eq(row.fault),
            entry.predicted.eq(row.predicted & (slot == row.last)),
            entry.target.eq(Cat(Const(0, 2), row.target)),
            entry.start.eq(Cat(Const(0, 2), row.first, row.block)),
        ]
