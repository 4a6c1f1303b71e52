"""Control and status registers of a thread."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.csr import CSRS, Csr
from d1_golden.params import NodeParams

from .micro_op import CsrOp, Trap

__all__ = ["CsrFile"]

_MIE, _MPIE = 3, 7
#: Read-only views of other CSRs.
_VIEWS = {"cycle": "mcycle", "instret": "minstret"}
_COUNTER_BITS = 32


class CsrFile(wiring.Component):
    """Hold the CSRs of `d1_golden.csr.CSRS`; golden twin: `csr` of the golden node.

    Reads are combinational; what an instruction writes is read from the next cycle on. A CSR
    instruction sees the effects of all instructions before it, because every CSR changes in the
    stage in which CSR instructions read. Values persist from one start of the thread to the next.

    Parameters
    ----------
    params
        Lanes that a stochastic conversion draws random bits for.
    thread
        Number of the thread in its node.

    Members
    -------
    number : In(12)
    op : In(CsrOp)
    operand : In(64)
    writes : In(1)
    commit : In(1)
    value : Out(64)
    illegal : Out(1)
    running : In(1), retired : In(4)
    draws_random : In(1)
    take_trap : In(1)
    trap : In(Trap)
    mret : In(1)
    mtvec, mepc, mseed : Out(64)
    mcfp8a, mcfp8b, mcfp8c : Out(7)
    mround : Out(1)

    Ref: The RISC-V Instruction Set Manual, Volume II: Privileged Architecture, chapter 3.
    """

    #: Number of the CSR that a CSR instruction names.
    number: In(12)
    #: What the instruction does with it, with what operand, and whether it writes at all.
    op: In(CsrOp)
    operand: In(64)
    writes: In(1)
    #: The write takes place.
    commit: In(1)
    #: The CSR before the instruction.
    value: Out(64)
    #: There is no such CSR, or it is read only and would be written.
    illegal: Out(1)
    #: Count a cycle; count instructions.
    running: In(1)
    retired: In(4)
    #: A stochastic conversion takes `mseed`.
    draws_random: In(1)
    #: Enter the trap handler with `trap`, or leave it.
    take_trap: In(1)
    trap: In(Trap)
    mret: In(1)
    #: CSRs that other units use.
    mtvec: Out(64)
    mepc: Out(64)
    mseed: Out(64)
    mcfp8a: Out(7)
    mcfp8b: Out(7)
    mcfp8c: Out(7)
    mround: Out(1)

    def __init__(self, params: NodeParams, *, thread: int = 0):
        if not 0 <= thread < params.threads:
            raise ValueError(f"thread must be in 0..{params.threads - 1}, not {thread!r}")
        self._params = params
        self._thread = thread
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        registers = {
            csr.name: Signal(64, init=self._thread if csr.name == "mhartid" else csr.reset,
                             name=csr.name)
            for csr in CSRS if csr.name not in _VIEWS
        }  # fmt: skip
        self._side_effects(m, registers)
        new = Signal(64)
        with m.Switch(self.op):
            with m.Case(CsrOp.CSRRS):
                m.d.comb += new.eq(self.value | self.operand)
            with m.Case(CsrOp.CSRRC):
                m.d.comb += new.eq(self.value & ~self.operand)
            with m.Default():
                m.d.comb += new.eq(self.operand)
        with m.Switch(self.number):
            for csr in CSRS:
                register = registers[_VIEWS.get(csr.name, csr.name)]
                with m.Case(csr.number):
                    m.d.comb += [
                        self.value.eq(register),
                        self.illegal.eq(self.writes & csr.read_only),
                    ]
                    if csr.write_mask:
                        # Behind the side effects: what an instruction writes comes last.
                        with m.If(self.commit & self.writes):
                            m.d.sync += register.eq(_masked(csr, new))
            with m.Default():
                m.d.comb += self.illegal.eq(1)
        m.d.comb += [
            getattr(self, name).eq(registers[name])
            for name in ("mtvec", "mepc", "mseed", "mcfp8a", "mcfp8b", "mcfp8c", "mround")
        ]
        return m

    def _side_effects(self, m: Module, registers: dict[str, Signal]) -> None:
        """Change the CSRs that change by themselves."""
        mstatus, mseed = registers["mstatus"], registers["mseed"]
        m.d.sync += [
            registers["mcycle"].eq(registers["mcycle"] + self.running),
            registers["minstret"].eq(registers["minstret"] + self.retired),
        ]
        with m.If(self.draws_random):
            counter = mseed[:_COUNTER_BITS]
            m.d.sync += counter.eq(counter + self._params.fp32_lanes)
        with m.If(self.take_trap):
            m.d.sync += [
                registers["mepc"].eq(self.trap.pc),
                registers["mcause"].eq(self.trap.cause),
                registers["mtval"].eq(self.trap.value),
                mstatus[_MPIE].eq(mstatus[_MIE]),
                mstatus[_MIE].eq(0),
            ]
        with m.Elif(self.mret):
            m.d.sync += [mstatus[_MIE].eq(mstatus[_MPIE]), mstatus[_MPIE].eq(1)]


def _masked(csr: Csr, new: Value) -> Value:
    """Return `new` with the bits that cannot be written at their reset value."""
    return new & csr.write_mask | csr.reset & ~csr.write_mask & (1 << 64) - 1
