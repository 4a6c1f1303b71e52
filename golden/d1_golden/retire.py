"""The record of a retired instruction, the same for the golden node and the RTL."""

import numpy as np

__all__ = ["RETIRE_DTYPE"]

#: One retired instruction: its address and word, its thread and, with `rd_valid`, the scalar
#: register it wrote (never x0). 24 bytes. The RTL's driver puts the cycle before it.
RETIRE_DTYPE = np.dtype(
    [
        ("pc", "<u8"),
        ("insn", "<u4"),
        ("rd", "u1"),
        ("rd_valid", "u1"),
        ("thread", "u1"),
        ("pad", "u1"),
        ("value", "<u8"),
    ]
)
