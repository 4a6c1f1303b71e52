# amaranth: UnusedElaboratable=no
"""The scalar register file against arrays of integers."""

import random

import numpy as np
import pytest
from d1_golden.params import preset
from d1_rtl.node.interfaces import ScalarResult
from d1_rtl.node.register_file import RegisterFile, ScalarRegister
from d1_rtl.sim.native import NativeModel, from_words, to_words
from d1_rtl.sim.on_fpga import OnFpga

from testbench.on_fpga import CycleModel

_SEED = 31
_CYCLES = 3000
_READS, _WRITES = 7, 6


@pytest.mark.parametrize("on_fpga", [False, True])
def test_reads_show_the_writes_of_their_own_cycle_and_threads_are_apart(on_fpga):
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
    file = RegisterFile(params, reads=_READS, writes=_WRITES)
    name = f"register_file_{int(on_fpga)}"
    with NativeModel(OnFpga(file) if on_fpga else file, name=name) as native:
        model = CycleModel(native) if on_fpga else native
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
