"""The demonstration end to end, on golden; `make demo` is the same on the RTL."""

import d1.torch
import numpy as np
import pytest
import torch
from d1 import demo


@pytest.mark.parametrize("seed", [0, 1])
def test_the_demo_learns_the_digits_with_every_bit_as_in_golden(capsys, seed):
    assert demo.run_demo("golden", "d1", seed=seed) == 0
    output = capsys.readouterr().out
    assert "epoch 2  d1: loss" in output
    assert "PyTorch float32: loss" in output
    for row in (
        "tiles",
        "instructions",
        "simulated cycles",
        "MAC/cycle",
        "simulated time at 2 GHz",
    ):
        assert row in output
    statistics = d1.torch.statistics()
    assert statistics.differing_bits == 0
    assert output.endswith(f"0 differing bits of {statistics.checked_outputs} outputs\n")


def test_too_little_accuracy_fails_the_demo(monkeypatch):
    monkeypatch.setattr(demo, "REQUIRED_ACCURACY", 1.01)
    assert demo.run_demo("golden", "d1", epochs=1) == 1


def test_a_single_wrong_bit_fails_the_demo(monkeypatch, capsys):
    right = d1.torch.operator.multiply
    calls = []

    def wrong(*operands):
        result = right(*operands)
        calls.append(result.size)
        if len(calls) == 3:
            result.view(np.uint32)[0, 0] ^= 1
        return result

    monkeypatch.setattr(d1.torch.operator, "multiply", wrong)
    monkeypatch.setattr(demo, "REQUIRED_ACCURACY", 0.0)
    assert demo.run_demo("golden", "d1", epochs=1) == 1
    assert f"1 differing bits of {sum(calls)} outputs" in capsys.readouterr().out


def test_held_out_images_are_never_trained_on():
    digits = demo.Digits.load(seed=0)
    assert len(digits.images) + len(digits.held_out_images) == 1797
    other = demo.Digits.load(seed=1)
    assert not torch.equal(digits.held_out_labels, other.held_out_labels)
    everything = torch.cat([digits.images, digits.held_out_images])
    again = torch.cat([other.images, other.held_out_images])
    # The same multiset of images whatever the split: each is on one side only.
    assert torch.equal(everything.sum(1).sort().values, again.sum(1).sort().values)


def test_no_epochs_are_refused():
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        demo.run_demo("golden", "tiny", epochs=0)
