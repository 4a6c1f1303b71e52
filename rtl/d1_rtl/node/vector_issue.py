"""Choice of the vector operations that start in a cycle."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import StallCause
from d1_golden.params import NodeParams

from .interfaces import THREAD_BITS
from .thread_choice import ThreadChoice

__all__ = ["ChosenOperation", "VectorIssue", "VectorKind", "vector_stalls_layout"]

_SLOTS = 2
#: Cycles after which an operation that other threads have kept from its slot goes first.
_PATIENCE = 31


class VectorKind(data.Struct):
    """What the choice of a slot depends on: see `prepared_operation_layout`."""

    slot_0: 1
    slot_1: 1
    matrix: 1
    loads: 1
    stores: 1


class ChosenOperation(data.Struct):
    """The thread whose oldest operation was chosen for a slot, if any."""

    valid: 1
    thread: THREAD_BITS


def vector_stalls_layout() -> data.StructLayout:
    """Return the layout of why a thread's oldest operation did not start: at most one bit is set.

    The members are the vector causes of `d1_golden.memory_map.StallCause`.
    """
    return data.StructLayout({cause.name.lower(): 1 for cause in StallCause if cause.is_vector})


class VectorIssue(wiring.Component):
    """Choose among the oldest operations of all threads one for each slot.

    Slot 1 takes a matrix operation if one is ready, otherwise another that may go there; slot 0
    takes one of another thread. Of several threads they choose in turn (`ThreadChoice`). An
    operation that is ready and did not start for `31` cycles goes before those that are not so
    late, and holds its slot until what it needs beside it is free: that bounds the wait of each.
    At most one of the two stores.

    Combinational from the inputs to `chosen`, which depends on no input of SRAM; `taken` and
    `refused` come back in the same cycle.

    Golden twin: none; threads do not order each other.

    Parameters
    ----------
    params
        Number of threads.
    stay
        Matrix operations of one thread in a row, as in `ThreadChoice`.

    Members
    -------
    valid : In(threads)
        The thread has an operation.
    kinds : In(VectorKind).array(threads)
    operands, accumulator, result, order : In(threads)
        What the thread itself still holds up is free: registers, its accumulator, the write port
        when the result will come, and memory accesses before it.
    unit : In(threads)
        So is what it shares with other threads.
    no_loads : In(1)
        The read port of slot 1 is taken.
    chosen : Out(ChosenOperation).array(2)
    taken : In(2)
        The chosen operation starts.
    starts : Out(threads)
        The operation of the thread starts.
    stalls : Out(vector_stalls_layout()).array(threads)
    """

    valid: Signal
    kinds: Any
    operands: Signal
    accumulator: Signal
    result: Signal
    order: Signal
    unit: Signal
    no_loads: Signal
    chosen: Any
    taken: Signal
    starts: Signal
    stalls: Any

    def __init__(self, params: NodeParams, *, stay: int = 1):
        self._threads, self._stay = params.threads, stay
        conditions = ("valid", "operands", "accumulator", "result", "order", "unit")
        super().__init__(
            {name: In(params.threads) for name in conditions}
            | {
                "kinds": In(VectorKind).array(params.threads),
                "no_loads": In(1),
                "chosen": Out(ChosenOperation).array(_SLOTS),
                "taken": In(_SLOTS),
                "starts": Out(params.threads),
                "stalls": Out(vector_stalls_layout()).array(params.threads),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        ready, late = Signal(self._threads), Signal(self._threads)
        eligible = Signal(self._threads)
        m.d.comb += [
            ready.eq(self.valid & self.operands & self.accumulator & self.result & self.order),
            eligible.eq(ready & (self.unit | late)),
        ]
        matrix, slot_1, loads, stores, slot_0 = (
            Cat(kind[name] for kind in self.kinds)
            for name in ("matrix", "slot_1", "loads", "stores", "slot_0")
        )
        for_1 = eligible & slot_1 & ~Mux(self.no_loads, loads, 0)
        choice_1 = ThreadChoice(self._threads, stay=self._stay)
        self._choose(m, 1, choice_1, [for_1 & late, for_1 & matrix, for_1])
        taken_by_1 = Signal(self._threads)
        m.d.comb += taken_by_1.eq(Mux(choice_1.valid, 1 << choice_1.chosen, 0))
        for_0 = eligible & slot_0 & ~taken_by_1 & ~Mux((taken_by_1 & stores).any(), stores, 0)
        choice_0 = ThreadChoice(self._threads)
        self._choose(m, 0, choice_0, [for_0 & late, for_0])
        m.d.comb += self.starts.eq(
            Mux(self.taken[0], 1 << choice_0.chosen, 0)
            | Mux(self.taken[1], 1 << choice_1.chosen, 0)
        )
        for thread in range(self._threads):
            waited = Signal(range(_PATIENCE + 1), name=f"waited_{thread}")
            m.d.comb += late[thread].eq(waited == _PATIENCE)
            with m.If(self.starts[thread] | ~self.valid[thread]):
                m.d.sync += waited.eq(0)
            with m.Elif(ready[thread] & ~late[thread]):
                m.d.sync += waited.eq(waited + 1)
            self._explain(m, thread)
        return m

    def _choose(self, m: Module, slot: int, choice: ThreadChoice, ranks: list[Value]) -> None:
        """Choose a thread of the first set that is not empty."""
        m.submodules[f"choice_{slot}"] = choice
        *preferred, requests = ranks
        for rank in reversed(preferred):
            requests = Mux(rank.any(), rank, requests)
        m.d.comb += [
            choice.requests.eq(requests),
            choice.taken.eq(self.taken[slot]),
            self.chosen[slot].valid.eq(choice.valid),
            self.chosen[slot].thread.eq(choice.chosen),
        ]

    def _explain(self, m: Module, thread: int) -> None:
        """Say why the operation of a thread does not start."""
        stalls = self.stalls[thread]
        was_chosen = Cat(chosen.valid & (chosen.thread == thread) for chosen in self.chosen).any()
        with m.If(self.valid[thread] & ~self.starts[thread]):
            with m.If(~self.operands[thread]):
                m.d.comb += stalls.vector_operand.eq(1)
            with m.Elif(~self.accumulator[thread]):
                m.d.comb += stalls.accumulator.eq(1)
            with m.Elif(~self.result[thread]):
                m.d.comb += stalls.result.eq(1)
            with m.Elif(~self.order[thread] | (was_chosen & self.unit[thread])):
                m.d.comb += stalls.vector_bank.eq(1)
            with m.Else():
                m.d.comb += stalls.vector_slot.eq(1)
