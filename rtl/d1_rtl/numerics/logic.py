"""Pieces of arithmetic that several units are made of."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from d1_golden.numerics.formats import FP32

__all__ = ["is_fp32_nan", "named", "normalised", "registered"]


def named(m: Module, value: Value, width: int, name: str) -> Signal:
    """Return a signal of a width that is wide enough for `value`, or cuts it on purpose."""
    signal = Signal(width, name=name)
    m.d.comb += signal.eq(value)
    return signal


def registered(m: Module, value: Value, width: int, name: str) -> Signal:
    """Return `value` one cycle later, in a register without reset."""
    register = Signal(width, name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def is_fp32_nan(number: Value) -> Value:
    """Return whether 32 bits are a NaN in FP32."""
    return number[:31] > FP32.infinity_code


def normalised(m: Module, value: Value) -> tuple[Value, Value]:
    """Return a value shifted left until its top bit is set, and by how far.

    A value of zero is shifted by one less than its width, which must be a power of two.
    """
    width = len(value)
    digits: list[Value] = []
    step = width // 2
    while step:
        zero = named(m, value[-step:] == 0, 1, "zero")
        digits.insert(0, zero)
        value = named(m, Mux(zero, Cat(Const(0, step), value[:-step]), value), width, "rest")
        step //= 2
    return value, Cat(digits)
