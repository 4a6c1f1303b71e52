"""Compile the benchmark programs of `d1.benchmarks` anew: with an argument, into that folder.

The programs are kept compiled beside their sources, so that what they measure does not depend on a
compiler; a test compares them with what this makes. Addresses come from the memory map.
"""

import sys
from pathlib import Path

from d1.c_compiler import RV64IM, compile_c
from d1_golden.memory_map import (
    Command,
    IdentityRegister,
    ThreadRegister,
    ThreadStatus,
    register_address,
)

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "software" / "d1" / "benchmarks"
#: LLVM has no model of this core; Rocket's is of an in-order core with the same latency of loads.
#: Like for other cores that issue in order, instructions are scheduled once more behind the
#: allocation of registers.
_SCHEDULE = ("-mcpu=rocket_rv64+m", "-mllvm", "-enable-post-misched")
_THREAD_BASE = register_address(ThreadRegister.PC)
_MACROS = {
    "THREAD_BASE": _THREAD_BASE,
    "THREAD_STRIDE": register_address(ThreadRegister.PC, 1) - _THREAD_BASE,
    "REGISTER_PC": ThreadRegister.PC,
    "REGISTER_COMMAND": ThreadRegister.COMMAND,
    "REGISTER_STATUS": ThreadRegister.STATUS,
    "COMMAND_START": Command.START,
    "STATUS_RUNNING": ThreadStatus.RUNNING,
    "THREADS_ADDRESS": register_address(IdentityRegister.THREADS),
}


def build(folder: Path) -> list[Path]:
    """Compile every program into a folder; return the files."""
    macros = [f"-D{name}={int(value):#x}" for name, value in _MACROS.items()]
    options = [
        *RV64IM,
        *_SCHEDULE,
        "-g0",
        "-Wall",
        "-Werror",
        *macros,
        "-T",
        str(ROOT / "software" / "examples" / "node.ld"),
    ]
    output = folder / "integer.elf"
    compile_c([FOLDER / "start.S", FOLDER / "integer.c"], output, options=options)
    return [output]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER):
        print(f"{path}: {path.stat().st_size} bytes")
