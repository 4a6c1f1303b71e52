"""Compile Verilog with Verilator into libraries that every driver can be linked with.

Three kinds of cache entry: `runtime`, Verilator's own library and the generic part of the native
driver, once for all models; `model`, the objects of one design; and the program or shared library
that a driver links from both. cocotb and the native driver therefore run the same objects, and a
change of a driver does not compile the design again.
"""

import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from d1_rtl.emit import Port
from d1_rtl.sim import cache as build_cache
from d1_rtl.sim.design import Design
from d1_rtl.sim.testbench_module import TESTBENCH, public_ports, testbench_module
from d1_rtl.sim.verilator import Verilator, check_compiler, find_verilator

__all__ = ["BuildError", "VerilatedModel", "link_driver", "trace_format", "verilate"]

# -fPIC for the shared library; the two others let the compiler inline across functions as in a
# program, and keep two models in one process apart.
_CXXFLAGS = "-fPIC -fno-semantic-interposition -fno-gnu-unique"
# Measured on the node of preset d1: -O1 is a fifth slower to run and a fifth faster to compile; -O3
# and -march=native gain nothing; code that runs once (OPT_SLOW) is a tenth of the compile time.
_OPTIMISE = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
# Designs of parts are for comparison, and run for less time than it takes to compile them.
_OPTIMISE_PARTS = ("OPT_FAST=-O0", "OPT_SLOW=-O0", "OPT_GLOBAL=-O0")
# A coverage build runs for about as long as it takes to compile.
_OPTIMISE_COVERAGE = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
# With counters the optimiser of data flow, up to 5.048 at least, gives designs with wide streams
# other results, for instance those of the transfer engine.
_COVERAGE_FLAGS = ("--coverage-line", "-fno-dfg")
_VERILATOR_FLAGS = (
    *("--cc", "--vpi", "-O3", "--threads", "1", "--no-assert", "--no-timing"),
    *("--x-assign", "fast", "--x-initial", "fast"),
    # Files of this size keep two compilers equally busy and the progress bar moving.
    *("--output-split", "5000"),
    # Yosys writes widths and names that lint dislikes; nothing there is the designer's.
    *("-Wno-lint", "-Wno-style", "-Wno-fatal"),
)
_PREFIX = "Vtop"
_EMPTY_DESIGN = "module empty(input clk); endmodule\n"
_NATIVE_SOURCES = ("native.cpp", "node_link.cpp", "die_link.cpp")
_NATIVE_HEADERS = ("native.h", "packet.h")


class BuildError(RuntimeError):
    """Verilator or the C++ compiler failed; the message ends with what it printed."""


@dataclass(frozen=True, kw_only=True)
class VerilatedModel:
    """A compiled design, ready to be linked with a driver.

    Parameters
    ----------
    name
        Name of the top module.
    ports
        Its ports, `clk` and `rst` first.
    folder
        Where `Vtop.h` and `libVtop.a` are.
    runtime
        Where `libverilated.a` and `libnative.a` are.
    trace
        `vcd`, `fst` or `none`.
    coverage
        Whether it counts how often each branch is taken.
    savable
        Whether its state can be saved.
    """

    name: str
    ports: tuple[Port, ...]
    folder: Path
    runtime: Path
    trace: str
    coverage: bool
    savable: bool

    @property
    def libraries(self) -> list[Path]:
        """The design and Verilator's library, in the order the linker wants them."""
        return [self.folder / f"lib{_PREFIX}.a", self.runtime / "libverilated.a"]

    @property
    def native_library(self) -> Path:
        """The generic part of the native driver."""
        return self.runtime / "libnative.a"

    def link_flags(self) -> list[str]:
        """Return what the linker needs besides the libraries."""
        return ["-pthread", *(("-llz4", "-lz") if self.trace == "fst" else ())]


@cache
def trace_format() -> str:
    """Return the waveform format that can be built here: `fst` where lz4 is there, else `vcd`."""
    probe = subprocess.run(
        ["g++", "-x", "c++", "-fsyntax-only", "-"],
        input="#include <lz4.h>\n#include <zlib.h>\n",
        text=True,
        capture_output=True,
    )
    return "fst" if probe.returncode == 0 else "vcd"


def verilate(
    design: Design, *, trace: bool = False, coverage: bool = False, savable: bool = False
) -> VerilatedModel:
    """Compile a design, or find it compiled in the cache.

    Only the ports are public, so Verilator may optimise everything behind them.

    Parameters
    ----------
    design
        What to compile.
    trace
        Whether waveforms can be written; slows the model down even when none is.
    coverage
        Whether to count how often each branch is taken; about halves the speed.
    savable
        Whether the state can be saved and restored; costs compile time only.

    Raises
    ------
    MissingToolError
        When Verilator, g++ or make is not there.
    BuildError
        When one of them fails.
    """
    name, ports = design.name, design.ports
    compiler = check_compiler()
    verilator = find_verilator()
    form = trace_format() if trace else "none"
    flags = [*_VERILATOR_FLAGS, *(() if form == "none" else (f"--trace-{form}", "--trace-structs"))]
    flags += _COVERAGE_FLAGS if coverage else ()
    # Verilator's own classes, which no design here uses, cannot be saved.
    flags += ["--savable", "--no-std-package"] if savable else []
    flags += ["--hierarchical"] if design.parts else []
    public = "`verilator_config\n" + public_ports(ports)
    public += "".join(f'hier_block -module "{part}"\n' for part in design.parts)
    verilog = design.verilog + testbench_module(name, ports)
    optimise = _OPTIMISE_COVERAGE if coverage else _OPTIMISE
    optimise = _OPTIMISE_PARTS if design.parts else optimise
    tools = [verilator.version, compiler, " ".join(flags), _CXXFLAGS, *optimise]

    def make(folder: Path) -> None:
        (folder / f"{name}.v").write_text(verilog)
        (folder / "public.vlt").write_text(public)
        _run_verilator(verilator, folder, [*flags, "public.vlt", f"{name}.v"], TESTBENCH)
        target = "hier_build" if design.parts else f"lib{_PREFIX}.a"
        _run_make(verilator, folder, target, name, optimise)
        for suffix in ("o", "cpp", "gch"):
            for product in folder.rglob(f"*.{suffix}"):
                product.unlink()

    return VerilatedModel(
        name=name,
        ports=ports,
        runtime=_runtime(verilator, flags, tools, form),
        folder=build_cache.build("model", name, [verilog, public, name, *tools], make),
        trace=form,
        coverage=coverage,
        savable=savable,
    )


def _runtime(verilator: Verilator, flags: list[str], tools: list[str], form: str) -> Path:
    sources = {name: (files(__package__) / name).read_bytes() for name in _NATIVE_SOURCES}
    headers = {name: (files(__package__) / name).read_bytes() for name in _NATIVE_HEADERS}

    def make(folder: Path) -> None:
        (folder / "empty.v").write_text(_EMPTY_DESIGN)
        _run_verilator(verilator, folder, [*flags, "empty.v"], "empty")
        _run_make(verilator, folder, "libverilated.a", "simulation runtime", _OPTIMISE)
        for name, content in (sources | headers).items():
            (folder / name).write_bytes(content)
        objects = []
        for name in sources:
            objects.append(Path(name).with_suffix(".o").name)
            _run(["g++", "-c", "-std=gnu++20", "-O2", *_CXXFLAGS.split(), name], folder)
        _run(["ar", "rcs", "libnative.a", *objects], folder)

    return build_cache.build(
        "runtime", f"runtime-{form}", [*tools, *sources.values(), *headers.values()], make
    )


def link_driver(
    model: VerilatedModel, kind: str, output: str, sources: Mapping[str, str], *flags: str
) -> Path:
    """Compile a driver and link it with the model, or find it in the cache.

    Parameters
    ----------
    model
        What to link with.
    kind
        Kind of the driver; a folder of the cache.
    output
        Name of the shared library or program.
    sources
        Text of each file; the first is the one to compile and may include `Vtop.h`.
    flags
        More arguments for g++.

    Returns
    -------
    Path
        The output.
    """
    include = find_verilator().include
    trace = {form: int(model.trace == form) for form in ("vcd", "fst")}
    command = [
        *("g++", "-std=gnu++20", "-O2", *_CXXFLAGS.split(), "-o", output, next(iter(sources))),
        *("-I", str(model.folder), "-I", str(model.runtime)),
        *("-isystem", str(include), "-isystem", str(include / "vltstd")),
        *(f"-DVM_COVERAGE={model.coverage:d}", "-DVM_SC=0", "-DVM_TIMING=0"),
        *("-DVM_TRACE_SAIF=0", f"-DD1_SAVABLE={model.savable:d}"),
        f"-DVM_TRACE={int(any(trace.values()))}",
        *(f"-DVM_TRACE_{form.upper()}={used}" for form, used in trace.items()),
        *map(str, model.libraries),
        *flags,
        *model.link_flags(),
    ]

    def make(folder: Path) -> None:
        for name, text in sources.items():
            (folder / name).write_text(text)
        _run(command, folder)

    return build_cache.build(kind, model.name, [*command, *sources.values()], make) / output


def _run_verilator(verilator: Verilator, folder: Path, args: list[str], top: str) -> None:
    command = [str(verilator.executable), "--prefix", _PREFIX, "--top-module", top]
    _run([*command, "-Mdir", ".", "-CFLAGS", _CXXFLAGS, *args], folder, verilator.environment())


def _run_make(
    verilator: Verilator, folder: Path, target: str, name: str, optimise: Sequence[str]
) -> None:
    """Run make and show its progress."""
    parallel = "VM_PARALLEL_BUILDS = 1" in (folder / f"{_PREFIX}_classes.mk").read_text()
    sources = list(folder.rglob("*.cpp"))
    objects = len(sources) if parallel else 1
    if target == "libverilated.a":
        sources = [verilator.include / f"verilated{part}.cpp" for part in ("", "_vpi", "_threads")]
        objects = len(sources)
    jobs = len(os.sched_getaffinity(0))
    makefile = f"{_PREFIX}_hier.mk" if target == "hier_build" else f"{_PREFIX}.mk"
    command = ["make", "-f", makefile, f"-j{jobs}", *optimise, target]
    progress = build_cache.BuildProgress(name, sum(source.stat().st_size for source in sources))
    with (folder / "make.log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=verilator.environment(), stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                time.sleep(0.05)
                progress.update(min(100 * _count_objects(folder) // objects, 99))
        finally:
            process.kill()
            process.wait()
            progress.close(complete=process.returncode == 0)
        if process.returncode:
            log.seek(0)
            raise _failure(command, log.read())


def _count_objects(folder: Path) -> int:
    """Return how many objects there are below a folder whose own folders come and go."""
    return sum(name.endswith(".o") for _, _, names in os.walk(folder) for name in names)


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if result.returncode:
        raise _failure(command, result.stdout)


def _failure(command: list[str], output: str) -> BuildError:
    important = [line for line in output.splitlines() if re.search("error", line, re.IGNORECASE)]
    tail = "\n".join((important or output.splitlines())[-20:])
    return BuildError(f"{Path(command[0]).name} must succeed, but failed:\n{tail}")
