"""The core of a training node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import StallCause
from d1_golden.params import NodeParams

from .barrier import Barrier
from .execute import Execute
from .frontend import Frontend
from .interfaces import (
    ControlSignature,
    CoreEventsSignature,
    RetireSignature,
    SemaphoreEvent,
    SramReadSignature,
    SramWriteSignature,
    ThreadSignature,
)
from .issue import Issue
from .link_unit import link_operation_layout, link_result_layout
from .thread_sequencer import ThreadSequencer
from .transfer_engine import transfer_operation_layout
from .vector_unit import VectorUnit

__all__ = ["READERS", "WRITERS", "Core"]

#: Ports of the core that read SRAM, `r_<name>`, and that write it, `w_<name>`.
READERS = ("fetch", "scalar", "vector_0", "vector_1")
WRITERS = ("scalar", "vector")


class Core(wiring.Component):
    """Execute RV64IM_Zicsr_Zifencei and Xd1: several threads, in order each, six issue slots.

    Fetch, issue and execution take a cycle each; vector and matrix instructions go on to a queue
    for each thread and two vector slots. `docs/pipeline.md` has the diagram and the latency of
    every unit.

    Golden twin: `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    params
        The preset.
    gated
        Whether idle units stand in gated clock domains (`ClockGate`).

    Members
    -------
    threads : In(ThreadSignature()).array(threads)
    events : Out(CoreEventsSignature(params))
    control : Out(ControlSignature())
    r_fetch, r_scalar, r_vector_0, r_vector_1 : Out(SramReadSignature(params))
    w_scalar, w_vector : Out(SramWriteSignature(params))
    transfer, link : Out(stream), link_result : In(stream)
    transfers_pending : In(threads)
    semaphores : In(semaphores), take, post : Out(SemaphoreEvent)
        Semaphores that are not 0; those that a thread takes and posts.
    retire : Out(RetireSignature(params))
    """

    threads: Any
    events: Any
    control: Any
    r_fetch: Any
    r_scalar: Any
    r_vector_0: Any
    r_vector_1: Any
    w_scalar: Any
    w_vector: Any
    transfer: Any
    link: Any
    link_result: Any
    transfers_pending: Signal
    semaphores: Signal
    take: Any
    post: Any
    retire: Any

    def __init__(self, params: NodeParams, *, gated: bool = True):
        self._params = params
        self._gated = gated
        super().__init__(
            {f"r_{name}": Out(SramReadSignature(params)) for name in READERS}
            | {f"w_{name}": Out(SramWriteSignature(params)) for name in WRITERS}
            | {
                "threads": In(ThreadSignature()).array(params.threads),
                "events": Out(CoreEventsSignature(params)),
                "control": Out(ControlSignature()),
                "transfer": Out(stream.Signature(transfer_operation_layout())),
                "link": Out(stream.Signature(link_operation_layout())),
                "link_result": In(stream.Signature(link_result_layout())),
                "transfers_pending": In(params.threads),
                "semaphores": In(params.semaphores),
                "take": Out(SemaphoreEvent),
                "post": Out(SemaphoreEvent),
                "retire": Out(RetireSignature(params)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.frontend = frontend = Frontend(self._params)
        m.submodules.issue = issue = Issue(self._params)
        m.submodules.execute = execute = Execute(self._params)
        m.submodules.vector_unit = vector_unit = VectorUnit(self._params, gated=self._gated)
        m.submodules.barrier = barrier = Barrier(self._params)

        # The pipeline.
        for names, source, sink in (
            (("available", "heads", "window"), frontend, issue),
            (("select", "take"), issue, frontend),
            (("alus", "addresses", "vectors", "repair"), issue, execute),
            (("first_entered", "entered"), issue, execute),
            (("first_ready", "address_ready", "results", "marks"), execute, issue),
            (("blocked", "divider_free"), execute, issue),
            (("redirect", "invalidate", "train"), execute, frontend),
            (("fault_pc",), frontend, execute),
            (("room", "loads_pending", "stores_pending"), vector_unit, issue),
            (("scalar_holds",), execute, vector_unit),
        ):
            for name in names:
                _drive(m, getattr(source, name), getattr(sink, name))
        for port, operation in zip(execute.vector, vector_unit.i, strict=True):
            wiring.connect(m, port, operation)
        wiring.connect(m, vector_unit.o_scalar, execute.vector_scalar)
        wiring.connect(m, vector_unit.o_blocking, execute.vector_blocking)
        m.d.comb += execute.vector_error.eq(vector_unit.hardware_error)
        wiring.connect(m, execute.retire, wiring.flipped(self.retire))
        self._run_threads(m, frontend, issue, execute, vector_unit)
        self._connect_memory(m, frontend, execute, vector_unit)
        self._synchronise(m, issue, execute, barrier)
        self._report(m, issue, execute, vector_unit)
        return m

    def _run_threads(
        self,
        m: Module,
        frontend: Frontend,
        issue: Issue,
        execute: Execute,
        vector_unit: VectorUnit,
    ) -> None:
        """Start and stop threads."""
        for index, thread in enumerate(self.threads):
            m.submodules[f"sequencer_{index}"] = sequencer = ThreadSequencer()
            wiring.connect(m, sequencer.thread, wiring.flipped(thread))
            m.d.comb += [
                sequencer.stops.eq(execute.stops[index]),
                sequencer.trap.eq(execute.trap[index]),
                sequencer.quiet.eq(
                    ~(
                        execute.busy[index]
                        | execute.blocked[index]
                        | issue.pending[index]
                        | vector_unit.busy[index]
                        | self.transfers_pending[index]
                    )
                ),
                frontend.halt[index].eq(sequencer.halt),
                issue.running[index].eq(thread.running),
                issue.flush[index].eq(execute.redirect[index].valid | sequencer.halt),
                execute.start[index].eq(thread.start),
                execute.running[index].eq(thread.running),
                execute.pc[index].eq(thread.pc),
                execute.argument[index].eq(thread.arg),
            ]

    def _connect_memory(
        self, m: Module, frontend: Frontend, execute: Execute, vector_unit: VectorUnit
    ) -> None:
        """Connect the ports of SRAM and control block."""
        wiring.connect(m, execute.control, wiring.flipped(self.control))
        ports = {
            "r_fetch": frontend.sram,
            "r_scalar": execute.sram_read,
            "r_vector_0": vector_unit.r_vector_0,
            "r_vector_1": vector_unit.r_vector_1,
            "w_scalar": execute.sram_write,
            "w_vector": vector_unit.w_vector,
        }
        waits = Signal(len(ports))
        for index, (name, port) in enumerate(ports.items()):
            wiring.connect(m, port, wiring.flipped(getattr(self, name)))
            m.d.comb += waits[index].eq(port.request.valid & ~port.request.ready)
        m.d.comb += self.events.bank_conflict.eq(waits.any())

    def _synchronise(self, m: Module, issue: Issue, execute: Execute, barrier: Barrier) -> None:
        """Connect semaphores, barrier, transfers and links."""
        wiring.connect(m, execute.transfer, wiring.flipped(self.transfer))
        wiring.connect(m, execute.link, wiring.flipped(self.link))
        wiring.connect(m, wiring.flipped(self.link_result), execute.link_result)
        m.d.comb += [
            issue.transfers_pending.eq(self.transfers_pending),
            issue.transfer_ready.eq(self.transfer.ready),
            issue.link_ready.eq(self.link.ready),
            issue.semaphores.eq(self.semaphores),
            self.take.valid.eq(issue.take_semaphore),
            self.take.number.eq(issue.semaphore),
            self.post.eq(execute.post),
            issue.release.eq(barrier.release),
        ]
        for index in range(self._params.threads):
            m.d.comb += [
                barrier.arrive[index].valid.eq(issue.arrive[index]),
                barrier.arrive[index].mask.eq(issue.thread_mask[index]),
            ]

    def _report(self, m: Module, issue: Issue, execute: Execute, vector_unit: VectorUnit) -> None:
        """Drive the events that are counted."""
        events = self.events
        m.d.comb += [
            events.issued.eq(Cat(execute.issued, vector_unit.issued)),
            events.matrix_step.eq(vector_unit.matrix_step),
            events.matrix_busy.eq(vector_unit.matrix_busy),
        ]
        for thread in range(self._params.threads):
            m.d.comb += [
                events.retired[thread].eq(execute.retired[thread]),
                events.stall[thread].eq(issue.stall[thread]),
            ]
            stalls, stall = vector_unit.stalls[thread], events.vector_stall[thread]
            for cause in StallCause:
                if cause.is_vector:
                    with m.If(stalls[cause.name.lower()]):
                        m.d.comb += [stall.valid.eq(1), stall.cause.eq(cause)]


def _drive(m: Module, source: Any, sink: Any) -> None:
    """Connect an output, or an array of them, to the input of the same name."""
    if isinstance(source, list | tuple):
        for element, other in zip(source, sink, strict=True):
            _drive(m, element, other)
    else:
        m.d.comb += sink.eq(source)
