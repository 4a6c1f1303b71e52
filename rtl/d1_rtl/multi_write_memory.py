"""Memories with several write ports, also where a technology has none."""

from typing import Any

from amaranth.hdl import Array, Module, ShapeCastable, ShapeLike, Signal
from amaranth.lib import memory

__all__ = ["LiveValueMemory", "multi_write_memory"]


def multi_write_memory(
    m: Module,
    name: str,
    *,
    shape: ShapeLike | ShapeCastable,
    depth: int,
    writes: int,
    platform: object,
    domain: str = "sync",
) -> Any:
    """Add a memory to a module, with rows of zeros and ports that are added by the caller.

    Its `write_port()` may be called `writes` times, `read_port(domain="comb")` as often as one
    likes; they are those of `amaranth.lib.memory.Memory`. Two writes of a cycle must be to
    different rows.

    For a simulator, which has no platform, it is one memory. An FPGA gets a `LiveValueMemory`,
    because its small memories have one write port, or where one is enough a memory again.

    Parameters
    ----------
    m
        The module.
    name
        What the memory is called in it.
    shape, depth
        Of a row; the number of rows.
    writes
        Number of write ports.
    platform
        As `elaborate` got it.
    domain
        Of the write ports.
    """
    if platform is None or writes == 1:
        m.submodules[name] = one = memory.Memory(shape=shape, depth=depth, init=[])
        return one
    return LiveValueMemory(m, name, shape=shape, depth=depth, writes=writes, domain=domain)


class LiveValueMemory:
    """A memory for each write port, and a table of the port that wrote each row last.

    Ref: Ch. E. LaForest, J. G. Steffan, "Efficient Multi-Ported Memories for FPGAs", FPGA 2010.
    """

    def __init__(
        self,
        m: Module,
        name: str,
        *,
        shape: ShapeLike | ShapeCastable,
        depth: int,
        writes: int,
        domain: str = "sync",
    ) -> None:
        self._domain = domain
        self._m, self._name, self._shape, self._reads = m, name, shape, 0
        self._banks: list[Any] = []
        for port in range(writes):
            bank: Any = memory.Memory(shape=shape, depth=depth, init=[])
            m.submodules[f"{name}_{port}"] = bank
            self._banks.append(bank)
        self._unused = list(enumerate(self._banks))
        self._latest = Array(
            Signal(range(writes), name=f"{name}_latest_{row}", reset_less=True)
            for row in range(depth)
        )

    def write_port(self, *, domain: str = "sync") -> Any:
        """Return a write port."""
        assert domain == self._domain, f"domain must be {self._domain}, not {domain!r}"
        port, bank = self._unused.pop(0)
        write = bank.write_port(domain=domain)
        with self._m.If(write.en):
            self._m.d[domain] += self._latest[write.addr].eq(port)
        return write

    def read_port(self, *, domain: str) -> Any:
        """Return a combinational read port."""
        assert domain == "comb", f"domain must be comb, not {domain!r}"
        ports = [bank.read_port(domain=domain) for bank in self._banks]
        read: Any = memory.ReadPort.Signature(
            addr_width=len(ports[0].addr), shape=self._shape
        ).create(path=(f"{self._name}_read_{self._reads}",))
        self._reads += 1
        for port in ports:
            self._m.d.comb += port.addr.eq(read.addr)
        with self._m.Switch(self._latest[read.addr]):
            for number, port in enumerate(ports):
                with self._m.Case(number):
                    self._m.d.comb += read.data.eq(port.data)
        return read
