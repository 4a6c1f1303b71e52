"""Output port of a router: which input's packet comes next."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.fabric.ports import Port

from ..node.arbiter import RoundRobinArbiter

__all__ = ["OutputPort"]

_PORTS = len(Port)


class OutputPort(wiring.Component):
    """Takes packets of the input buffers in turn and offers each until it is taken.

    The packet itself is in the output's register of the `PacketStore`. One cycle; one packet per
    cycle, sustained. `valid` and `control_valid` come straight from registers; at most one is high.

    Golden twin: `d1_golden.fabric.router`.

    Members
    -------
    requests : In(5)
        Inputs that have a packet for this output.
    control : In(5)
        Of these, those whose packet is for the control.
    grants : Out(5)
        The one whose packet is taken in this cycle.
    valid, control_valid : Out(1)
    ready, control_ready : In(1)
        The handshake of the output's stream and of that to the control.
    busy : Out(1)
        The output has a packet. From registers.
    passed : Out(1)
        It leaves in this cycle.
    """

    requests: In(_PORTS)
    control: In(_PORTS)
    grants: Out(_PORTS)
    valid: Out(1)
    control_valid: Out(1)
    ready: In(1)
    control_ready: In(1)
    busy: Out(1)
    passed: Out(1)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.arbiter = arbiter = RoundRobinArbiter(_PORTS)
        free = Signal()
        m.d.comb += [
            self.busy.eq(self.valid | self.control_valid),
            self.passed.eq((self.valid & self.ready) | (self.control_valid & self.control_ready)),
            free.eq(~self.busy | self.passed),
            arbiter.requests.eq(Mux(free, self.requests, 0)),
            self.grants.eq(arbiter.grants),
        ]
        with m.If(free):
            m.d.sync += [
                self.valid.eq((self.grants & ~self.control).any()),
                self.control_valid.eq((self.grants & self.control).any()),
            ]
        return m
