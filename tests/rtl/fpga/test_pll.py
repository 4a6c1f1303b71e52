"""The dividers of the PLL, also against those that Project Trellis' ecppll chooses."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
from d1_rtl.fpga.pll import PllParams


@pytest.mark.parametrize("board_mhz", [12, 25, 100])
@pytest.mark.parametrize("mhz", [25, 30, 40, 50])
def test_a_clock_is_made_exactly_with_everything_in_its_range(board_mhz, mhz):
    pll = PllParams.of(input_hz=board_mhz * 10**6, output_hz=mhz * 10**6)
    assert pll.output_hz == mhz * 10**6
    assert 400e6 <= pll.oscillator_hz <= 800e6
    assert pll.detector_hz >= 10e6


@pytest.mark.parametrize("mhz", [25, 50, 75])
def test_the_dividers_that_ecppll_chooses_are_allowed_and_make_the_same_clock(tmp_path, mhz):
    program = Path(sysconfig.get_path("scripts")) / "yowasp-ecppll"
    subprocess.run([program, "-i", "25", "-o", str(mhz), "-f", "pll.v"], cwd=tmp_path, check=True)
    text = (tmp_path / "pll.v").read_text()
    values = {name: int(v) for name, v in re.findall(r"\.(CLK\w+_DIV)\((\d+)\)", text)}
    pll = PllParams(
        input_hz=25_000_000,
        input_divider=values["CLKI_DIV"],
        feedback_divider=values["CLKFB_DIV"] * values["CLKOP_DIV"],
        output_divider=values["CLKOP_DIV"],
    )
    assert pll.output_hz == mhz * 10**6


def test_a_clock_that_no_pll_makes_is_refused():
    with pytest.raises(
        ValueError, match="output_hz must be a frequency that a PLL makes of 25000000 Hz, not 1"
    ):
        PllParams.of(input_hz=25_000_000, output_hz=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_hz": 5_000_000}, "input_hz must be in 8000000..400000000, not 5000000"),
        ({"output_divider": 129}, "output_divider must be in 1..128, not 129"),
        ({"feedback_divider": 10}, "oscillator_hz must be in 400000000..800000000, not"),
        ({"input_divider": 3}, "detector_hz must be in 10000000..400000000, not"),
    ],
)
def test_a_pll_out_of_its_ranges_is_refused(change, message):
    good = {
        "input_hz": 25_000_000,
        "input_divider": 1,
        "feedback_divider": 24,
        "output_divider": 24,
    }
    with pytest.raises(ValueError, match=message):
        PllParams(**(good | change))
