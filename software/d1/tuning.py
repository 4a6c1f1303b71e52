"""Measure schedules on the RTL, for `d1.compiler.choice` to prefer those that take fewest cycles.

Cycles are exact: a schedule takes as many each time that it starts on a node that was just reset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from d1_golden.memory_map import (
    CounterRegister,
    IssueSlot,
    StallCause,
    issue_counter,
    stall_counter,
)
from d1_golden.numerics import BF16, FP32, Cfp8Config, Cfp8Format
from d1_golden.params import PRESETS
from numpy.typing import NDArray

from d1.compiler.choice import Choice, candidates, estimate_cycles, product_key, spread
from d1.compiler.schedule import Schedule
from d1.compiler.tiling import Product
from d1.device import Device
from d1.launch import launch

__all__ = ["PRODUCTS", "measure", "measure_product", "shape", "tried", "write_figures"]

_CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7), Cfp8Config(Cfp8Format.CFP8_1_5_2, 15))

#: The products whose schedules are measured, by name.
PRODUCTS: dict[str, Product] = {
    f"{name} {size}": Product(
        params=PRESETS["d1"], batch=1, m=size, n=size, k=size, formats=formats
    )
    for name, formats, size in (
        ("bf16", BF16, 64),
        ("bf16", BF16, 256),
        ("cfp8", _CFP8, 64),
        ("cfp8", _CFP8, 256),
        ("fp32", FP32, 128),
    )
}

#: Blocks that are tried, best estimates first: for products of few cycles and of many.
_MANY_CYCLES, _BLOCKS, _BLOCKS_OF_LONG = 10_000, 4, 2
#: What of the counters is kept beside the cycles.
_COUNTERS = {
    "vector_0": issue_counter(IssueSlot.VECTOR0),
    "vector_1": issue_counter(IssueSlot.VECTOR1),
    "matrix_steps": CounterRegister.MATRIX_STEPS,
    "bank_conflicts": CounterRegister.BANK_CONFLICTS,
    "stalled_by_slot": stall_counter(StallCause.VECTOR_SLOT),
    "stalled_by_operand": stall_counter(StallCause.VECTOR_OPERAND),
}


def shape(product: Product) -> tuple[Any, ...]:
    """Return a product's arguments of `choose_schedule`."""
    return (
        product.params,
        product.batch,
        product.row_tiles,
        product.column_tiles,
        product.steps,
        product.formats,
    )


def tried(product: Product) -> Iterator[Choice]:
    """Yield the choices to be measured: the best blocks, on all threads and half, in some ways."""
    of_product = shape(product)
    unswapped = [choice for choice in candidates(*of_product) if not choice.swapped]
    unswapped.sort(key=lambda choice: estimate_cycles(choice.schedule(*of_product)))
    is_long = estimate_cycles(unswapped[0].schedule(*of_product)) > _MANY_CYCLES
    for block in unswapped[: _BLOCKS_OF_LONG if is_long else _BLOCKS]:
        all_threads = product.params.threads
        for threads in (all_threads,) if is_long else (all_threads, max(all_threads // 2, 1)):
            for leads in dict.fromkeys((spread(threads, block.memory_group), ())):
                for unroll in (block.unroll,) if is_long else (block.unroll, 2 * block.unroll):
                    yield replace(block, threads=threads, leads=leads, unroll=unroll)


def measure(device: Device, schedule: Schedule) -> dict[str, int]:
    """Return the cycles of a schedule, and some counters, on a device that is reset before.

    Parameters
    ----------
    device
        What has been left in its SRAM is lost.
    schedule
        Its operands are zeros: the cycles do not depend on them.

    """
    device.reset()
    launch(device, schedule, _zeros(schedule), read=False)
    counters = device.counters()
    cycles = {"cycles": counters[CounterRegister.CYCLES]}
    return cycles | {name: counters[register] for name, register in _COUNTERS.items()}


def measure_product(device: Device, product: Product) -> list[dict[str, Any]]:
    """Return choice and figures of every schedule that is tried, in the form of `MEASURED`."""
    schedules = [(choice, choice.schedule(*shape(product))) for choice in tried(product)]
    return [{"choice": asdict(c), **measure(device, schedule)} for c, schedule in schedules]


def write_figures(products: Iterable[tuple[Product, list[dict[str, Any]]]], path: Path) -> None:
    """Write the figures of products, a line for each schedule."""
    entries = [
        f"{json.dumps(product_key(*shape(product)))}: [\n    "
        + ",\n    ".join(json.dumps(figure) for figure in figures)
        + "\n  ]"
        for product, figures in products
    ]
    path.write_text("{\n  " + ",\n  ".join(entries) + "\n}\n")


def _zeros(schedule: Schedule) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    tile = schedule.tile
    terms = schedule.steps * tile.terms
    code = np.dtype(f"u{tile.word_bytes // (tile.terms * tile.halves)}")
    return (
        np.zeros((schedule.batch, schedule.register_tiles * tile.register_lines, terms), code),
        np.zeros((schedule.batch, schedule.memory_tiles * tile.memory_lines, terms), code),
    )
