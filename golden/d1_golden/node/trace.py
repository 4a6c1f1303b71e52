"""Traces of retired instructions: records to compare, and text to read."""

from __future__ import annotations

import numpy as np

__all__ = ["RETIRE_DTYPE"]

#: One retired instruction: its address and word and, with `rd_valid`, the scalar register it wrote
#: (never x0). 24 bytes; the native driver of the RTL records the same.
RETIRE_DTYPE = np.dtype(
    [
        ("pc", "<u8"),
        ("insn", "<u4"),
        ("rd", "u1"),
        ("rd_valid", "u1"),
        ("pad", "<u2"),
        ("value", "<u8"),
    ]
)
