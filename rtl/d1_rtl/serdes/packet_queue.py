"""Packet queue: a deep queue in memory with registers in front."""

from typing import Any

from amaranth.hdl import Module, ShapeCastable, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..node.elastic_buffer import ElasticBuffer

__all__ = ["PacketQueue"]

#: Entries in front: one leaves, one enters and one is being read.
_FRONT = 3


class PacketQueue(wiring.Component):
    """A queue whose user keeps account of its room.

    Latency 1 cycle while it is empty, 3 through the memory; one transfer per cycle at either end,
    sustained. Outputs come straight from registers.

    Golden twin: `d1_golden.serdes.link_layer`; there one ring for memory and front.

    Parameters
    ----------
    shape
        Shape of the payload.
    depth
        Entries, at least 1. More must not be put in.

    Members
    -------
    i : In(stream.Signature(shape, always_ready=True))
    o : Out(stream.Signature(shape))

    Raises
    ------
    ValueError
        If `depth` is less than 1.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape: ShapeCastable, *, depth: int):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "i": In(stream.Signature(shape, always_ready=True)),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        m.submodules.front = front = ElasticBuffer(self._shape, depth=_FRONT)
        wiring.connect(m, front.o, wiring.flipped(self.o))
        entries: Any = memory.Memory(shape=self._shape, depth=self._depth, init=[])
        m.submodules.entries = entries
        write, read = entries.write_port(), entries.read_port()
        stored = Signal(range(self._depth + 1))  # entries in memory that have not been read
        reading = Signal()
        passes, fetches = Signal(), Signal()
        m.d.comb += [
            passes.eq(self.i.valid & (stored == 0) & ~reading & front.i.ready),
            fetches.eq((stored != 0) & (front.level + reading < _FRONT)),
            write.en.eq(self.i.valid & ~passes),
            write.data.eq(self.i.payload),
            read.en.eq(fetches),
            front.i.valid.eq(passes | reading),
            front.i.payload.eq(self.i.payload),
        ]
        with m.If(reading):
            m.d.comb += front.i.payload.eq(read.data)
        m.d.sync += [reading.eq(fetches), stored.eq(stored + write.en - fetches)]
        for port, moves in ((write, write.en), (read, fetches)):
            with m.If(moves):
                at_end = port.addr == self._depth - 1
                m.d.sync += port.addr.eq(port.addr + 1)
                with m.If(at_end):
                    m.d.sync += port.addr.eq(0)
        return m
