"""The examples that learn to read digits, for a shorter time than by themselves."""

import importlib
import warnings
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[3] / "software" / "examples"


@pytest.mark.parametrize("name,epochs,least", [("digits_mlp", 2, 0.8), ("digits_conv", 1, 0.75)])
def test_a_network_learns_to_read_digits(name, epochs, least, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        right = importlib.import_module(name).main(epochs)
    assert right >= least
    assert f"{right:.1%} of 320 other digits read right" in capsys.readouterr().out
