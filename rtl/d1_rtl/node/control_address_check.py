"""Which addresses of the control block there are."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_golden.memory_map import CONTROL_BASE, control_lines
from d1_golden.params import LINE_BYTES, NodeParams

__all__ = ["ControlAddressCheck"]

_ADDRESS_BITS = CONTROL_BASE.bit_length() - 1
_LINE_LOG2 = LINE_BYTES.bit_length() - 1


class ControlAddressCheck(wiring.Component):
    """Tell whether there is a control register at an address, before it is accessed.

    All registers of a line that exists can be read and written; writes to read-only ones have no
    effect. Combinational.

    Golden twin: `d1_golden.memory_map.control_lines`.

    Parameters
    ----------
    params
        Which lines there are.

    Members
    -------
    address : In(23)
    exists : Out(1)
    """

    #: Offset from `memory_map.CONTROL_BASE` in bytes.
    address: In(_ADDRESS_BITS)
    #: There is a register.
    exists: Out(1)

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        line = Signal(_ADDRESS_BITS - _LINE_LOG2)
        m.d.comb += line.eq(self.address >> _LINE_LOG2)
        with m.Switch(line):
            with m.Case(*((a - CONTROL_BASE) // LINE_BYTES for a in control_lines(self._params))):
                m.d.comb += self.exists.eq(1)
        return m
