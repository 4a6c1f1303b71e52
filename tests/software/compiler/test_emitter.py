import d1
import numpy as np
import pytest
from d1.compiler.emitter import Emitter
from d1.device import Device

A0, SUM, INNER, INNER_END, OUTER, OUTER_END = 10, 5, 6, 7, 11, 12


@pytest.fixture(scope="module")
def device() -> Device:
    return d1.open("golden", "tiny")


def run(device: Device, code: Emitter) -> int:
    code.emit("sd", rs2=SUM, rs1=A0, imm=0)
    code.emit("ecall")
    base = device.data.base
    (result,) = device.call(code.program(), base, outputs=[(base, 8)], max_cycles=200_000)
    return int(result.view("<i8")[0])


@pytest.mark.parametrize("count", [1, 2, 7, 5000])
def test_a_loop_runs_as_often_as_it_says(device: Device, count: int):
    code = Emitter(range(16, 32), scratch=9)
    code.set(SUM, 0)
    with code.repeat(count, pointer=SUM, step=3, end=INNER_END):
        code.add(SUM, SUM, 3)
    assert run(device, code) == 3 * count


def test_loops_nest_and_bodies_may_be_longer_than_a_branch_reaches(device: Device):
    code = Emitter(range(16, 32), scratch=9)
    code.set(SUM, 0)
    code.set(OUTER, 100)
    with code.repeat(3, pointer=OUTER, step=-8, end=OUTER_END):
        code.set(INNER, 0)
        with code.repeat(4, pointer=INNER, step=1 << 20, end=INNER_END):
            for _ in range(1500):
                code.add(SUM, SUM, 1)
            code.add(INNER, INNER, 1 << 20)
        code.add(OUTER, OUTER, -8)
    assert run(device, code) == 3 * 4 * 1500


def test_constants_of_any_size_are_added_with_or_without_room_in_the_pool(device: Device):
    values = [0, 1, -2048, 2047, 2048, -2049, 123456, -123456, 1 << 40, 123456]
    for pool in (range(16, 32), range(16, 17), range(0)):
        code = Emitter(pool, scratch=9)
        code.set(SUM, 0)
        for value in values:
            code.add(SUM, SUM, value)
        assert run(device, code) == int(np.sum(values))


def test_adding_nothing_in_place_takes_no_instruction():
    code = Emitter(range(0), scratch=9)
    code.add(SUM, SUM, 0)
    assert code.program() == b""
    code.add(SUM, A0, 0)
    assert len(code.program()) == 4
