"""The command line `d1`."""

from __future__ import annotations

import argparse
import errno
import importlib
import platform
import runpy
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from d1_golden.params import DIES, PRESETS, preset
from rich.console import Console
from rich.table import Table

from d1.backends import BACKENDS
from d1.counters import counters_table, read_counters
from d1.device import default_preset, open_device, shared_device
from d1.elf import ProgramError, read_elf
from d1.errors import BoardError, CycleLimitError, DeviceError
from d1.fabric.die_job import DIE_K
from d1.flash import flash_bitstream
from d1.runner import SIGNATURE_GRANULARITIES, run_program, signature_lines, signature_range

__all__ = ["ExitCode", "main"]

_EXIT_CODES = """\
exit codes of `d1 run`:
  0        the program passed
  1..99    the number of the test that failed (99: 99 or more)
  100      wrong command line, or not a program for this node
  101      the program faulted, or ended without a verdict
  102      no end within --max-cycles
  103      the device cannot be opened or used: a tool is missing, a build failed,
           or the board is not there
The other commands end with 0, with 1 where a check failed, or with 100 to 103.
"""


class ExitCode:
    """Exit codes of the command line; 1..99 is the number of a failed test."""

    PASSED = 0
    LAST_TEST = 99
    USAGE = 100
    FAULT = 101
    CYCLE_LIMIT = 102
    NO_DEVICE = 103
    INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report a wrong command line under an exit code that no test has."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: error: {message}\n")


def _positive(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return value


def _doubleword(text: str) -> int:
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"must be an integer in 0..2^64 - 1, not {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="d1", description="The D1 training node: run programs, measure, inspect.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], text: str) -> _Parser:
        sub: _Parser = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_EXIT_CODES if name == "run" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(action=action)
        return sub

    _add_run(command("run", _run, "run an RV64IM ELF program on a node"))

    info = command("info", _info, "show presets, versions and caches")
    info.add_argument("--preset", choices=sorted(PRESETS), help="only this preset")

    demo = command("demo", _demo, "train a classifier with every matmul on a node")
    _add_node(demo)
    demo.add_argument("--epochs", type=_positive, default=4)
    demo.add_argument("--seed", type=int, default=0, help="of the split, the model and the batches")

    _add_die(command("die", _die, "multiply matrices on every node of a die, check and measure"))

    explain = command("explain", _explain, "run a script, show what became of its graphs")
    explain.add_argument(
        "--device", choices=sorted(BACKENDS), default="rtl", help="where cycles are from"
    )
    explain.add_argument("--json", type=Path, metavar="FILE", help="write the reports there")
    explain.add_argument(
        "--tensors",
        type=_positive,
        default=10,
        metavar="N",
        help="show so many of the largest tensors of a graph (default 10)",
    )
    explain.add_argument("script", type=Path, metavar="SCRIPT.py")
    explain.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGUMENT")

    flash = command("flash", _flash, "load a bitstream with openFPGALoader")
    flash.add_argument("bitstream", type=Path, metavar="FILE")
    flash.add_argument(
        "--board", default="ulx3s", help="as openFPGALoader calls it (default ulx3s)"
    )
    flash.add_argument("--keep", action="store_true", help="into its flash memory, for every start")

    bench = command("bench", _bench, "measure models and simulators")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    bench.add_argument("--quick", action="store_true", help="leave out the build of the RTL")
    bench.add_argument("--check", action="store_true", help="end with 1 if a bar is missed")

    regression = command("regression", _regression, "random programs, RTL against golden")
    regression.add_argument("options", nargs="*", help="see `d1 regression --help`")
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    """Add the options of `d1 run`."""
    run.add_argument("program", type=Path, metavar="PROG.elf")
    _add_node(run)
    run.add_argument("--signature", type=Path, metavar="FILE", help="write the signature there")
    run.add_argument(
        "--signature-granularity",
        type=int,
        choices=SIGNATURE_GRANULARITIES,
        default=4,
        help="bytes of a line of the signature (default 4)",
    )
    run.add_argument(
        "--max-cycles",
        type=_positive,
        default=10_000_000,
        metavar="N",
        help="give up after so many cycles (default 10 million)",
    )
    run.add_argument(
        "--arg",
        type=_doubleword,
        default=0,
        metavar="N",
        help="what the program finds in a0 (default 0)",
    )
    run.add_argument(
        "--threads",
        type=_positive,
        default=1,
        metavar="N",
        help="threads that start at the entry, told apart by mhartid (default 1)",
    )
    run.add_argument("--stats", action="store_true", help="print the performance counters")
    run.add_argument("--trace", type=Path, metavar="FILE", help="write retired instructions there")


def _add_die(die: argparse.ArgumentParser) -> None:
    """Add the options of `d1 die`."""
    die.add_argument("--device", choices=sorted(BACKENDS), default="rtl")
    die.add_argument("--die", choices=sorted(DIES), default="d1", dest="die_name")
    die.add_argument(
        "--k",
        type=_positive,
        default=DIE_K,
        metavar="N",
        help=f"size that is summed over (default {DIE_K}); the others follow from the die",
    )
    die.add_argument("--seed", type=int, default=1, help="of the matrices")
    die.add_argument(
        "--heatmap",
        type=Path,
        metavar="FILE",
        help="write a picture (SVG) of nodes and links, and of latency against load",
    )


def _add_node(command: argparse.ArgumentParser) -> None:
    """Add what chooses a node."""
    command.add_argument("--device", choices=sorted(BACKENDS), default="rtl")
    command.add_argument("--preset", choices=sorted(PRESETS), help="default d1, for a board fpga")
    command.add_argument("--port", help="serial port of a board, if it is not the only one there")


def _run(args: argparse.Namespace) -> int:
    params = preset(args.preset or default_preset(args.device))
    if args.threads > params.threads:
        raise ProgramError(
            f"--threads must be in 1..{params.threads} for preset {params.name}, not {args.threads}"
        )
    program = read_elf(args.program, params)
    if args.signature is not None:
        try:
            signature_range(program, args.signature_granularity)
        except ValueError as error:
            raise ProgramError(f"{args.program}: {error}") from None
    with ExitStack() as stack:
        trace = stack.enter_context(args.trace.open("w")) if args.trace is not None else None
        device = stack.enter_context(open_device(args.device, args.preset, args.port))
        before = read_counters(device) if args.stats else None
        verdict = run_program(
            device,
            program,
            max_cycles=args.max_cycles,
            arg=args.arg,
            threads=args.threads,
            trace=trace,
        )
        counted = read_counters(device) - before if before is not None else None
        if args.signature is not None:
            lines = signature_lines(device, program, args.signature_granularity)
            args.signature.write_text("".join(f"{line}\n" for line in lines))
    if verdict.failed_test:
        print(f"test {verdict.failed_test} failed after {verdict.cycles} cycles", file=sys.stderr)
    else:
        print(f"passed after {verdict.cycles} cycles")
    if counted is not None:
        Console(soft_wrap=True, highlight=False).print(counters_table(counted, params))
    return min(verdict.failed_test, ExitCode.LAST_TEST)


def _info(args: argparse.Namespace) -> int:
    from d1_golden.cache import cache_root
    from d1_rtl.sim import verilator

    console = Console(soft_wrap=True, highlight=False)
    table = Table("preset", "matrix R x C x K", "vector", "accumulators", "SRAM", title="Presets")
    for params in [preset(args.preset)] if args.preset else PRESETS.values():
        table.add_row(
            params.name,
            f"{params.matrix_rows} x {params.matrix_cols} x {params.matrix_depth}",
            f"{params.vector_bytes} B",
            f"{params.accumulators} x {params.accumulator_bytes} B",
            params.sram_text,
        )
    console.print(table)

    table = Table("tool", "version", title="Versions")
    table.add_row("Python", platform.python_version())
    for name in ("d1-machine", "amaranth", "cocotb", "numba", "numpy", "torch"):
        table.add_row(name, version(name))
    for name, probe in (
        ("Verilator", lambda: verilator.find_verilator().version),
        ("g++", verilator.check_compiler),
    ):
        try:
            table.add_row(name, probe())
        except verilator.MissingToolError as error:
            table.add_row(name, str(error))
    console.print(table)

    table = Table("cache", "entries", "size", "path", title="Caches")
    for folder in sorted(path for path in cache_root().glob("*") if path.is_dir()):
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        entries = sum(1 for path in folder.iterdir() if path.suffix != ".lock")
        table.add_row(folder.name, str(entries), f"{sum(sizes) / 1e6:.1f} MB", str(folder))
    console.print(table)
    return ExitCode.PASSED


def _demo(args: argparse.Namespace) -> int:
    demo = importlib.import_module("d1.demo")  # and PyTorch with it: seconds
    chosen = args.preset or default_preset(args.device)
    shared_device(args.device, chosen, args.port)  # from now on the one that is meant
    result: int = demo.run_demo(args.device, chosen, epochs=args.epochs, seed=args.seed)
    return result


def _die(args: argparse.Namespace) -> int:
    die = importlib.import_module("d1.die")
    code: int = die.run_die(
        args.device, args.die_name, args.k, seed=args.seed, heatmap=args.heatmap
    )
    return code


def _explain(args: argparse.Namespace) -> int:
    if not args.script.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such script", str(args.script))
    explain = importlib.import_module("d1.torch.explain")
    before = sys.argv, list(sys.path)
    sys.argv = [str(args.script), *args.arguments]
    sys.path.insert(0, str(args.script.resolve().parent))
    code: object = ExitCode.PASSED
    try:
        with explain.explained(args.device) as reports:
            runpy.run_path(str(args.script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, sys.path[:] = before
    explain.print_reports(reports, Console(highlight=False), args.tensors)
    if args.json is not None:
        args.json.write_text(explain.as_json(reports))
    return code if isinstance(code, int) else int(code is not None)


def _flash(args: argparse.Namespace) -> int:
    flash_bitstream(args.bitstream, args.board, keep=args.keep)
    return ExitCode.PASSED


def _bench(args: argparse.Namespace) -> int:
    bench = importlib.import_module("d1.bench")
    report = importlib.import_module("d1.bench.report")
    results = bench.measure(quick=args.quick)
    report.print_table(results)
    if args.json is not None:
        report.write_json(results, args.json)
    return 1 if args.check and not bench.all_bars_met(results) else ExitCode.PASSED


def _regression(args: argparse.Namespace) -> int:
    result: int = importlib.import_module("testbench.regression").main(args.options)
    return result


def _no_device(error: RuntimeError) -> bool:
    """Tell whether a simulated device could not be built."""
    from d1_rtl.sim.model import BuildError
    from d1_rtl.sim.verilator import MissingToolError

    return isinstance(error, BuildError | MissingToolError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments
        The command line without the name of the program; by default that of the process.

    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["regression"]:  # its options are its own
        args = argparse.Namespace(action=_regression, options=given[1:])
    else:
        args = _parser().parse_args(given)
    try:
        code: int = args.action(args)
        return code
    except ProgramError as error:
        message, code = str(error), ExitCode.USAGE
    except CycleLimitError as error:
        message, code = f"{error}; --max-cycles sets the limit", ExitCode.CYCLE_LIMIT
    except BoardError as error:
        message, code = str(error), ExitCode.NO_DEVICE
    except (DeviceError, TimeoutError) as error:
        message, code = str(error), ExitCode.FAULT
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        code = ExitCode.USAGE
    except RuntimeError as error:
        if not _no_device(error):
            raise
        message, code = str(error), ExitCode.NO_DEVICE
    except KeyboardInterrupt:
        message, code = "interrupted", ExitCode.INTERRUPTED
    print(f"d1: error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
