"""Parameters of the UART."""

import pytest
from d1_golden.fpga.uart import BAUD, UartParams


def test_25_mhz_are_divided_by_25_thirds():
    params = UartParams(clock_hz=25_000_000)
    assert (params.baud, params.step, params.modulus) == (BAUD, 3, 25)
    assert params.patience == 1_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock_hz": 0}, "clock_hz and baud must be positive, not 0, 3000000"),
        ({"clock_hz": 9_000_000}, "at least 4 times baud 3000000, not 9000000"),
        ({"clock_hz": 16_000_000}, "at least 6 times baud 3000000, not 16000000"),
        ({"clock_hz": 25_000_001}, "terms up to 65536, not 25000001/3000000"),
        ({"clock_hz": 25_000_000, "resend_cycles": -1}, "resend_cycles must not be neg.*not -1"),
    ],
)
def test_what_a_uart_cannot_do_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UartParams(**options)
