# amaranth: UnusedElaboratable=no
"""The scalar register file against arrays of integers."""

import random

import numpy as np
import pytest
from d1_golden.params import preset
from d1_rtl.node.interfaces import ScalarResult
from d1_rtl.node.register_file import RegisterFile, ScalarRegister
from d1_rtl.sim.native import NativeModel, from_words, to_words

_SEED = 31
_CYCLES = 3000
_READS, _WRITES = 8, 4


class OnFpga(RegisterFile):
    """As it is where small memories have one write port."""

    def elaborate(self, platform):
        return super().elaborate("an FPGA")


@pytest.mark.parametrize("kind", [RegisterFile, OnFpga])
def test_reads_show_the_writes_of_their_own_cycle_and_threads_are_apart(kind):
    params = preset("tiny")
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    places = [(thread, number) for thread in range(params.threads) for number in range(4)]
    registers = dict.fromkeys(places, 0)
    inputs: dict[str, list[int]] = {}
    expected: list[list[int]] = []
    for _ in range(_CYCLES):
        # x0 is never written.
        written = rng.sample([place for place in places if place[1]], _WRITES)
        for port, (thread, rd) in enumerate(written):
            value, valid = rng.getrandbits(64), rng.random() < 0.6
            result = {"valid": int(valid), "thread": thread, "rd": rd, "value": value}
            inputs.setdefault(f"writes__{port}", []).append(ScalarResult.const(result).as_bits())
            if valid:
                registers[thread, rd] = value
        read = rng.choices(places, k=_READS)
        for port, (thread, number) in enumerate(read):
            register = ScalarRegister.const({"number": number, "thread": thread})
            inputs.setdefault(f"registers__{port}", []).append(register.as_bits())
        expected.append([registers[place] for place in read])
    file = kind(params, reads=_READS, writes=_WRITES)
    with NativeModel(file, name=f"register_file_{kind.__name__}") as model:
        model.reset()
        widths = {
            name: (ScalarResult if name.startswith("writes") else ScalarRegister).as_shape().size
            for name in inputs
        }
        outputs = model.play(
            {name: to_words(values, widths[name]) for name, values in inputs.items()},
            [f"values__{port}" for port in range(_READS)],
        )
    for port in range(_READS):
        values = from_words(outputs[f"values__{port}"])
        assert values == [row[port] for row in expected]
    assert len(np.unique([row[0] for row in expected])) > 100
