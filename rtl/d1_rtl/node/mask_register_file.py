"""Mask register file."""

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..multi_write_memory import multi_write_memory
from .interfaces import THREAD_BITS

__all__ = ["MaskNumber", "MaskRegisterFile", "mask_write_layout"]

_REGISTERS = 8
_READ_PORTS = ("a", "b", "memory")
_WRITE_PORTS = ("write_0", "write_1")


class MaskNumber(data.Struct):
    """A mask register of a thread."""

    number: range(_REGISTERS)
    thread: THREAD_BITS


def mask_write_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of a write: with `valid`, `value` goes to a thread's register."""
    return data.StructLayout({"valid": 1, "register": MaskNumber, "value": params.fp32_lanes})


class MaskRegisterFile(wiring.Component):
    """The registers m0..m7 of every thread; golden twin: `m` of the golden node.

    All are zero at power-up and keep their values through a reset. Reads are combinational and
    show the writes of all earlier cycles: three reads and two writes per cycle. Both writes may be
    to one thread, but never to one register of it: whoever issues instructions sees to that.

    Parameters
    ----------
    params
        Threads and lanes.

    Members
    -------
    number_a, number_b, number_memory : In(MaskNumber)
        Registers to read: two operands, and the one that masks an access to memory.
    a, b, memory : Out(fp32_lanes)
        Their values, in the same cycle; bit n belongs to lane n.
    write_0, write_1 : In(mask_write_layout(params))

    """

    number_a: Any
    number_b: Any
    number_memory: Any
    a: Any
    b: Any
    memory: Any
    write_0: Any
    write_1: Any

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {f"number_{name}": In(MaskNumber) for name in _READ_PORTS}
            | {name: Out(params.fp32_lanes) for name in _READ_PORTS}
            | {name: In(mask_write_layout(params)) for name in _WRITE_PORTS}
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        registers = multi_write_memory(
            m,
            "registers",
            shape=self._params.fp32_lanes,
            depth=_REGISTERS * self._params.threads,
            writes=len(_WRITE_PORTS),
            platform=platform,
        )

        def address(register: Any) -> Any:
            thread_bits = (self._params.threads - 1).bit_length()
            return Cat(register.number, register.thread[:thread_bits])

        for name in _WRITE_PORTS:
            write, port = getattr(self, name), registers.write_port()
            m.d.comb += [
                port.en.eq(write.valid),
                port.addr.eq(address(write.register)),
                port.data.eq(write.value),
            ]
        for name in _READ_PORTS:
            port = registers.read_port(domain="comb")
            m.d.comb += [
                port.addr.eq(address(getattr(self, f"number_{name}"))),
                getattr(self, name).eq(port.data),
            ]
        return m
