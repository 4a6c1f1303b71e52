# amaranth: UnusedElaboratable=no
"""The address unit: what it asks for, what holds it off, and what it calculates."""

import itertools
from typing import Any

import pytest
from d1_golden.csr import Cause
from d1_golden.memory_map import CONTROL_BASE
from d1_golden.params import preset
from d1_rtl.node.address_unit import AddressUnit
from d1_rtl.node.interfaces import sram_write_layout
from d1_rtl.node.micro_op import AluOp, OperandA, Unit, slot_layout
from d1_rtl.sim.native import NativeModel

_REQUESTS = ("sram_read", "sram_write", "control")
_PARAMS = preset("tiny")


@pytest.fixture(scope="module")
def model():
    with NativeModel(AddressUnit(_PARAMS), name="address_unit") as opened:
        yield opened


def _show(model, unit: Unit, address: int, **changes: Any) -> None:
    """Put an instruction into the slot; a doubleword of x2 = 0x0123456789abcdef by default."""
    inputs = {"killed": 0, "hold": 0, "size_log2": 3, "broadcast": 0, "valid": 1} | changes
    slot = {
        "valid": inputs["valid"],
        "x1": address - 8,
        "x2": 0x0123456789ABCDEF,
        "uop": {
            "unit": unit,
            "immediate": 8,
            "size_log2": inputs["size_log2"],
            "broadcast": inputs["broadcast"],
        },
    }
    model.set("slot", slot_layout().const(slot).as_bits())
    model.set("killed", inputs["killed"])
    model.set("hold", inputs["hold"])
    for name in _REQUESTS:
        model.set(f"{name}__request__ready", 0)


def _asked(model) -> set[str]:
    return {name for name in _REQUESTS if model.get(f"{name}__request__valid")}


@pytest.mark.parametrize(
    ("unit", "address", "port"),
    [
        (Unit.LOAD, 0x1000, "sram_read"),
        (Unit.STORE, 0x1000, "sram_write"),
        (Unit.LOAD, CONTROL_BASE, "control"),
        (Unit.STORE, CONTROL_BASE + 0x1008, "control"),
    ],
)
def test_an_access_is_asked_for_until_it_is_taken(model, unit, address, port):
    _show(model, unit, address)
    assert _asked(model) == {port}
    assert not model.get("done") and not model.get("fault")
    assert model.get("address") == address
    model.set(f"{port}__request__ready", 1)
    assert model.get("done")


@pytest.mark.parametrize("unit", [Unit.LOAD, Unit.STORE])
@pytest.mark.parametrize("address", [0x1000, CONTROL_BASE])
def test_one_that_is_killed_is_over_without_having_asked(model, unit, address):
    _show(model, unit, address, killed=1)
    assert _asked(model) == set()
    assert model.get("done")


@pytest.mark.parametrize("unit", [Unit.LOAD, Unit.STORE])
@pytest.mark.parametrize("address", [0x1000, CONTROL_BASE])
def test_one_that_is_held_waits_without_asking(model, unit, address):
    _show(model, unit, address, hold=1)
    assert _asked(model) == set()
    assert not model.get("done")


def test_an_empty_slot_asks_for_nothing(model):
    for unit in (Unit.LOAD, Unit.STORE, Unit.VECTOR_LOAD):
        _show(model, unit, 0x1000, valid=0)
        assert _asked(model) == set()


@pytest.mark.parametrize("size_log2", range(4))
@pytest.mark.parametrize("offset", range(8))
def test_a_store_writes_its_bytes_of_the_word(model, size_log2, offset):
    _show(model, Unit.STORE, 0x1000 + offset, size_log2=size_log2)
    if offset % (1 << size_log2):
        assert model.get("fault") and model.get("cause") == Cause.STORE_MISALIGNED
        assert _asked(model) == set() and model.get("done")
        return
    write = sram_write_layout(_PARAMS).from_bits(model.get("sram_write__request__payload"))
    assert write.mask == (1 << (1 << size_log2)) - 1 << offset
    assert write.line == 0x1000 >> 6
    data = write.data.to_bytes(64, "little")
    stored = (0x0123456789ABCDEF).to_bytes(8, "little")[: 1 << size_log2]
    assert data[offset : offset + (1 << size_log2)] == stored


@pytest.mark.parametrize("unit", [Unit.VECTOR_LOAD, Unit.VECTOR_STORE, Unit.MATRIX_MEMORY])
def test_addresses_of_vectors_are_checked_and_asked_for_elsewhere(model, unit):
    size = _PARAMS.vector_bytes
    for address, broadcast in itertools.product(
        (0, 4, size // 2, size, _PARAMS.sram_bytes - size, _PARAMS.sram_bytes, CONTROL_BASE), (0, 1)
    ):
        _show(model, unit, address, broadcast=broadcast)
        wrong = address % (4 if broadcast else size) or address >= _PARAMS.sram_bytes
        assert model.get("fault") == bool(wrong), (address, broadcast)
        assert _asked(model) == set()
        assert model.get("done")
        if wrong:
            assert model.get("cause") == Cause.VECTOR_FAULT


@pytest.mark.parametrize(
    ("op", "uop", "value"),
    [
        (AluOp.ADD, {"a": OperandA.RS1}, 0x8000_4C70),
        (AluOp.ADD, {"a": OperandA.RS1, "word": 1}, 0xFFFF_FFFF_8000_4C70),
        (AluOp.ADD, {"a": OperandA.RS1, "b_immediate": 1}, 0x8000_2800),
        (AluOp.ADD, {"a": OperandA.PC, "b_immediate": 1}, 0x3F8),
        (AluOp.ADD, {"a": OperandA.ZERO, "b_immediate": 1}, 0xFFFF_FFFF_FFFF_FFF8),
        (AluOp.XOR, {"a": OperandA.RS1}, 0x8000_0C60),
        (AluOp.OR, {"a": OperandA.RS1}, 0x8000_2C68),
        (AluOp.AND, {"a": OperandA.RS1}, 0x2008),
    ],
)
def test_an_integer_operation_is_over_at_once_and_asks_for_nothing(model, op, uop, value):
    slot = {
        "valid": 1,
        "pc": 0x400,
        "x1": 0x8000_2808,
        "x2": 0x2468,
        "uop": {"unit": Unit.ALU, "op": op.value, "immediate": -8, **uop},
    }
    model.set("slot", slot_layout().const(slot).as_bits())
    model.set("killed", 0)
    model.set("hold", 0)
    assert model.get("value") == value
    assert model.get("done") and not model.get("fault")
    assert not model.get("scalar") and not model.get("vector")
    assert _asked(model) == set()
