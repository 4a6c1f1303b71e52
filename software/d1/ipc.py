"""Instructions per cycle: the programs whose issue rate has a bar, and how it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from d1_golden.assembler import assemble
from d1_golden.memory_map import CounterRegister, ThreadStatus

from d1.device import Device
from d1.elf import read_elf
from d1.errors import DeviceError
from d1.runner import run_program

__all__ = ["INTEGER_ELF", "SCALAR_MIX", "TOTAL_MIX", "integer_ipc", "mix_ipc"]

#: The integer benchmark; its argument is the number of threads.
INTEGER_ELF = Path(str(files("d1") / "benchmarks" / "integer.elf"))
_INTEGER_CYCLES = 1_000_000
#: Cycles until a mix runs from the instruction store on all threads, and those that count.
_WARM_CYCLES, _COUNTED_CYCLES = 4_000, 10_000

_UNROLLED = 32


def _mix(lines: Sequence[str]) -> str:
    """Return a loop for ever of many copies of some lines, with `{n}` counted up to 7.

    Loads and stores meet different banks; no instruction waits for a result.
    """
    body = "\n".join(line.format(n=n % 8, m=n % 8 + 8, x=n % 8 + 2)
                     for n in range(_UNROLLED) for line in lines)  # fmt: skip
    return f"""
        li s0, 0x4000
        li s1, 0x4040
        li t3, 3
    loop:
        {body}
        addi t1, t1, 1
        j loop
    """


#: Four independent instructions a cycle: two for the ALUs, a load and a store.
SCALAR_MIX = _mix(("addi s{x}, t3, {n}", "ld a{n}, 0(s0)", "xor t0, t3, s0", "sd t3, 0(s1)"))
#: Six instructions for the six slots: what one thread issues in two cycles beside another one.
TOTAL_MIX = _mix(
    (
        "addi s{x}, t3, {n}",
        "vfadd.f32 v{m}, v0, v1",
        "ld a{n}, 0(s0)",
        "sd t3, 0(s1)",
        "xor t0, t3, s0",
        "mmac.bf16.vv acc{n}, v2, v3",
    )
)


def mix_ipc(device: Device, source: str, threads: int) -> float:
    """Return the instructions that some threads retire a cycle in a program that never ends.

    Raises
    ------
    DeviceError
        If a thread does not go on.

    """
    device.reset()
    device.write(0, assemble(source).code)
    for thread in range(threads):
        device.start(0, thread=thread)
    device.link.advance(_WARM_CYCLES)
    before = device.counters()
    device.link.advance(_COUNTED_CYCLES)
    after = device.counters()
    for thread in range(threads):
        state = device.status(thread)
        if state.status is not ThreadStatus.RUNNING:
            raise DeviceError(f"thread {thread} of the measured program must go on, not be {state}")
    counted = {key: after[key] - before[key] for key in after}
    return counted[CounterRegister.INSTRUCTIONS] / counted[CounterRegister.CYCLES]


def integer_ipc(device: Device, threads: int) -> float:
    """Return the instructions a cycle of the integer benchmark, from its start to its end.

    Raises
    ------
    DeviceError
        If a thread finds something else than it must.

    """
    device.reset()
    program = read_elf(INTEGER_ELF, device.params)
    verdict = run_program(device, program, max_cycles=_INTEGER_CYCLES, arg=threads)
    if verdict.failed_test:
        raise DeviceError(f"the integer benchmark must pass, not fail in {verdict.failed_test}")
    counted = device.counters()
    return counted[CounterRegister.INSTRUCTIONS] / counted[CounterRegister.CYCLES]
