"""The training node's instruction-set model."""

from .golden_node import GoldenNode
from .trace import RETIRE_DTYPE

__all__ = ["RETIRE_DTYPE", "GoldenNode"]
