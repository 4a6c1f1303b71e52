"""A GPT of three layers, three heads and 48 numbers a token learns to sort sequences of digits.

    python software/examples/gpt_sort.py [steps] [golden | rtl | pytorch]

Plain PyTorch, and one line that brings a step of training to the node: loss, gradients, their norm
and AdamW. Weights are FP32; products round them to BF16. The task, the sizes and the model are
those of the demonstration "gpt-nano" of minGPT (Ref: A. Karpathy, github.com/karpathy/minGPT).
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIGITS, LENGTH = 3, 6
LAYERS, HEADS, WIDTH = 3, 3, 48
BATCH = 32
CONTEXT = 2 * LENGTH - 1


class Block(nn.Module):
    """Causal self-attention and a multilayer perceptron, each behind a norm and beside a way by."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.perceptron = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of every token, behind this block."""
        batch, tokens, _ = x.shape
        parts = self.attention(self.norm_1(x)).split(WIDTH, dim=2)
        query, key, value = (
            part.view(batch, tokens, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts
        )
        scores = query @ key.transpose(-2, -1) * (WIDTH // HEADS) ** -0.5
        future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(future, float("-inf")).softmax(-1)
        mixed = (weights @ value).transpose(1, 2).reshape(batch, tokens, WIDTH)
        x = x + self.projection(mixed)
        return x + self.perceptron(self.norm_2(x))


class Gpt(nn.Module):
    """Predicts the next token behind each token of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(DIGITS, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, DIGITS, bias=False)
        self.apply(self._initialise)
        for block in self.blocks:
            for layer in (block.projection, block.perceptron[2]):
                nn.init.normal_(layer.weight, std=0.02 / (2 * LAYERS) ** 0.5)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores of the tokens that may follow."""
        places = torch.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.positions(places)
        return self.head(self.norm(self.blocks(x)))


class Sorter(nn.Module):
    """The model and its loss: of the tokens that are sorted, not of those that are given."""

    def __init__(self) -> None:
        super().__init__()
        self.gpt = Gpt()

    def forward(self, sequences: Tensor) -> Tensor:
        """Return the loss for sequences of digits, each followed by the same in order."""
        scores = self.gpt(sequences[:, :-1])[:, LENGTH - 1 :]
        wanted = sequences[:, LENGTH:]
        return F.cross_entropy(scores.reshape(-1, DIGITS), wanted.reshape(-1))


def sequences(count: int, generator: torch.Generator) -> Tensor:
    """Return random sequences, each followed by itself in order."""
    digits = torch.randint(DIGITS, (count, LENGTH), generator=generator)
    return torch.cat([digits, digits.sort(dim=1).values], dim=1)


@torch.no_grad()
def accuracy(model: Gpt, tests: Tensor) -> float:
    """Return the part of sequences that the model sorts right."""
    known = tests[:, :LENGTH]
    for _ in range(LENGTH):
        padded = F.pad(known, (0, CONTEXT - known.shape[1]))
        scores = model(padded)[:, known.shape[1] - 1]
        known = torch.cat([known, scores.argmax(1, keepdim=True)], dim=1)
    return (known == tests).all(1).float().mean().item()


class Trainer:
    """A new model and its optimizer; always the same."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.sorter = Sorter()
        self.optimizer = torch.optim.AdamW(self.sorter.parameters(), lr=5e-4, weight_decay=0.1)

    def step(self, batch: Tensor) -> Tensor:
        """Make the model a little better at a batch; return the loss that it had."""
        self.optimizer.zero_grad()
        loss = self.sorter(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.sorter.parameters(), 1.0)
        self.optimizer.step()
        return loss


def main(steps: int = 1000, device: str = "golden") -> None:
    """Train and say how well it sorts; on the device "pytorch" without the node."""
    trainer = Trainer()
    step = trainer.step
    if device != "pytorch":
        step = torch.compile(step, backend="d1", options={"device": device}, dynamic=False)
    generator = torch.Generator().manual_seed(1)
    for number in range(steps):
        loss = step(sequences(BATCH, generator))
        if number % 10 == 0 or number == steps - 1:
            print(f"step {number:4}: loss {loss.item():.4f}", flush=True)
    right = accuracy(trainer.sorter.gpt, sequences(200, generator))
    print(f"{right:.1%} of 200 new sequences sorted")


if __name__ == "__main__":
    main(*(int(argument) if argument.isdecimal() else argument for argument in sys.argv[1:]))
