# amaranth: UnusedElaboratable=no
"""Multiplication and division against Python integers."""

import itertools
import random
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from d1_rtl.node.micro_op import MulDivOp
from d1_rtl.node.muldiv import MulDiv, Multiplier, muldiv_layout, muldiv_result_layout

from testbench.on_fpga import CycleModel, gated_model

_SEED = 7
_M64 = (1 << 64) - 1
_CORNERS = [
    value & _M64
    for value in (0, 1, 2, -1, -2, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x1_0000_0000,
                  -0x8000_0000, (1 << 63) - 1, 1 << 63, 0xAAAA_AAAA_AAAA_AAAA)
]  # fmt: skip
_MULTIPLY = (MulDivOp.MUL, MulDivOp.MULH, MulDivOp.MULHSU, MulDivOp.MULHU)
_HAS_WORD_FORM = (MulDivOp.MUL, MulDivOp.DIV, MulDivOp.DIVU, MulDivOp.REM, MulDivOp.REMU)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _divide(a: int, b: int) -> tuple[int, int]:
    """Return quotient and remainder as RISC-V defines them, rounded toward zero."""
    if b == 0:
        return -1, a
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient, a - b * quotient


def _expected(op: MulDivOp, word: bool, a: int, b: int) -> int:
    bits = 32 if word else 64
    signed = _signed(a, bits), _signed(b, bits)
    unsigned = a & (1 << bits) - 1, b & (1 << bits) - 1
    result = {
        MulDivOp.MUL: lambda: a * b,
        MulDivOp.MULH: lambda: signed[0] * signed[1] >> 64,
        MulDivOp.MULHSU: lambda: signed[0] * unsigned[1] >> 64,
        MulDivOp.MULHU: lambda: a * b >> 64,
        MulDivOp.DIV: lambda: _divide(*signed)[0],
        MulDivOp.DIVU: lambda: _divide(*unsigned)[0],
        MulDivOp.REM: lambda: _divide(*signed)[1],
        MulDivOp.REMU: lambda: _divide(*unsigned)[1],
    }[op]()
    return (_signed(result, 32) if word else result) & _M64


def _latency(model: Any, op: MulDivOp, word: bool, a: int, b: int) -> int:
    """Return the cycles from an operation to its result, when nothing is in the way."""
    if op in _MULTIPLY:
        return Multiplier.LATENCY
    if isinstance(model, CycleModel):
        return 17
    bits = 32 if word else 64
    if op in (MulDivOp.DIV, MulDivOp.REM):
        magnitudes = [abs(_signed(value, bits)) for value in (a, b)]
    else:
        magnitudes = [value & (1 << bits) - 1 for value in (a, b)]
    dividend, divisor = (max(1, value.bit_length()) for value in magnitudes)
    return 4 + max(0, dividend - divisor) // 2


@pytest.fixture(scope="module", params=["simulator", "FPGA"])
def model(request):
    with closing(gated_model(MulDiv(), name="muldiv", on_fpga=request.param == "FPGA")) as model:
        yield model


@dataclass
class _Operation:
    """An operation, and where its result goes."""

    op: MulDivOp
    word: bool
    a: int
    b: int
    thread: int = 0
    rd: int = 1

    @property
    def divides(self) -> bool:
        return self.op not in _MULTIPLY

    @property
    def result(self) -> tuple[int, int, int]:
        return self.thread, self.rd, _expected(self.op, self.word, self.a, self.b)


class _Driver:
    """Offers operations and takes results, cycle by cycle."""

    def __init__(self, model: Any) -> None:
        self.model, self.now = model, 0
        model.set("i__valid", 0)
        model.set("o__ready", 0)
        model.reset()

    def cycle(self, operation: _Operation | None = None, take: bool = True):
        """Run a cycle; return whether the operation was taken, and the result that was."""
        model = self.model
        model.set("i__valid", operation is not None)
        if operation is not None:
            model.set("i__payload", muldiv_layout().const(vars(operation)).as_bits())
        model.set("o__ready", take)
        taken = operation is not None and bool(model.get("i__ready"))
        result = None
        if model.get("o__valid") and take:
            result = self.offered()
        model.step()
        self.now += 1
        return taken, result

    def offered(self) -> tuple[int, int, int]:
        """Return what is on `o`."""
        view = muldiv_result_layout().from_bits(self.model.get("o__payload"))
        return view.thread, view.rd, view.value

    def execute(self, operation: _Operation) -> tuple[tuple[int, int, int], int]:
        """Return the result of an operation that is alone, and its latency."""
        taken, _ = self.cycle(operation)
        assert taken
        for cycles in range(1, 50):
            _, result = self.cycle()
            if result is not None:
                assert self.model.get("busy") == 0
                return result, cycles
        raise AssertionError(f"waited 50 cycles for the result of {operation}")


@pytest.mark.parametrize("op", MulDivOp)
def test_every_pair_of_corners_and_random_operands_agree_with_python_and_in_time(model, op):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    driver = _Driver(model)
    pairs = list(itertools.product(_CORNERS, repeat=2))
    pairs += [
        (rng.getrandbits(rng.randint(1, 64)), rng.getrandbits(rng.randint(1, 64)))
        for _ in range(300)
    ]
    for word in (False, True) if op in _HAS_WORD_FORM else (False,):
        for a, b in pairs:
            operation = _Operation(op, word, a, b, rng.randrange(4), rng.randrange(32))
            result, cycles = driver.execute(operation)
            assert result == operation.result, operation
            assert cycles == _latency(model, op, word, a, b), operation


def test_a_division_takes_4_to_35_cycles_and_of_32_bits_at_most_19_or_17_on_an_fpga(model):
    driver = _Driver(model)
    top = 1 << 63
    for operation, expected in (
        (_Operation(MulDivOp.DIVU, False, 5, 7), 4),
        (_Operation(MulDivOp.DIVU, False, top, 1), 35),
        (_Operation(MulDivOp.REM, False, top, 0), 35),
        (_Operation(MulDivOp.DIV, True, 1 << 31, 1), 19),
        (_Operation(MulDivOp.REMU, False, 1000, 10), 7),
    ):
        cycles = 17 if isinstance(model, CycleModel) else expected
        assert driver.execute(operation)[1] == cycles


def test_a_multiplication_enters_every_cycle_and_leaves_two_cycles_later(model):
    rng = random.Random(_SEED)
    driver = _Driver(model)
    operations = [
        _Operation(rng.choice(_MULTIPLY), False, rng.getrandbits(64), rng.getrandbits(64), n % 4, n)
        for n in range(32)
    ]
    results = []
    for operation in [*operations, None, None]:
        taken, result = driver.cycle(operation)
        assert taken == (operation is not None)
        results.append(result)
    assert results == [None] * 2 + [operation.result for operation in operations]


def test_multiplications_pass_a_division_whose_result_then_goes_first(model):
    driver = _Driver(model)
    division = _Operation(MulDivOp.DIV, False, 1 << 40, 3, 1, 5)
    latency = _latency(model, MulDivOp.DIV, False, 1 << 40, 3)
    assert driver.cycle(division)[0]
    multiplications = [_Operation(MulDivOp.MUL, False, n, 3, 2, n) for n in range(32)]
    results = []
    for operation in multiplications:
        taken, result = driver.cycle(operation)
        assert taken
        results.append(result)
    assert results[latency - 1] == division.result
    del results[latency - 1]
    assert results == [None] * 2 + [operation.result for operation in multiplications[: 32 - 3]]


def test_a_second_division_waits_until_the_result_of_the_first_has_left(model):
    driver = _Driver(model)
    first, second = (_Operation(MulDivOp.REMU, False, 1000 + n, 10, n, 1 + n) for n in (0, 1))
    assert driver.cycle(first)[0]
    waited = 0
    while not (answer := driver.cycle(second))[0]:
        waited += 1
        assert waited < 50, "waited 50 cycles for the divider"
        assert answer[1] in (None, first.result)
    assert waited == _latency(model, first.op, False, first.a, first.b)


def test_results_that_are_not_taken_stay_and_none_is_lost(model):
    rng = random.Random(_SEED)
    print(f"seed {_SEED}")
    driver = _Driver(model)
    products, quotients = [], []
    offered, promised, operation = None, False, None
    stuck = eager = 0.5
    counts = {"product": 0, "quotient": 0, "refused": 0}
    for now in range(6000):
        if now % 50 == 0:
            stuck, eager = rng.choice((0.0, 0.3, 0.9)), rng.choice((0.3, 1.0))
        if operation is None and rng.random() < eager:
            operation = _Operation(
                rng.choice((*_MULTIPLY * 4, *MulDivOp)),
                False,
                rng.getrandbits(rng.randint(1, 64)),
                rng.getrandbits(rng.randint(1, 64)),
                rng.randrange(4),
                rng.randrange(32),
            )
        model.set("o__ready", 0)
        if offered is not None:
            assert model.get("o__valid") and driver.offered() == offered, "held until taken"
        offered = driver.offered() if model.get("o__valid") else None
        free = model.get("multiplier_free")
        taken, result = driver.cycle(operation, take=rng.random() >= stuck)
        if operation is not None:
            assert taken or operation.divides or not promised
            counts["refused"] += not taken and not operation.divides
        promised = bool(free)
        if result is not None:
            offered = None
            if quotients and result == quotients[0]:
                counts["quotient"] += 1
                quotients.pop()
            else:
                counts["product"] += 1
                assert result == products.pop(0)
        if taken:
            assert not (operation.divides and quotients)
            (quotients if operation.divides else products).append(operation.result)
            operation = None
    print(counts)
    assert counts["product"] > 1000 and counts["quotient"] > 100 and counts["refused"] > 100
    for _ in range(60):
        _, result = driver.cycle()
        if result is not None:
            (quotients if quotients and result == quotients[0] else products).remove(result)
    assert not products and not quotients and model.get("busy") == 0
