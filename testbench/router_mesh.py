"""A mesh of routers in RTL under traffic: one Verilated router, many instances.

Before each cycle every router's outputs are copied to its neighbours' inputs, then each is
evaluated alone; that is exact because all outputs come from registers. The nodes are queues of
packets that send one by one, and sinks that stall at random, as in the golden mesh.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Collection
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from d1_golden.fabric.mesh import DELIVERY_DTYPE
from d1_golden.fabric.place import Place
from d1_golden.fabric.ports import Port
from d1_golden.fabric.router import neighbours, opposite_ports
from d1_golden.fabric.routing import Plane
from d1_golden.fabric.traffic import Traffic
from d1_golden.memory_map import LOCAL_BITS, ROUTE_TABLE_REGISTERS
from d1_golden.packet import Opcode
from d1_golden.params import LINE_BYTES
from d1_rtl.fabric.interfaces import port_names
from d1_rtl.fabric.router import Router
from d1_rtl.fabric.routing_table import RoutingTable
from d1_rtl.node.interfaces import packet_layout
from d1_rtl.sim import cache as build_cache
from d1_rtl.sim.design import Design
from d1_rtl.sim.model import VerilatedModel, verilate
from d1_rtl.sim.native import open_library
from d1_rtl.sim.verilator import check_compiler
from numpy.typing import NDArray

__all__ = ["RouterMesh", "TabledRouter", "narrow_layout"]

_STREAM_PORTS = ("payload", "valid", "ready")
_SOURCE = "router_mesh.cpp"
_FLAGS = ("-std=gnu++20", "-O2", "-fPIC", "-shared", "-fno-gnu-unique")


def narrow_layout() -> data.StructLayout:
    """Return the layout of a packet with 64 bits of data, and without what no router looks at."""
    members = packet_layout().members
    kept = {name: members[name] for name in ("opcode", "source", "address", "mask")}
    return data.StructLayout({"data": 64, "address": kept.pop("address")} | kept)


class TabledRouter(wiring.Component):
    """A router with a table of its own that is written directly.

    Parameters
    ----------
    plane, layout, depth
        As of `Router`.

    Members
    -------
    i_..., o_..., place, passed, idle
        As of `Router`.
    register : In(6)
    write : In(1)
    write_data : In(64)
        As of `RoutingTable`.
    """

    def __init__(self, plane: Plane, layout: data.StructLayout, *, depth: int = 8):
        self._router = Router(plane, layout=layout, depth=depth)
        members = dict(self._router.signature.members)
        del members["routing"]
        super().__init__(
            members
            | {
                "register": In(range(ROUTE_TABLE_REGISTERS)),
                "write": In(1),
                "write_data": In(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Connect both."""
        m = Module()
        m.submodules.router = router = self._router
        m.submodules.table = table = RoutingTable(len(Port))
        for name, member in router.signature.members.items():
            if name == "routing":
                continue
            if member.is_port:
                inner, outer = getattr(router, name), getattr(self, name)
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
            elif name.startswith("i_"):
                wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(router, name))
            else:
                wiring.connect(m, getattr(router, name), wiring.flipped(getattr(self, name)))
        for port in Port:
            m.d.comb += [
                table.index[port].eq(router.routing.index[port]),
                router.routing.entry[port].eq(table.entry[port]),
            ]
        for name in ("register", "write", "write_data"):
            m.d.comb += getattr(table, name).eq(getattr(self, name))
        return m


def _packet_dtype() -> np.dtype[np.void]:
    """Return the numpy type of a packet of `narrow_layout` as a simulator keeps it."""
    names, formats = [], []
    for name, field in narrow_layout():
        names.append(name)
        formats.append(f"<u{field.width // 8}")
    words = -(-narrow_layout().size // 32)
    return np.dtype(
        {
            "names": names,
            "formats": formats,
            "offsets": [field.offset // 8 for _, field in narrow_layout()],
            "itemsize": 4 * words,
        }
    )


class RouterMesh:
    """A mesh of routers of one plane in RTL; the twin of `d1_golden.fabric.mesh.MeshModel`.

    Parameters
    ----------
    columns, rows, entries, dead, rectangles, depth
        As of `MeshModel`.
    plane
        Whether packets are requests or replies; replies have no rectangles.

    """

    def __init__(
        self,
        columns: int,
        rows: int,
        *,
        plane: Plane = Plane.REQUEST,
        entries: NDArray[np.uint8] | None = None,
        dead: Collection[tuple[int, int]] = (),
        rectangles: Collection[tuple[tuple[int, int], tuple[int, int]]] = (),
        depth: int = 8,
    ):
        if rectangles and plane is Plane.REPLY:
            raise ValueError(f"rectangles must be empty in the reply plane, not {rectangles!r}")
        self._plane, self._rectangles = plane, list(rectangles)
        self._places = [Place(n % columns + 1, n // columns + 1) for n in range(columns * rows)]
        gone = np.array([place[:2] in set(dead) for place in self._places])
        self._neighbour = neighbours(columns, rows, gone)
        model = _model(plane, depth)
        self._index = {port.name: index for index, port in enumerate(model.ports)}
        self._router = open_library(model, _ROUTER_SIGNATURES)
        self._mesh = _open_driver()
        self._handles = np.array(
            [0 if dead else self._router.d1_new() for dead in gone], dtype=np.uint64
        )
        streams = [f"{way}_{name}" for way in "io" for name in port_names()]
        ports = [f"{name}__{part}" for name in streams for part in _STREAM_PORTS]
        self._ports = np.array([self._index[name] for name in (*ports, "rst")], np.uint32)
        self._entries = entries

    def close(self) -> None:
        """Free the routers. Nothing else can be called afterwards."""
        for handle in self._handles[self._handles != 0]:
            self._router.d1_delete(int(handle))
        self._handles[:] = 0

    def run(
        self, traffic: Traffic, cycles: int, *, stall: float = 0.0, seed: int = 0
    ) -> tuple[NDArray[np.void], NDArray[np.uint64], int]:
        """Run from a reset until all is delivered, as `MeshModel.run` does with `drain`.

        Returns
        -------
        deliveries
            As `MeshRun.deliveries`.
        passed
            As `MeshRun.passed`.
        cycles
            As `MeshRun.cycles`.

        Raises
        ------
        TimeoutError
            If something is not delivered after `cycles`.
        AssertionError
            If a packet that was delivered is not what was sent, to the bit.

        """
        sent = self._packets(traffic)
        copies = np.ones(len(self._places) + len(self._rectangles), np.int64)
        for k, (near, far) in enumerate(self._rectangles):
            copies[len(self._places) + k] = (far[0] - near[0] + 1) * (far[1] - near[1] + 1)
        used = (traffic.cycle != Traffic.NEVER) & (self._handles != 0)[:, None]
        expected = int(copies[traffic.place[used]].sum())
        at = np.zeros((expected, 2), np.int64)
        taken = np.zeros(expected, sent.dtype)
        passed = np.zeros((len(self._places), len(Port)), np.uint64)
        count = ctypes.c_uint64()
        self._reset()
        cycle = np.ascontiguousarray(traffic.cycle)
        opposite = opposite_ports()
        now = self._mesh.mesh_run(
            *(self._handles.ctypes.data, len(self._places), self._ports.ctypes.data),
            *(self._neighbour.ctypes.data, opposite.ctypes.data, sent.itemsize),
            *(sent.ctypes.data, cycle.ctypes.data, sent.shape[1], cycles),
            *(round(stall * 65536), seed, expected),
            *(at.ctypes.data, taken.ctypes.data, ctypes.byref(count), passed.ctypes.data),
        )
        if count.value != expected:
            raise TimeoutError(
                f"waited {cycles} cycles for {expected} packets, of which {count.value} came"
            )
        deliveries = np.zeros(expected, DELIVERY_DTYPE)
        deliveries["cycle"], deliveries["place"] = at.T
        deliveries["source"] = taken["data"] >> np.uint64(32)
        deliveries["number"] = taken["data"] & np.uint64(0xFFFF_FFFF)
        assert (deliveries["source"] < len(sent)).all()
        assert (deliveries["number"] < sent.shape[1]).all()
        assert (taken == sent[deliveries["source"], deliveries["number"]]).all()
        return deliveries, passed, int(now)

    def _packets(self, traffic: Traffic) -> NDArray[np.void]:
        """Return the packets of traffic; data tells them apart, and what else is free is filled."""
        places, most = traffic.place.shape
        packets = np.zeros((places, most), _packet_dtype())
        near = np.array(
            [place.bits for place in self._places]
            + [Place(*near).bits for near, _ in self._rectangles],
            np.uint64,
        )
        far = np.array([0] * places + [Place(*far).bits for _, far in self._rectangles], np.uint64)
        source = np.array([place.bits for place in self._places], np.uint32)[:, None]
        number = (np.arange(places)[:, None] << 32 | np.arange(most)).astype(np.uint64)
        to = near[traffic.place]
        packets["data"] = number
        packets["opcode"] = np.where(traffic.place < places, Opcode.WRITE, Opcode.BROADCAST)
        if self._plane is Plane.REQUEST:
            line = number % np.uint64(256) * np.uint64(LINE_BYTES)
            packets["address"] = to << np.uint64(LOCAL_BITS) | line
            packets["source"] = source
            packets["mask"] = np.where(traffic.place < places, ~number, far[traffic.place])
        else:
            packets["source"], packets["address"], packets["mask"] = to, number, ~number
        return packets

    def _reset(self) -> None:
        """Reset the routers and write their places and tables."""
        for place, handle in zip(self._places, map(int, self._handles), strict=True):
            if handle == 0:
                continue
            self._mesh.mesh_reset(handle, self._ports.ctypes.data)
            self._set(handle, "place", place.bits)
            self._set(handle, "i_control__valid", 0)
            if self._entries is not None:
                self._write_table(handle, self._entries[self._places.index(place)])

    def _write_table(self, handle: int, entries: NDArray[np.uint8]) -> None:
        """Write the table of a router; `entries` are by row and column."""
        for register, nibbles in enumerate(entries.reshape(-1, 16)):
            value = sum(int(nibble) << 4 * n for n, nibble in enumerate(nibbles))
            for port, number in (("register", register), ("write_data", value), ("write", 1)):
                self._set(handle, port, number)
            self._router.d1_step(handle, 1)
        self._set(handle, "write", 0)

    def _set(self, handle: int, port: str, value: int) -> None:
        words = np.frombuffer(value.to_bytes(8, "little"), np.uint32)
        self._router.d1_set(handle, self._index[port], words.ctypes.data)


@cache
def _model(plane: Plane, depth: int) -> VerilatedModel:
    """Return the router, compiled."""
    router = TabledRouter(plane, narrow_layout(), depth=depth)
    return verilate(Design.of(router, name=f"router_{plane.name.lower()}_{depth}"))


_POINTER, _U32, _U64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
_ROUTER_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "d1_new": (_POINTER, ()),
    "d1_delete": (None, (_POINTER,)),
    "d1_set": (None, (_POINTER, _U32, _POINTER)),
    "d1_step": (None, (_POINTER, _U64)),
}
_MESH_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "mesh_reset": (None, (_POINTER, _POINTER)),
    "mesh_run": (
        _U64,
        (
            *(_POINTER, _U32, _POINTER, _POINTER, _POINTER, _U32),
            *(_POINTER, _POINTER, _U64, _U64, _U32, _U64, _U64),
            *(_POINTER, _POINTER, _POINTER, _POINTER),
        ),
    ),
}


def _open_driver() -> ctypes.CDLL:
    """Return the loop over routers and cycles, compiled once."""
    text = (files(__package__) / _SOURCE).read_text()
    header = (files("d1_rtl.sim") / "native.h").read_text()

    def make(folder: Path) -> None:
        (folder / _SOURCE).write_text(text)
        (folder / "native.h").write_text(header)
        subprocess.run(["g++", *_FLAGS, "-o", "mesh.so", _SOURCE], cwd=folder, check=True)

    folder = build_cache.build("mesh", "mesh", [text, header, check_compiler(), *_FLAGS], make)
    library = ctypes.CDLL(str(folder / "mesh.so"))
    for function, (result, arguments) in _MESH_SIGNATURES.items():
        entry = getattr(library, function)
        entry.restype, entry.argtypes = result, arguments
    return library
