# amaranth: UnusedElaboratable=no
"""CFP8 to BF16: every code of every configuration."""

import numpy as np
from d1_golden.numerics import CFP8_BIASES, Cfp8Config, Cfp8Format
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_rtl.numerics.cfp8 import Cfp8ToBf16
from d1_rtl.sim.native import NativeModel


def test_every_code_of_every_configuration_unpacks_as_golden():
    codes = np.arange(256, dtype=np.uint8)
    configs = [Cfp8Config(split, bias) for split in Cfp8Format for bias in CFP8_BIASES]
    expected = np.concatenate([cfp8_to_bf16_array(codes, config) for config in configs])
    # Bias in bits 5..0, the split above: as in the CSRs.
    words = np.repeat([config.bias | config.format << 6 for config in configs], len(codes))
    inputs = {"code": np.tile(codes, len(configs)), "config": words.astype(np.uint8)}
    with NativeModel(Cfp8ToBf16(), name="cfp8_to_bf16") as model:
        bf16 = model.play(inputs, ["bf16"])["bf16"][:, 0]
    assert len(bf16) == 256 * 64 * 2
    assert np.array_equal(bf16, expected)
