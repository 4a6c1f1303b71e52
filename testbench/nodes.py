"""Nodes that tests use and no preset is."""

from dataclasses import replace

from d1_golden.params import PRESETS, preset

__all__ = ["FOUR_ROWS", "SHAPES"]

#: The size of matrix unit between those of the presets, on a node with two threads.
FOUR_ROWS = replace(preset("fpga"), name="four_rows", matrix_rows=4, matrix_cols=4)
#: Nodes of every size of the matrix unit.
SHAPES = (*PRESETS.values(), FOUR_ROWS)
