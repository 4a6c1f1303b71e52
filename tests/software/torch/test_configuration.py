from collections.abc import Iterator

import d1.torch
import pytest
import torch


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    before = d1.torch.settings()
    yield
    d1.torch.configure(device=before.device, preset=before.preset, check=before.check)


def test_products_run_on_the_rtl_of_the_machine_itself_unless_told_otherwise():
    assert d1.torch.settings() == d1.torch.Settings(device="rtl", preset="d1", check=False)


def test_what_is_not_given_stays():
    d1.torch.configure(device="golden")
    assert d1.torch.configure(preset="tiny") == d1.torch.Settings("golden", "tiny", False)
    assert d1.torch.configure(check=True) == d1.torch.Settings("golden", "tiny", True)


def test_an_operator_that_is_not_told_follows_the_settings():
    d1.torch.configure(device="golden", preset="tiny", check=True)
    d1.torch.reset_statistics()
    d1.torch.matmul(torch.ones(2, 2), torch.ones(2, 2))
    d1.torch.matmul(torch.ones(2, 2), torch.ones(2, 2), check=False)
    assert d1.torch.statistics().products == 2
    assert d1.torch.statistics().checked_outputs == 4


@pytest.mark.parametrize(
    "given,message",
    [
        ({"device": "gpu"}, "device must be one of board, golden, rtl, not 'gpu'"),
        ({"preset": "huge"}, "preset must be one of d1, fpga, tiny, not 'huge'"),
        ({"check": "yes"}, "check must be True or False, not 'yes'"),
    ],
)
def test_a_bad_setting_is_refused_and_changes_nothing(given, message):
    before = d1.torch.settings()
    with pytest.raises(ValueError, match=message):
        d1.torch.configure(**given)
    assert d1.torch.settings() == before
