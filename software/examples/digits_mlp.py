"""A multilayer perceptron learns to read handwritten digits.

    python software/examples/digits_mlp.py [epochs] [device]

Plain PyTorch, and one line that brings the model to the node.
"""

from __future__ import annotations

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

TRAINED = 1477


def fit(model: nn.Module, epochs: int, device: str, *, batch: int, rate: float) -> float:
    """Train on most of the 1797 digits; say and return which part of the others is read right."""
    images, labels = (torch.from_numpy(x) for x in load_digits(return_X_y=True))
    images = images.float() / 16
    run = torch.compile(model, backend="d1", options={"device": device}, dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for epoch in range(epochs):
        total = 0.0
        model.train()
        for chosen in torch.randperm(TRAINED)[: TRAINED // batch * batch].split(batch):
            loss = F.cross_entropy(run(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch}: loss {total / TRAINED:.4f}", flush=True)
    model.eval()
    with torch.no_grad():
        answers = torch.cat([run(part) for part in images[TRAINED:].split(batch)]).argmax(1)
    right = (answers == labels[TRAINED:]).float().mean().item()
    print(f"{right:.1%} of {len(answers)} other digits read right")
    return right


def main(epochs: int = 10, device: str = "golden") -> float:
    """Train, say how many digits it reads right, and return that part."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 10))
    return fit(model, epochs, device, batch=40, rate=3e-3)


if __name__ == "__main__":
    main(*(int(argument) if argument.isdecimal() else argument for argument in sys.argv[1:]))
