"""A small convolutional network learns to read handwritten digits.

    python software/examples/digits_conv.py [epochs] [device]

Plain PyTorch, and one line that brings the model to the node.
"""

from __future__ import annotations

import sys

import torch
from digits_mlp import fit
from torch import nn


def network() -> nn.Module:
    """Return two convolutions with batch norm and pooling, and a layer of scores."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(64, 10),
    )


def main(epochs: int = 5, device: str = "golden") -> float:
    """Train, say how many digits it reads right, and return that part."""
    torch.manual_seed(0)
    return fit(network(), epochs, device, batch=32, rate=3e-3)


if __name__ == "__main__":
    main(*(int(argument) if argument.isdecimal() else argument for argument in sys.argv[1:]))
