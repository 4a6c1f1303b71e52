"""The core of a training node."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from .execute import Execute
from .frontend import Frontend
from .interfaces import (
    ControlSignature,
    RetireSignature,
    SramReadSignature,
    SramWriteSignature,
    ThreadSignature,
)
from .issue import Issue
from .thread_sequencer import ThreadSequencer
from .vector_unit import VectorUnit
from .writeback import Writeback

__all__ = ["Core"]


class Core(wiring.Component):
    """Execute RV64IM_Zicsr_Zifencei and Xd1: one thread, in order, one instruction a cycle.

    Fetch, issue, execution and write-back take a cycle each; vector and matrix instructions leave
    the execution stage for the vector unit. `docs/pipeline.md` has the diagram and the latency of
    every unit.

    Golden twin: `d1_golden.node.GoldenNode`.

    Parameters
    ----------
    params
        The preset; one thread.
    gated
        Whether idle units stand in gated clock domains (`ClockGate`).

    Members
    -------
    thread : In(ThreadSignature())
    control : Out(ControlSignature())
    r_fetch, r_scalar, r_vector : Out(SramReadSignature(params))
    w_scalar, w_vector : Out(SramWriteSignature(params))
    retire : Out(RetireSignature())

    Raises
    ------
    ValueError
        If `params` has more than one thread.
    """

    thread: Any
    control: Any
    r_fetch: Any
    r_scalar: Any
    r_vector: Any
    w_scalar: Any
    w_vector: Any
    retire: Any

    def __init__(self, params: NodeParams, *, gated: bool = True):
        if params.threads != 1:
            raise ValueError(f"threads must be 1 in this core, not {params.threads!r}")
        self._params = params
        self._gated = gated
        super().__init__(
            {
                "thread": In(ThreadSignature()),
                "control": Out(ControlSignature()),
                "r_fetch": Out(SramReadSignature(params)),
                "r_scalar": Out(SramReadSignature(params)),
                "r_vector": Out(SramReadSignature(params)),
                "w_scalar": Out(SramWriteSignature(params)),
                "w_vector": Out(SramWriteSignature(params)),
                "retire": Out(RetireSignature()),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        thread = self.thread
        m.submodules.sequencer = sequencer = ThreadSequencer()
        m.submodules.frontend = frontend = Frontend(self._params)
        m.submodules.issue = issue = Issue(self._params)
        m.submodules.execute = execute = Execute(self._params)
        m.submodules.writeback = writeback = Writeback()
        m.submodules.vector_unit = vector_unit = VectorUnit(self._params, gated=self._gated)

        # The pipeline.
        wiring.connect(m, frontend.o, issue.i)
        wiring.connect(m, issue.o, execute.i)
        wiring.connect(m, execute.o_vector, vector_unit.i)
        wiring.connect(m, writeback.retire, wiring.flipped(self.retire))
        m.d.comb += [
            writeback.completed.eq(execute.completed),
            issue.executing.eq(execute.result),
            issue.writing.eq(writeback.result),
        ]
        # Where the thread goes on.
        m.d.comb += [
            frontend.redirect.eq(execute.redirect | thread.start),
            frontend.target.eq(Mux(thread.start, thread.pc, execute.target)),
            frontend.invalidate.eq(execute.invalidate | thread.start),
            frontend.halt.eq(sequencer.halt),
            issue.flush.eq(execute.redirect | sequencer.halt),
            issue.start.eq(thread.start),
            issue.argument.eq(thread.arg),
            execute.running.eq(thread.running),
        ]
        self._connect_sequencer(m, sequencer, issue, execute, vector_unit)
        self._connect_memory(m, frontend, execute, vector_unit, writeback)
        return m

    def _connect_sequencer(
        self,
        m: Module,
        sequencer: ThreadSequencer,
        issue: Issue,
        execute: Execute,
        vector_unit: VectorUnit,
    ) -> None:
        """Connect start, stop and events of the thread."""
        thread = self.thread
        m.d.comb += [
            sequencer.stops.eq(execute.stops),
            sequencer.trap.eq(execute.trap),
            sequencer.quiet.eq(~issue.o.valid & ~execute.completed.valid & ~vector_unit.busy),
            thread.instruction_retired.eq(self.retire.valid),
            thread.matrix_step.eq(vector_unit.matrix_step),
            thread.issue_stall.eq(issue.stalled),
        ]
        for name in ("start", "stop"):
            m.d.comb += getattr(sequencer.thread, name).eq(getattr(thread, name))
        for name in ("running", "stopped_status", "cause", "fault_pc", "fault_value"):
            m.d.comb += getattr(thread, name).eq(getattr(sequencer.thread, name))

    def _connect_memory(
        self,
        m: Module,
        frontend: Frontend,
        execute: Execute,
        vector_unit: VectorUnit,
        writeback: Writeback,
    ) -> None:
        """Connect the ports of SRAM and control block."""
        wiring.connect(m, execute.control, wiring.flipped(self.control))
        ports = {
            "r_fetch": frontend.sram,
            "r_scalar": execute.sram_read,
            "r_vector": vector_unit.sram_read,
            "w_scalar": execute.sram_write,
            "w_vector": vector_unit.sram_write,
        }
        waits = Signal(len(ports))
        for index, (name, port) in enumerate(ports.items()):
            wiring.connect(m, port, wiring.flipped(getattr(self, name)))
            m.d.comb += waits[index].eq(port.request.valid & ~port.request.ready)
        m.d.comb += [
            writeback.line.eq(self.r_scalar.data),
            self.thread.bank_conflict.eq(waits.any()),
        ]
