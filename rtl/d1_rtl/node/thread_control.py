"""The control registers of one thread."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import Command, ThreadRegister

from .interfaces import ThreadSignature, ThreadStatus, register_line

__all__ = ["ThreadControl"]


class ThreadControl(wiring.Component):
    """Starts and stops one thread and shows how it fares.

    A write has its effect in the next cycle: START raises `thread.start` for that cycle, and
    `active` and STATUS tell that the thread is running from then on, without a gap before the
    core's `running`. `registers` is what the registers read in the current cycle.

    Golden twin: `write_control` of `d1_golden.node.control_block`.

    Members
    -------
    write : In(8)
        Bit n set: register n (`ThreadRegister`) takes its word of `data`.
    data : In(8 x 64)
        What is written.
    registers : Out(8 x 64)
        What the registers read.
    thread : Out(ThreadSignature())
        The core's side of the thread.
    active : Out(1)
        The thread is running or about to.

    """

    write: Signal
    data: Any
    registers: Any
    thread: Any
    active: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "write": In(8),
                "data": In(register_line()),
                "registers": Out(register_line()),
                "thread": Out(ThreadSignature()),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        thread = self.thread
        pc, arg, cycles = Signal(64), Signal(64), Signal(64)
        start, stop = Signal(), Signal()
        ran = Signal()  # since reset
        m.d.comb += [
            thread.pc.eq(pc),
            thread.arg.eq(arg),
            thread.start.eq(start),
            thread.stop.eq(stop),
            self.active.eq(start | thread.running),
        ]

        with m.If(self.write[ThreadRegister.PC]):
            m.d.sync += pc.eq(self.data[ThreadRegister.PC])
        with m.If(self.write[ThreadRegister.ARG]):
            m.d.sync += arg.eq(self.data[ThreadRegister.ARG])
        m.d.sync += [start.eq(0), stop.eq(0)]
        with m.If(self.write[ThreadRegister.COMMAND]):
            command = self.data[ThreadRegister.COMMAND]
            m.d.sync += [
                start.eq((command == Command.START) & ~self.active),
                stop.eq((command == Command.STOP) & self.active),
            ]
        with m.If(start):
            m.d.sync += [cycles.eq(0), ran.eq(1)]
        with m.Elif(thread.running):
            m.d.sync += cycles.eq(cycles + 1)

        self._read(m, pc, arg, cycles, ran)
        return m

    def _read(self, m: Module, pc: Signal, arg: Signal, cycles: Signal, ran: Signal) -> None:
        """Drive `registers`."""
        thread, registers = self.thread, self.registers
        status = Signal(ThreadStatus)
        with m.If(self.active):
            m.d.comb += status.eq(ThreadStatus.RUNNING)
        with m.Elif(ran):
            m.d.comb += status.eq(thread.stopped_status)
        m.d.comb += [
            registers[ThreadRegister.PC].eq(pc),
            registers[ThreadRegister.ARG].eq(arg),
            registers[ThreadRegister.STATUS].eq(status),
            registers[ThreadRegister.CYCLES].eq(cycles),
        ]
        with m.If((status == ThreadStatus.HALTED) | (status == ThreadStatus.FAULTED)):
            m.d.comb += [
                registers[ThreadRegister.CAUSE].eq(thread.cause),
                registers[ThreadRegister.FAULT_PC].eq(thread.fault_pc),
                registers[ThreadRegister.FAULT_VALUE].eq(thread.fault_value),
            ]
