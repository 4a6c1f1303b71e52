"""Number formats and arithmetic of the machine, exact to the bit.

One module a subject: `formats` (bit patterns and their values), `convert` (rounding FP32 to the
narrow formats and widening back), `random` (the stateless random bits of stochastic rounding) and
`dot_product` (the fused dot-product block). The contract in prose is docs/numerics.md.
"""

from d1_golden.numerics.dot_product import DotProductParams, dot_block, matmul_reference
from d1_golden.numerics.formats import (
    BF16,
    CFP8_BIASES,
    FP32,
    Cfp8Config,
    Cfp8Format,
    FloatFormat,
    Rounding,
)

__all__ = [
    "BF16",
    "CFP8_BIASES",
    "FP32",
    "Cfp8Config",
    "Cfp8Format",
    "DotProductParams",
    "FloatFormat",
    "Rounding",
    "dot_block",
    "matmul_reference",
]
