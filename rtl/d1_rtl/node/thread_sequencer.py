"""Start and stop of a thread, on the core's side."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .interfaces import ThreadSignature, ThreadStatus
from .micro_op import Trap, TrapCause

__all__ = ["ThreadSequencer"]


class ThreadSequencer(wiring.Component):
    """Keep a thread running until it is told to stop, and stopped until all it did is done.

    `running` rises in the cycle after `thread.start`. After an exception that stops the thread, or
    a STOP, `halt` keeps new instructions out, and `running` falls in the cycle after `quiet` was
    high. An exception that occurs while a STOP is waiting for that is the one reported.

    Golden twin: start and stop in the golden node.

    Members
    -------
    thread : In(ThreadSignature())
        The event outputs are driven elsewhere in the core.
    stops : In(1)
    trap : In(Trap)
    quiet : In(1)
    halt : Out(1)
    """

    #: The control block's side.
    thread: In(ThreadSignature())
    #: An exception stops the thread.
    stops: In(1)
    #: That exception.
    trap: In(Trap)
    #: Nothing that was issued is under way.
    quiet: In(1)
    #: Fetch and issue nothing.
    halt: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        thread = self.thread
        status = Signal(ThreadStatus)
        trap: Any = Signal(Trap)
        m.d.comb += [
            thread.stopped_status.eq(status),
            thread.cause.eq(trap.cause),
            thread.fault_pc.eq(trap.pc),
            thread.fault_value.eq(trap.value),
        ]
        with m.FSM() as fsm:
            with m.State("STOPPED"), m.If(thread.start):
                m.next = "RUNNING"
            with m.State("RUNNING"):
                m.d.comb += self.halt.eq(self.stops)
                with m.If(thread.stop):
                    m.d.sync += status.eq(ThreadStatus.IDLE)
                    m.next = "STOPPING"
                with m.If(self.stops):
                    m.next = "STOPPING"
            with m.State("STOPPING"):
                m.d.comb += self.halt.eq(1)
                with m.If(self.quiet):
                    m.next = "STOPPED"
        m.d.comb += thread.running.eq(~fsm.ongoing("STOPPED"))
        with m.If(self.stops):
            m.d.sync += [trap.eq(self.trap), status.eq(ThreadStatus.FAULTED)]
            with m.If(self.trap.cause == TrapCause.ENVIRONMENT_CALL):
                m.d.sync += status.eq(ThreadStatus.HALTED)
        return m
