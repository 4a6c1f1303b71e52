"""What is wrong with a request whatever it is for."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.params import LINE_BYTES

from .interfaces import Opcode

__all__ = ["is_malformed", "register_masks"]

_OFFSET_BITS = (LINE_BYTES - 1).bit_length()
#: Bits of an address that are not zero: a place and a local offset.
_ADDRESS_BITS = 56
_PLACE_BITS = _ADDRESS_BITS - LOCAL_BITS


def register_masks(mask: Value) -> list[Value]:
    """Return the bits of a byte mask in groups, one for each 64-bit word of a line."""
    return [mask[n : n + 8] for n in range(0, LINE_BYTES, 8)]


def is_malformed(m: Module, request: data.View) -> Signal:
    """Return whether opcode, flags, mask and address of a request do not go together.

    Combinational. docs/packets.md has the rules; those on the place and on the line that is
    addressed are its receiver's. Golden twin: `d1_golden.node.packet_door`.
    """
    address, flags = request.address, request.flags
    is_control = address[LOCAL_BITS - 1]
    partial = Cat(byte.any() & ~byte.all() for byte in register_masks(request.mask)).any()
    unfit = Signal()
    with m.Switch(request.opcode):
        with m.Case(Opcode.READ):
            m.d.comb += unfit.eq(flags.as_value().any())
        with m.Case(Opcode.WRITE):
            m.d.comb += unfit.eq(is_control & partial)
        with m.Case(Opcode.POST):
            m.d.comb += unfit.eq(~flags.post | address[:LOCAL_BITS].any())
        with m.Case(Opcode.BROADCAST):
            m.d.comb += unfit.eq(flags.acknowledge | request.mask[_PLACE_BITS:].any())
        with m.Default():
            m.d.comb += unfit.eq(1)
    malformed = Signal()
    m.d.comb += malformed.eq(
        unfit
        | flags.zero
        | (flags.semaphore.any() & ~flags.post)
        | address[_ADDRESS_BITS:].any()
        | address[:_OFFSET_BITS].any()
    )
    return malformed
