"""Amaranth components to Verilog, with every distinct module emitted once.

Amaranth writes one module per instance, so an array of 64 equal units becomes 64 equal modules.
The duplicates cost most of the time that the Verilog is written, translated and compiled in, and
they keep a simulator from sharing code. Here they are removed from the RTLIL, before Yosys
writes Verilog.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from amaranth.back import rtlil, verilog  # type: ignore[attr-defined]
from amaranth.hdl import ClockDomain, Const, Elaboratable, Fragment, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from d1_rtl.source_lines import assignments_where_written, convert_fragment

__all__ = ["Port", "component_ports", "emit", "mark_used", "port_values"]

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_MODULE = re.compile(r"^\s*module\s+\\?([^\s(#;]+)", re.MULTILINE)
_ANONYMOUS_PORT = re.compile(r"\\port\$\d+\$\d+(?= |$)")
# Yosys writes a constant part of a signal as a block that waits for nothing, so that no simulator
# ever runs it; of SystemVerilog's `always_comb` all run once at the start.
_CONSTANT_BLOCK = re.compile(r"^  always @\*(\n    \S.* = \d+'[bdh][0-9a-f]+;)$", re.MULTILINE)
# Attributes that tell where something came from, not what it does.
_PROVENANCE = re.compile(r" *attribute \\(src|generator|top|enum_\w+|amaranth\.\S+) ")


class Port(NamedTuple):
    """One port of an emitted module: its name, width in bits and whether it is an input."""

    name: str
    width: int
    is_input: bool


def port_values(component: wiring.Component) -> Iterator[tuple[str, Value, bool]]:
    """Yield name, value and whether it is an input of each port but `clk` and `rst`."""
    for path, member, leaf in component.signature.flatten(component):
        value = Value.cast(leaf.as_value() if isinstance(leaf, ValueCastable) else leaf)
        # An `always_ready` or `always_valid` stream has a constant there.
        if len(value) and not isinstance(value, Const):
            yield "__".join(map(str, path)), value, member.flow == wiring.In


def component_ports(component: wiring.Component) -> list[Port]:
    """List the ports that `emit` gives `component`, `clk` and `rst` first.

    A member's path is joined by two underscores: `i.payload` is `i__payload`, and element 1 of an
    array `ports` of streams has `ports__1__valid`. Members of no width, and those that are
    constant, have no port.
    """
    return [
        Port("clk", 1, True),
        Port("rst", 1, True),
        *(Port(name, len(value), is_in) for name, value, is_in in port_values(component)),
    ]


def mark_used(component: Elaboratable) -> None:
    """Keep Amaranth from warning that a component is not elaborated, nor those it was given."""
    component._MustUse__used = True  # type: ignore[attr-defined]
    for member in vars(component).values():
        if isinstance(member, Elaboratable):
            mark_used(member)


def emit(
    component: wiring.Component,
    *,
    name: str,
    extra_sources: Sequence[Path] = (),
    modules: Sequence[str] = (),
    source_lines: bool = False,
    platform: object = None,
) -> str:
    """Convert `component` to Verilog in which each distinct module appears once.

    The top module has the ports of `component_ports(component)`; `clk` and `rst` drive the `sync`
    domain and are there even when nothing uses them. Equal components give equal text on every
    machine, so that a hash of the text can be the key of a cache.

    Two instances share a module when their netlists are equal. A constant that is tied to an
    input of one of them, or one net on two of its inputs, makes a difference, because Amaranth
    simplifies across module boundaries.

    Parameters
    ----------
    component
        What to convert. It is elaborated, so it must be a fresh one.
    name
        Name of the top module.
    extra_sources
        Verilog files with the modules that `component` instantiates by name, appended to the
        text. The project's own cells (`d1_rtl/cells`) are appended when they are used.
    modules
        Results of this function with other such modules, which must not be named alike. Cells
        that several of them use appear once.
    source_lines
        Whether branches name the lines of Python that they come from (`d1_rtl.source_lines`).
    platform
        What `elaborate` gets: None for a simulator.

    Raises
    ------
    ValueError
        When `name` is not a Verilog identifier, a port is named `clk` or `rst`, or an instance
        names a module that no source defines.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"name must be a Verilog identifier, not {name!r}")
    text = _to_rtlil(component, name, source_lines, platform)
    unique, instantiated = _deduplicate(text)
    sources = [Path(source).read_text() for source in extra_sources]
    sources += _without_repeats(modules)
    external = _resolve_external(instantiated, sources)
    text = verilog._convert_rtlil_text(  # type: ignore[attr-defined]
        unique, strip_internal_attrs=True
    )
    return "\n".join([_CONSTANT_BLOCK.sub(r"  always_comb\1", text), *external])


def _to_rtlil(component: wiring.Component, name: str, lines: bool, platform: object) -> str:
    sync: Any = ClockDomain("sync")  # whose clk and rst the stubs do not know
    ports = {
        "clk": (sync.clk, PortDirection.Input),
        "rst": (sync.rst, PortDirection.Input),
    }
    for port, value, is_input in port_values(component):
        if port in ("clk", "rst"):
            raise ValueError(f"a port must not be named {port!r}, which belongs to the sync domain")
        ports[port] = (value, PortDirection.Input if is_input else PortDirection.Output)
    if lines:
        with assignments_where_written():
            fragment = Fragment.get(component, platform)
            fragment.add_domains(sync)
            return convert_fragment(fragment, ports, name)
    fragment = Fragment.get(component, platform)
    fragment.add_domains(sync)
    text, _names = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    return text


@dataclass
class _Module:
    """An RTLIL module, taken apart just far enough to be compared with another.

    Members
    -------
    wires
        Declarations of wires, attributes included, each with its port kind or "".
    statements
        Memories, cells and processes; a cell of another module has that module's digest as type.
    connections
        Continuous assignments.
    external
        Types of cells that no module of the design defines.
    """

    wires: list[tuple[str, str]] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    external: set[str] = field(default_factory=set)

    def digest(self) -> str:
        # What the parent reads decides which outputs are ports, and the parent's netlist decides
        # the order of ports: neither is a difference of the module.
        wires = sorted(kind.replace("output", "") + wire for wire, kind in self.wires)
        text = "\n".join([*wires, *self.statements, *sorted(self.connections)])
        return hashlib.sha256(text.encode()).hexdigest()

    def merge_outputs(self, other: "_Module") -> None:
        """Make every output of an equal module an output of this one too."""
        kinds = dict(other.wires)
        self.wires = [(wire, kind or kinds[wire]) for wire, kind in self.wires]

    def write(self, name: str, types: dict[str, str]) -> str:
        """Write RTLIL; `types` has the module name of each digest."""
        lines = [f"module \\{name}"]
        ports = 0
        for wire, kind in self.wires:
            if kind:
                declaration, _, wire_name = wire.rpartition(" ")
                wire = f"{declaration} {kind} {ports} {wire_name}"
                ports += 1
            lines.append(wire)
        lines += (_CHILD.sub(lambda m: f"  cell \\{types[m[1]]} ", s) for s in self.statements)
        return "\n".join([*lines, *self.connections, "end\n"])


_WIRE = re.compile(r"(  wire width \d+) (?:(input|output|inout) \d+ )?( signed)? ?([\\$]\S+)$")
_CHILD = re.compile(r"^  cell @([0-9a-f]{64}) ")


def _deduplicate(text: str) -> tuple[str, set[str]]:
    """Keep one of each module of an RTLIL text; also return the names of external modules."""
    _, *split = re.split(r"^module \\(.*)\n", text, flags=re.MULTILINE)
    names, bodies = split[0::2], split[1::2]
    digests: dict[str, str] = {}
    port_names: dict[str, dict[str, str]] = {}
    unique: dict[str, _Module] = {}
    for name, body in zip(reversed(names), reversed(bodies), strict=True):  # children first
        module, port_names[name] = _parse(body, digests, port_names)
        digest = digests[name] = module.digest()
        if digest in unique:
            unique[digest].merge_outputs(module)
        else:
            unique[digest] = module
    types: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:  # a module is named for its first instance
        if digests[name] not in types:
            types[digests[name]] = _free_name(name, taken)
    result = "".join(unique[digest].write(name, types) for digest, name in types.items())
    return result, set().union(*(module.external for module in unique.values()))


def _parse(
    body: str, digests: dict[str, str], port_names: dict[str, dict[str, str]]
) -> tuple[_Module, dict[str, str]]:
    """Parse the lines after `module`; also return the new names of the anonymous ports.

    A port that is no whole signal is named by Amaranth for its place in the whole netlist; here
    it is named for its place in the module.
    """
    module = _Module()
    renamed: dict[str, str] = {}
    wires: list[tuple[str, str]] = []
    attributes: list[str] = []
    child: dict[str, str] | None = None  # port names of the cell whose lines are being read

    def rename(match: re.Match[str]) -> str:
        return renamed.setdefault(match[0], f"\\port${len(renamed)}")

    def canonical(line: str) -> str:
        return _ANONYMOUS_PORT.sub(rename, line) if "\\port$" in line else line

    for line in body.splitlines():
        if not line or line == "end" or _PROVENANCE.match(line):
            continue
        if line.startswith("attribute ") or line.startswith("  attribute "):
            attributes.append(line)
            continue
        if line.startswith("connect "):
            module.connections.append(canonical(line))
            continue
        if wire := _WIRE.fullmatch(line):
            declaration = f"{wire[1]}{wire[3] or ''} {wire[4]}"
            wires.append(("\n".join([*attributes, declaration]), wire[2] or ""))
        else:
            module.statements += attributes
            if line.startswith("  cell \\"):
                kind, instance = line.removeprefix("  cell \\").rsplit(" ", 1)
                if kind in digests:
                    child = port_names[kind]
                    line = f"  cell @{digests[kind]} {instance}"
                else:
                    module.external.add(kind)
            elif line == "  end":
                child = None
            elif child is not None:
                _, port, value = line.split(maxsplit=2)
                line = f"    connect {child.get(port, port)} {canonical(value)}"
            else:
                line = canonical(line)
            module.statements.append(line)
        attributes = []
    module.wires = [(canonical(wire), kind) for wire, kind in wires]
    return module, renamed


def _free_name(path: str, taken: set[str]) -> str:
    base = name = re.sub(r"\W", "_", path)
    while name in taken:
        name = f"{base}_{len(taken)}"
    taken.add(name)
    return name


@cache
def _cells() -> dict[str, str]:
    """Return the Verilog of the project's own cells by the name of the module."""
    folder = files("d1_rtl") / "cells"
    texts = [cell.read_text() for cell in folder.iterdir() if cell.name.endswith(".v")]
    return {name: text for text in texts for name in _MODULE.findall(text)}


def _without_repeats(texts: Iterable[str]) -> list[str]:
    """Return Verilog texts without the cells that an earlier one has too."""
    kept = []
    seen: set[str] = set()
    for text in texts:
        for cell in set(_MODULE.findall(text)) & set(_cells()):
            if cell in seen:
                text = text.replace(_cells()[cell], "")
            seen.add(cell)
        kept.append(text)
    return kept


def _resolve_external(instantiated: Iterable[str], sources: list[str]) -> list[str]:
    """Return the Verilog texts that define the `instantiated` modules."""
    defined = {name for source in sources for name in _MODULE.findall(source)}
    cells = _cells()
    if unknown := sorted(set(instantiated) - defined - set(cells)):
        raise ValueError(
            f"every instance must name a module of extra_sources or of {sorted(cells)}, "
            f"not {unknown[0]!r}"
        )
    return sources + [cells[name] for name in sorted(set(instantiated) - defined)]
