"""A phase-locked loop that makes the node's clock of the board's."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["Pll", "PllParams"]

#: Ranges in Hz, and of the dividers.
_INPUT = (8_000_000, 400_000_000)
_DETECTOR = (10_000_000, 400_000_000)
_OSCILLATOR = (400_000_000, 800_000_000)
_OUTPUT = (3_125_000, 400_000_000)
_DIVIDER = (1, 128)
#: The middle of the oscillator's range, which is aimed at.
_MIDDLE = sum(_OSCILLATOR) // 2


@dataclass(frozen=True, kw_only=True)
class PllParams:
    """The dividers of a PLL: input, loop and output.

    The phase detector has the input divided by `input_divider`, the oscillator that times
    `feedback_divider`, the output the oscillator divided by `output_divider`.

    Parameters
    ----------
    input_hz
        Frequency of the input clock.
    input_divider, feedback_divider, output_divider
        1..128 each.

    Raises
    ------
    ValueError
        If a divider or one of the frequencies is out of its range.

    Ref: Lattice FPGA-DS-02012, "ECP5 and ECP5-5G Family Data Sheet", section 3.19, sysCLOCK PLL
    Timing.
    """

    input_hz: int
    input_divider: int
    feedback_divider: int
    output_divider: int

    def __post_init__(self) -> None:
        for name in ("input_divider", "feedback_divider", "output_divider"):
            _check(name, getattr(self, name), _DIVIDER)
        for name, bounds in (
            ("input_hz", _INPUT),
            ("detector_hz", _DETECTOR),
            ("oscillator_hz", _OSCILLATOR),
            ("output_hz", _OUTPUT),
        ):
            _check(name, getattr(self, name), bounds)

    @classmethod
    def of(cls, *, input_hz: int, output_hz: int) -> "PllParams":
        """Choose the dividers for a clock, with the oscillator near the middle of its range.

        Raises
        ------
        ValueError
            If no dividers give exactly `output_hz`.
        """
        found = []
        low, high = _DIVIDER
        for input_divider in range(low, min(high, input_hz // _DETECTOR[0]) + 1):
            for output_divider in range(low, high + 1):
                oscillator_hz = output_hz * output_divider
                feedback, rest = divmod(oscillator_hz * input_divider, input_hz)
                in_range = _OSCILLATOR[0] <= oscillator_hz <= _OSCILLATOR[1]
                if in_range and not rest and low <= feedback <= high:
                    rank = (input_divider, abs(oscillator_hz - _MIDDLE))
                    found.append((rank, feedback, output_divider))
        if not found:
            raise ValueError(
                f"output_hz must be a frequency that a PLL makes of {input_hz} Hz, "
                f"not {output_hz!r}"
            )
        (input_divider, _), feedback, output_divider = min(found)
        return cls(
            input_hz=input_hz,
            input_divider=input_divider,
            feedback_divider=feedback,
            output_divider=output_divider,
        )

    @property
    def detector_hz(self) -> float:
        """Frequency at the phase detector."""
        return self.input_hz / self.input_divider

    @property
    def oscillator_hz(self) -> float:
        """Frequency of the oscillator."""
        return self.detector_hz * self.feedback_divider

    @property
    def output_hz(self) -> float:
        """Frequency of the output."""
        return self.oscillator_hz / self.output_divider


class Pll(wiring.Component):
    """Make a clock of `sync`: the cell `d1_pll`, an EHXPLLL of an ECP5.

    In simulation the clock is that of `sync`. No golden twin: the golden node has no clock.

    Parameters
    ----------
    params
        The dividers.

    Members
    -------
    clk : Out(1)
        The clock.
    locked : Out(1)
        It has its frequency; of no clock.
    """

    #: The clock.
    clk: Out(1)
    #: It has its frequency; of no clock.
    locked: Out(1)

    def __init__(self, params: PllParams):
        self._params = params
        super().__init__()

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        clock: Any = Signal()
        m.submodules.cell = Instance(
            "d1_pll",
            p_INPUT_DIVIDER=self._params.input_divider,
            p_FEEDBACK_DIVIDER=self._params.feedback_divider,
            p_OUTPUT_DIVIDER=self._params.output_divider,
            i_clk=ClockSignal("sync"),
            o_o=clock,
            o_locked=self.locked,
        )
        m.d.comb += self.clk.eq(clock)
        return m


def _check(name: str, value: float, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")
