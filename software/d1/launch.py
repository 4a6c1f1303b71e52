"""Run the program of a schedule on a device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from d1.compiler.cache import program
from d1.compiler.choice import instructions
from d1.compiler.kernel import pass_table
from d1.compiler.layout import pack_operand
from d1.compiler.schedule import Schedule
from d1.device import Device

__all__ = ["launch", "operand_image"]

#: A program gets so many cycles for each instruction, and so many more, before it is given up.
_CYCLES_PER_INSTRUCTION, _EXTRA_CYCLES = 20, 10_000


def launch(
    device: Device,
    schedule: Schedule,
    sides: tuple[NDArray[np.generic], NDArray[np.generic]],
    *,
    read: bool = True,
) -> NDArray[np.uint8] | None:
    """Multiply what is on the sides of a schedule; return the result as the program leaves it.

    Parameters
    ----------
    device
        Where to run.
    schedule
        How.
    sides : [batch, lines, k] each
        Codes of the register side and of the memory side.
    read
        Whether the result is wanted; without, it stays in SRAM until the next product.

    Returns
    -------
    uint8[output_bytes] or None

    """
    image = operand_image(schedule, sides)
    with device.data.scratch(schedule.data_bytes) as base:
        outputs = device.call(
            program(schedule),
            base,
            threads=len(schedule.passes),
            inputs=[(base + schedule.output_bytes, image)],
            outputs=[(base, schedule.output_bytes)] if read else [],
            max_cycles=_EXTRA_CYCLES + _CYCLES_PER_INSTRUCTION * instructions(schedule),
        )
    return outputs[0] if read else None


def operand_image(
    schedule: Schedule, sides: tuple[NDArray[np.generic], NDArray[np.generic]]
) -> NDArray[np.uint8]:
    """Return what must lie behind the result: both sides and the table of passes.

    Parameters are those of `launch`.
    """
    tile = schedule.tile
    register, memory = (
        pack_operand(side, groups, lines, tile.word_bytes).view(np.uint8)
        for side, groups, lines in (
            (sides[0], schedule.register_groups, tile.register_lines),
            (sides[1], schedule.memory_groups, tile.memory_lines),
        )
    )
    gap = np.zeros(schedule.register_bytes - register.size, np.uint8)
    return np.concatenate([register, gap, memory, pass_table(schedule).view(np.uint8)])
