"""The training node's instruction-set model."""

from d1_golden.retire import RETIRE_DTYPE

from .golden_node import GoldenNode

__all__ = ["RETIRE_DTYPE", "GoldenNode"]
