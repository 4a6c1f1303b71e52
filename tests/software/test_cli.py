"""The command line: programs run to their verdict on the golden model and on the RTL."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from d1.cli import ExitCode, main
from d1_golden.params import PRESETS

PRIMES = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53]
DEVICES = [("golden", name) for name in sorted(PRESETS)] + [("rtl", "tiny")]
on_devices = pytest.mark.parametrize(("device", "preset"), DEVICES)

#: Writes the word in a0 at tohost and goes on for ever, as conformance programs do.
FINISH = """
finish:
    la t0, tohost
    sd a0, 0(t0)
    j finish
.section .tohost, "aw"
.balign 64
.globl tohost
tohost: .dword 0
"""
HEAD = '.section .text.start, "ax"\n.globl _start\n_start:\n'


def run(program: Path, *options: object, device: str = "golden", preset: str = "tiny") -> int:
    """Run the command line in this process; return its exit code."""
    where = ["--device", device, "--preset", preset]
    return main(["run", str(program), *where, *map(str, options)])


@pytest.fixture(scope="module")
def spinning_elf(compile_program) -> Path:
    """Compile a program that never ends."""
    return compile_program(HEAD + "    j _start\n" + FINISH)


@on_devices
def test_a_c_program_passes_and_leaves_its_signature(
    primes_elf: Path, tmp_path: Path, capsys, device: str, preset: str
) -> None:
    words = tmp_path / "words"
    assert run(primes_elf, "--signature", words, device=device, preset=preset) == ExitCode.PASSED
    assert capsys.readouterr().out.startswith("passed after ")
    assert words.read_text().splitlines() == [f"{prime:08x}" for prime in PRIMES]


@on_devices
def test_the_signature_can_be_written_in_lines_of_eight_bytes(
    primes_elf: Path, tmp_path: Path, device: str, preset: str
) -> None:
    doublewords = tmp_path / "doublewords"
    options = ("--signature", doublewords, "--signature-granularity", 8)
    assert run(primes_elf, *options, device=device, preset=preset) == ExitCode.PASSED
    pairs = zip(PRIMES[0::2], PRIMES[1::2], strict=True)
    assert doublewords.read_text().splitlines() == [f"{high:08x}{low:08x}" for low, high in pairs]


@on_devices
@pytest.mark.parametrize(("test", "code"), [(1, 1), (7, 7), (99, 99), (100, 99), (5000, 99)])
def test_the_exit_code_says_which_test_failed(
    compile_program, capsys, device: str, preset: str, test: int, code: int
) -> None:
    program = compile_program(HEAD + f"    li a0, {test << 1 | 1}\n" + FINISH)
    assert run(program, device=device, preset=preset) == code
    assert f"test {test} failed after " in capsys.readouterr().err


@on_devices
def test_a_program_without_tohost_passes_by_halting(
    compile_program, device: str, preset: str
) -> None:
    program = compile_program(HEAD + "    li a0, 5\n    ecall\n")
    assert run(program, device=device, preset=preset) == ExitCode.PASSED


@on_devices
def test_a_program_finds_its_argument_in_a0(compile_program, device: str, preset: str) -> None:
    program = compile_program(HEAD + "    slli a0, a0, 1\n    ori a0, a0, 1\n" + FINISH)
    assert run(program, "--arg", "0x2a", device=device, preset=preset) == 42
    assert run(program, device=device, preset=preset) == ExitCode.PASSED


@pytest.mark.parametrize("value", ["-1", "x", str(1 << 64)])
def test_an_argument_that_does_not_fit_a0_is_refused(capsys, value: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(Path("program.elf"), f"--arg={value}")
    assert stopped.value.code == ExitCode.USAGE
    assert f"must be an integer in 0..2^64 - 1, not '{value}'" in capsys.readouterr().err


@on_devices
def test_a_program_that_halts_without_its_verdict_fails(
    compile_program, capsys, device: str, preset: str
) -> None:
    program = compile_program(HEAD + "    ecall\n" + FINISH)
    assert run(program, device=device, preset=preset) == ExitCode.FAULT
    assert "must write tohost before it ends: halted" in capsys.readouterr().err


@on_devices
def test_a_faulting_program_is_reported_with_cause_and_place(
    compile_program, tmp_path: Path, capsys, device: str, preset: str
) -> None:
    signature = tmp_path / "signature"
    program = compile_program(HEAD + "    nop\n    lw a0, 2(zero)\n" + FINISH)
    options = ("--signature", signature)
    assert run(program, *options, device=device, preset=preset) == ExitCode.FAULT
    message = capsys.readouterr().err
    assert "faulted, cause 4 (load misaligned), pc 0x4, value 0x2" in message
    assert not signature.exists()


@on_devices
def test_a_program_that_never_ends_is_stopped_at_max_cycles(
    spinning_elf: Path, tmp_path: Path, capsys, device: str, preset: str
) -> None:
    signature = tmp_path / "signature"
    options = ("--max-cycles", 5000, "--signature", signature)
    assert run(spinning_elf, *options, device=device, preset=preset) == ExitCode.CYCLE_LIMIT
    message = capsys.readouterr().err
    assert "must end within 5000 cycles, but still runs at pc 0x0" in message
    assert "--max-cycles" in message
    assert not signature.exists()


def test_a_program_that_traps_for_ever_is_stopped_at_max_cycles(compile_program, capsys) -> None:
    program = compile_program(
        HEAD + "    li t0, 0x400000\n    csrw mtvec, t0\n    jr t0\n" + FINISH
    )
    assert run(program, "--max-cycles", 5000) == ExitCode.CYCLE_LIMIT
    assert "still runs without retiring anything" in capsys.readouterr().err


def test_a_request_to_a_host_at_tohost_is_refused(compile_program, capsys) -> None:
    program = compile_program(HEAD + "    li a0, 0x1000\n" + FINISH)
    assert run(program) == ExitCode.FAULT
    assert "tohost must be 1 or n << 1 | 1, not 0x1000" in capsys.readouterr().err


def test_the_trace_shows_what_retired_in_order(compile_program, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    program = compile_program(HEAD + "    li a0, 5\n    slli a1, a0, 4\n    ecall\n")
    assert run(program, "--trace", trace) == ExitCode.PASSED
    lines = trace.read_text().splitlines()
    assert len(lines) == 2
    assert "addi a0, zero, 5" in lines[0]
    assert "slli a1, a0, 4" in lines[1]
    assert "50" in lines[1].split("slli")[1]


def test_the_traces_of_golden_and_rtl_are_equal(primes_elf: Path, tmp_path: Path) -> None:
    traces = {}
    for device in ("golden", "rtl"):
        path = tmp_path / device
        assert run(primes_elf, "--trace", path, device=device) == ExitCode.PASSED
        traces[device] = path.read_text().splitlines()
    assert len(traces["golden"]) > 5000
    assert traces["golden"] == traces["rtl"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "abacus"], r"--device: invalid choice: 'abacus' \(choose from .*golden.*rtl"),
        (["--preset", "huge"], r"--preset: invalid choice: 'huge' \(choose from .*d1.*fpga.*tiny"),
        (["--max-cycles", "0"], "--max-cycles: must be a positive integer, not '0'"),
        (["--max-cycles", "many"], "--max-cycles: must be a positive integer, not 'many'"),
        (["--signature-granularity", "16"], "--signature-granularity: invalid choice: 16"),
        (["--speed", "9"], "unrecognized arguments: --speed 9"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_possible(
    primes_elf: Path, capsys, options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["run", str(primes_elf), *options])
    assert exit_.value.code == ExitCode.USAGE
    text = " ".join(capsys.readouterr().err.split())
    assert re.search(message, text)


def test_a_file_that_is_no_program_is_refused_before_a_device_is_opened(
    tmp_path: Path, capsys
) -> None:
    path = tmp_path / "text.elf"
    path.write_text("hello")
    assert run(path, device="rtl", preset="d1") == ExitCode.USAGE
    assert capsys.readouterr().err.startswith(f"d1: error: {path}: must be a complete ELF file")


def test_a_signature_that_the_program_does_not_have_is_refused(
    compile_program, tmp_path: Path, capsys
) -> None:
    program = compile_program("/* stripped */\n" + HEAD + "    ecall\n", link_options=("-s",))
    assert run(program, "--signature", tmp_path / "signature") == ExitCode.USAGE
    assert "must have the symbols begin_signature and end_signature" in capsys.readouterr().err


def test_an_odd_signature_is_refused_in_lines_of_eight_bytes(
    compile_program, tmp_path: Path, capsys
) -> None:
    source = HEAD + '    ecall\n.section .signature, "aw"\n.word 1, 2, 3\n'
    options = ("--signature", tmp_path / "signature", "--signature-granularity", 8)
    assert run(compile_program(source), *options) == ExitCode.USAGE
    assert "must have a multiple of 8 bytes, not 12" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(primes_elf: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "no" / "such" / "folder"
    assert run(primes_elf, "--trace", path) == ExitCode.USAGE
    assert f"{path}: No such file or directory" in capsys.readouterr().err


def test_info_shows_presets_versions_and_caches(capsys) -> None:
    assert main(["info"]) == ExitCode.PASSED
    shown = capsys.readouterr().out
    sram = f"1280 KiB in {PRESETS['d1'].sram_banks} banks"
    for word in (*PRESETS, "8 x 8 x 4", sram, "amaranth", "0.5.10", "Verilator"):
        assert word in shown
    assert main(["info", "--preset", "fpga"]) == ExitCode.PASSED
    shown = capsys.readouterr().out
    assert "2 x 2 x 4" in shown
    assert "8 x 8 x 4" not in shown


def test_the_installed_command_prints_its_exit_codes_and_no_traceback(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("d1")
    done = subprocess.run([command, "run", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "1..99    the number of the test that failed" in done.stdout
    done = subprocess.run(
        [command, "run", tmp_path / "missing.elf"], capture_output=True, text=True
    )
    assert done.returncode == ExitCode.USAGE
    assert done.stderr == (
        f"d1: error: {tmp_path / 'missing.elf'}: cannot be read: No such file or directory\n"
    )


def test_a_missing_compiler_is_named_with_its_package(primes_elf: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("d1")
    done = subprocess.run(
        [command, "run", primes_elf, "--device", "rtl", "--preset", "tiny"],
        env={"PATH": str(tmp_path), "D1_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.NO_DEVICE
    assert "d1: error: g++ must be on PATH" in done.stderr
    assert "Debian package 'g++'" in done.stderr


def test_the_regression_has_options_of_its_own(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["regression", "--count", "0"])
    assert exit_.value.code == 2
    assert "--count must be positive, not 0" in capsys.readouterr().err
