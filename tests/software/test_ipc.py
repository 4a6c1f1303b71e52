"""Instructions per cycle: what the issue stage must reach, on the RTL of preset d1."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from d1 import bench, ipc
from d1.device import Device, open_device
from d1.errors import DeviceError

_RATES = {
    "ipc_scalar_1thread": partial(ipc.mix_ipc, source=ipc.SCALAR_MIX, threads=1),
    "ipc_total_4threads": partial(ipc.mix_ipc, source=ipc.TOTAL_MIX, threads=4),
    "coremark_like_ipc_1thread": partial(ipc.integer_ipc, threads=1),
    "coremark_like_ipc_4threads": partial(ipc.integer_ipc, threads=4),
}
#: What the node can do at most.
_SLOTS = {"ipc_scalar_1thread": 4}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    with open_device("rtl", "d1") as opened:
        yield opened


@pytest.mark.parametrize("key", _RATES)
def test_as_many_instructions_are_issued_per_cycle_as_promised(device: Device, key: str) -> None:
    metric = bench.find_metric(key)
    assert metric.bar is not None
    assert metric.bar({}) <= _RATES[key](device) <= _SLOTS.get(key, 6)


def test_a_program_that_stops_has_no_rate() -> None:
    with open_device("golden", "tiny") as device:
        with pytest.raises(DeviceError, match="thread 0 of the measured program must go on"):
            ipc.mix_ipc(device, "ecall", 1)
