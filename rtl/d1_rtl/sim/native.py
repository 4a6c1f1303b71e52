"""Drive a Verilated component from Python, with the clock loop in C++."""

import ctypes
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence, Set
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from d1_golden.memory_map import LOCAL_BITS
from d1_golden.packet import ACK_FLAG, PACKET_DTYPE, Opcode
from numpy.typing import NDArray

from d1_rtl.emit import Port
from d1_rtl.sim.closing import Closing
from d1_rtl.sim.design import Design
from d1_rtl.sim.model import VerilatedModel, link_driver, verilate
from d1_rtl.sim.verilator import check_compiler

__all__ = [
    "SIGNATURES",
    "NativeModel",
    "Signatures",
    "from_words",
    "open_library",
    "require_packets",
    "to_words",
]

_EXPORTS = "{ global: d1_*; local: *; };\n"
#: Result and arguments of functions of the driver in C++, by name.
Signatures = Mapping[str, tuple[Any, tuple[Any, ...]]]
#: Those that every model has.
SIGNATURES: Signatures = {
    "d1_new": (ctypes.c_void_p, ()),
    "d1_delete": (None, (ctypes.c_void_p,)),
    "d1_set": (None, (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)),
    "d1_get": (None, (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p)),
    "d1_refresh": (None, (ctypes.c_void_p,)),
    "d1_step": (None, (ctypes.c_void_p, ctypes.c_uint64)),
    "d1_run_until": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint64),
    ),
    "d1_play": (
        None,
        (
            *(ctypes.c_void_p, ctypes.c_uint64),
            *(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
            *(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
        ),
    ),
    "d1_cycle": (ctypes.c_uint64, (ctypes.c_void_p,)),
    "d1_start_trace": (
        ctypes.c_int,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64),
    ),
    "d1_stop_trace": (None, (ctypes.c_void_p,)),
    "d1_write_coverage": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_char_p)),
}


# packet.h knows a packet only by these.
assert PACKET_DTYPE.itemsize == 88
assert (Opcode.WRITE, Opcode.FAULT_REPLY, Opcode.POST, Opcode.BROADCAST) == (2, 4, 5, 6)
assert ACK_FLAG == 0x40 and LOCAL_BITS == 24
assert PACKET_DTYPE.fields is not None
_FIELDS = ("flags", "tag", "source", "address", "mask")
assert [PACKET_DTYPE.fields[name][1] for name in _FIELDS] == [1, 2, 4, 8, 16]


def require_packets(requests: NDArray[np.void]) -> NDArray[np.void]:
    """Return an array of packets as one piece of memory.

    Raises
    ------
    ValueError
        When it is no array of `d1_golden.packet.PACKET_DTYPE` with one dimension.
    """
    if requests.dtype != PACKET_DTYPE or requests.ndim != 1:
        raise ValueError(
            "requests must be an array of PACKET_DTYPE with one dimension, "
            f"not {requests.dtype} with {requests.shape!r}"
        )
    return np.ascontiguousarray(requests)


def to_words(values: Iterable[int], width: int) -> NDArray[np.uint32]:
    """Return integers of `width` bits as rows of 32-bit words, least significant first.

    The inverse of `from_words`, and what `NativeModel.play` takes for a wide port.
    """
    words = -(-width // 32)
    mask = (1 << width) - 1
    data = b"".join((value & mask).to_bytes(4 * words, "little") for value in values)
    return np.frombuffer(data, dtype="<u4").reshape(-1, words)


def from_words(rows: NDArray[np.uint32]) -> list[int]:
    """Return rows of 32-bit words, least significant first, as integers."""
    return [int.from_bytes(row.astype("<u4").tobytes(), "little") for row in rows]


class NativeModel(Closing):
    """A component compiled by Verilator and clocked by a loop in C++.

    One clock cycle: inputs are set while the clock is low, the outputs settle, the clock rises.
    `play` records outputs just before the rising edge, that is, what a register in their place
    would take over. `get` gives what a port is at the moment: after `step`, the state after the
    last rising edge, seen through the inputs as they are set now.

    Values are the bits of a port as an unsigned integer, whatever its shape.

    Parameters
    ----------
    component
        What to simulate; it is elaborated, so it must be a fresh one.
    name
        Name of the top module, of the cache entry and in messages.
    trace
        Whether `trace` can be used. This is a build of its own, and slower.
    coverage
        Whether `write_coverage` can be used. This is a build of its own, and slower.
    extra_sources, design_key, parts
        As in `Design.of`.

    Raises
    ------
    MissingToolError
        When Verilator, g++ or make is not there.
    BuildError
        When one of them fails.
    """

    def __init__(
        self,
        component: wiring.Component,
        *,
        name: str,
        trace: bool = False,
        coverage: bool = False,
        extra_sources: Sequence[Path] = (),
        design_key: str | None = None,
        parts: Sequence[Design] = (),
    ) -> None:
        check_compiler()  # says what is missing before the design takes its time
        design = Design.of(
            component,
            name=name,
            extra_sources=extra_sources,
            design_key=design_key,
            source_lines=coverage,
            parts=parts,
        )
        self._design = design
        self._open(verilate(design, trace=trace, coverage=coverage))

    def _open(self, model: VerilatedModel) -> None:
        self.name = model.name
        #: The ports by name.
        self.ports: dict[str, Port] = {port.name: port for port in model.ports}
        self._index = {port.name: index for index, port in enumerate(model.ports)}
        self._can_trace = model.trace != "none"
        self._library = open_library(model, self._signatures())
        self._handle: int = self._library.d1_new()
        self._delete = weakref.finalize(self, self._library.d1_delete, self._handle)
        self._stale = True  # whether inputs were set that outputs do not show yet

    def _signatures(self) -> Signatures:
        return SIGNATURES

    @property
    def _model(self) -> int:
        if not self._delete.alive:
            raise ValueError(f"model {self.name} must be open, not closed")
        return self._handle

    @property
    def cycles(self) -> int:
        """Clock cycles since the model was made, those of `reset` included."""
        return int(self._library.d1_cycle(self._model))

    def reset(self, cycles: int = 2) -> None:
        """Clock with `rst` high for `cycles`, then set it low. Other inputs stay as they are."""
        self.set("rst", 1)
        self.step(cycles)
        self.set("rst", 0)

    def set(self, port: str, value: int) -> None:
        """Set an input port; negative values are taken as two's complement.

        Raises
        ------
        ValueError
            When there is no such input, or the value does not fit.
        """
        width = self._port(port, is_input=True).width
        if not -(1 << width - 1) <= value < 1 << width:
            raise ValueError(f"value of {port} must fit {width} bits, not {value!r}")
        words = to_words([value], width)
        self._library.d1_set(self._model, self._index[port], words.ctypes.data)
        self._stale = True

    def get(self, port: str) -> int:
        """Return what a port is now."""
        words = np.zeros((1, -(-self._port(port).width // 32)), dtype=np.uint32)
        if self._stale:
            self._library.d1_refresh(self._model)
            self._stale = False
        self._library.d1_get(self._model, self._index[port], words.ctypes.data)
        return from_words(words)[0]

    def step(self, n: int = 1) -> None:
        """Run `n` clock cycles with the inputs as they are."""
        if n < 0:
            raise ValueError(f"n must be a number of cycles from 0, not {n!r}")
        self._library.d1_step(self._model, n)
        self._stale = False

    def run_until(self, port: str, *, max_cycles: int, value: int = 1) -> int:
        """Run until a one-bit port is `value` just before a rising edge; return the cycles run.

        The cycle in which it is seen is not run.

        Raises
        ------
        TimeoutError
            When `max_cycles` have gone by and it is not.
        """
        if self._port(port).width != 1:
            raise ValueError(f"port must be one bit wide, not {port} of {self.ports[port].width}")
        before = self.cycles
        reached = self._library.d1_run_until(self._model, self._index[port], value, max_cycles)
        self._stale = False
        if not reached:
            raise TimeoutError(
                f"waited {max_cycles} cycles for {port} of {self.name} to become {value}"
            )
        return self.cycles - before

    def play(
        self, inputs: Mapping[str, NDArray[np.unsignedinteger[Any]]], outputs: Sequence[str]
    ) -> dict[str, NDArray[np.uint32]]:
        """Apply one row of inputs each cycle and record the outputs each cycle.

        In cycle k, row k of every input is set, everything settles, row k of every output is
        recorded, and the clock rises. A register in between therefore shows row k in row k + 1.
        Inputs that are not named stay as they are.

        Parameters
        ----------
        inputs
            For each port an array of `uint32` with the shape (cycles, words), the least
            significant word first. A port of at most 64 bits may have an array of the shape
            (cycles,) of any unsigned type.
        outputs
            Ports to record.

        Returns
        -------
        dict
            An array of `uint32` with the shape (cycles, words) for each output.

        Raises
        ------
        ValueError
            When a port is unknown, shapes disagree, or a value does not fit its port.
        """
        rows = {port: self._rows(port, array) for port, array in inputs.items()}
        lengths = {len(array) for array in rows.values()}
        if len(lengths) != 1:
            raise ValueError(f"inputs must all have one number of cycles, not {sorted(lengths)!r}")
        cycles = lengths.pop()
        recorded = {
            port: np.zeros((cycles, -(-self._port(port).width // 32)), dtype=np.uint32)
            for port in outputs
        }
        self._library.d1_play(
            self._model, cycles, *self._port_arrays(rows), *self._port_arrays(recorded)
        )
        self._stale = False
        return recorded

    def _rows(self, port: str, array: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.uint32]:
        width = self._port(port, is_input=True).width
        words = -(-width // 32)
        if array.ndim == 1 and array.dtype.kind == "u" and width <= 64:
            if array.dtype.itemsize * 8 > width and len(array) and int(array.max()) >> width:
                raise ValueError(f"values of {port} must fit {width} bits, not {array.max()!r}")
            array = array.astype("<u8").view("<u4").reshape(-1, 2)[:, :words]
        elif array.dtype != np.uint32 or array.shape[1:] != (words,):
            raise ValueError(
                f"input {port} must be an array of uint32 with the shape (cycles, {words}), "
                f"not {array.dtype} with {array.shape!r}"
            )
        elif width % 32 and len(array) and int(array[:, -1].max()) >> width % 32:
            raise ValueError(f"values of {port} must fit {width} bits, not more")
        return np.ascontiguousarray(array, dtype=np.uint32)

    def _port_arrays(self, arrays: Mapping[str, NDArray[np.uint32]]) -> tuple[int, Any, Any]:
        n = len(arrays)
        ids = (ctypes.c_uint32 * n)(*(self._index[port] for port in arrays))
        pointers = (ctypes.c_void_p * n)(*(array.ctypes.data for array in arrays.values()))
        return n, ids, pointers

    def trace(self, path: Path | str, start: int = 0, stop: int = 2**63) -> None:
        """Write a waveform of the cycles from `start` to before `stop`.

        Two points of time a cycle: 2k is cycle k just before its rising edge, 2k + 1 after it.

        Parameters
        ----------
        path
            The file: FST where the model could be built with it, otherwise VCD
            (`d1_rtl.sim.model.trace_format`).
        start, stop
            Numbers of cycles as counted by `cycles`.

        Raises
        ------
        ValueError
            When the model was not made with `trace=True`, or the window is empty.
        OSError
            When the file cannot be written.
        """
        if not self._can_trace:
            raise ValueError(f"model {self.name} must be made with trace=True to write {path}")
        if not start < stop:
            raise ValueError(f"stop must be after start {start}, not {stop!r}")
        if not self._library.d1_start_trace(self._model, str(path).encode(), start, stop):
            raise OSError(f"the waveform file must be writable, not {path}")

    def write_coverage(self, path: Path | str) -> None:
        """Write how often each branch was taken since the model was made.

        Beside it goes the Verilog whose lines it speaks of, with the ending `.v`.
        `d1_rtl.sim.coverage` reads both.

        Raises
        ------
        ValueError
            When the model was not made with `coverage=True`.
        """
        if not self._library.d1_write_coverage(self._model, str(path).encode()):
            raise ValueError(f"model {self.name} must be made with coverage=True to write {path}")
        Path(path).with_suffix(".v").write_text(self._design.verilog)

    def close(self) -> None:
        """Free the model and finish its waveform. Nothing else can be called afterwards."""
        self._delete()

    def _port(self, name: str, *, is_input: bool = False) -> Port:
        port = self.ports.get(name)
        if port is None or (is_input and not port.is_input) or name == "clk":
            usable = [p.name for p in self.ports.values() if p.is_input or not is_input]
            raise ValueError(
                f"port must be {'an input ' if is_input else ''}of {self.name}, one of "
                f"{usable[1:]}, not {name!r}"
            )
        return port


def open_library(model: VerilatedModel, signatures: Signatures) -> ctypes.CDLL:
    """Return the native driver with this model, ready to call the functions of `signatures`."""
    library = ctypes.CDLL(str(_link(model)))
    for function, (result, arguments) in signatures.items():
        entry = getattr(library, function)
        entry.restype, entry.argtypes = result, arguments
    return library


def _link(model: VerilatedModel) -> Path:
    """Return the shared library of the native driver with this model."""
    declared = set(re.findall(r"VL_\w+\(&(\w+),", (model.folder / "Vtop.h").read_text()))
    members = ((_member_name(port.name, declared), port.width) for port in model.ports)
    table = "".join(f" \\\n  X({member}, {width})" for member, width in members)
    return link_driver(
        model,
        "native",
        f"lib{model.name}.so",
        {
            "bind.cpp": (files(__package__) / "bind.cpp").read_text(),
            "ports.h": f"#define D1_PORTS(X){table}\n",
            "exports.map": _EXPORTS,
        },
        *("-shared", "-Wl,--version-script=exports.map", "-Wl,-Bsymbolic"),
        *("-Wl,--whole-archive", str(model.native_library), "-Wl,--no-whole-archive"),
    )


def _member_name(port: str, declared: Set[str]) -> str:
    """Return the C++ member that Verilator makes of a port, one of those `declared`."""
    name = re.sub(r"\W", lambda char: f"__0{ord(char[0]):02X}", port.replace("__", "___05F"))
    keyword = f"__SYM__{name}"  # of a name that means something in C++
    return keyword if keyword in declared else name
