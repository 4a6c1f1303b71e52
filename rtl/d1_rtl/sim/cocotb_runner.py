"""Run cocotb tests on a Verilated component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
from amaranth.lib import wiring
from cocotb_tools.runner import Verilator as CocotbVerilator

from d1_rtl.sim.design import Design
from d1_rtl.sim.model import VerilatedModel, link_driver, verilate
from d1_rtl.sim.testbench_module import TESTBENCH
from d1_rtl.sim.verilator import check_libpython

__all__ = ["CocotbError", "CocotbResult", "run_cocotb"]

_LOG_LINES = 40


class CocotbError(AssertionError):
    """Tests failed or did not run to their end; the message names them and the seed.

    Members
    -------
    failed
        Names of the tests that failed, as module and function.
    """

    def __init__(self, message: str, failed: Sequence[str]) -> None:
        super().__init__(message)
        self.failed = tuple(failed)


@dataclass(frozen=True)
class CocotbResult:
    """What ran, when nothing failed.

    Parameters
    ----------
    tests
        Names of the tests, as module and function.
    results_xml
        The JUnit report.
    log
        What cocotb printed.
    waves
        The waveform, when one was asked for.
    """

    tests: tuple[str, ...]
    results_xml: Path
    log: Path
    waves: Path | None


def run_cocotb(
    component: wiring.Component,
    *,
    name: str,
    test_module: str | Sequence[str],
    seed: int,
    directory: Path | str,
    env: Mapping[str, str] | None = None,
    testcase: str | Sequence[str] | None = None,
    waves: bool = False,
    results_xml: Path | str | None = None,
    extra_sources: Sequence[Path] = (),
    design_key: str | None = None,
) -> CocotbResult:
    """Compile a component, or find it compiled, and run cocotb tests on it.

    The objects are those that `NativeModel` runs, so only the ports are visible: cocotb's own
    `--public-flat-rw` would keep Verilator from optimising anything. Their names are those of
    `component_ports`.

    Parameters
    ----------
    component
        What to test; it is elaborated, so it must be a fresh one.
    name
        Name of the top module and of the cache entry.
    test_module
        Name of the module or modules with the tests, importable from `sys.path`.
    seed
        Seed of Python's `random` in the tests; the same seed gives the same run.
    directory
        Where the log, the report and the waveform go. One run at a time.
    env
        More environment variables for the tests, such as parameters of the testbench.
    testcase
        Name of the test or tests to run; all when it is left out.
    waves
        Whether to write a waveform. This is a build of its own, and slower.
    results_xml
        The JUnit report, where it is not to be `results.xml` in `directory`.
    extra_sources, design_key
        As in `Design.of`.

    Raises
    ------
    CocotbError
        When a test fails, none was found, or the simulation ended early.
    MissingToolError
        When Verilator, g++, make or a shared libpython is not there.
    BuildError
        When Verilator or the compiler fails.
    """
    libpython = check_libpython()
    design = Design.of(component, name=name, extra_sources=extra_sources, design_key=design_key)
    program = _link(verilate(design, trace=waves))
    folder = Path(directory).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    report = Path(results_xml).absolute() if results_xml is not None else folder / "results.xml"
    log = folder / "cocotb.log"
    crashed = False
    try:
        CocotbVerilator().test(
            test_module=test_module,
            hdl_toplevel=TESTBENCH,
            hdl_toplevel_lang="verilog",
            build_dir=program.parent,
            test_dir=folder,
            seed=seed,
            testcase=testcase,
            waves=waves,
            results_xml=str(report),
            log_file=log,
            extra_env={"LIBPYTHON_LOC": str(libpython)} | dict(env or {}),
        )
    except (RuntimeError, SystemExit):  # failed tests, which the report names, or a crash
        crashed = True
    tests, failed = _read_report(report)
    if failed or crashed or not tests:
        tail = "\n".join(log.read_text().splitlines()[-_LOG_LINES:])
        what = f"failed {', '.join(failed)}" if failed else "the simulation did not end well"
        raise CocotbError(f"{name} with seed {seed}: {what}; end of {log}:\n{tail}", failed)
    dump = next(iter(sorted(folder.glob("dump.*"))), None) if waves else None
    return CocotbResult(tuple(tests), report, log, dump)


def _read_report(report: Path) -> tuple[list[str], list[str]]:
    """Return the names of all tests and of those that failed."""
    tests: list[str] = []
    failed: list[str] = []
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            test = f"{case.get('classname')}.{case.get('name')}"
            if case.find("skipped") is not None:
                continue
            tests.append(test)
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(test)
    return tests, failed


def _link(model: VerilatedModel) -> Path:
    """Return the program that runs cocotb on this model."""
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    libraries = cocotb_tools.config.libs_dir
    return link_driver(
        model,
        "cocotb",
        TESTBENCH,
        {"verilator.cpp": Path(main).read_text()},
        *(f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"),
    )
