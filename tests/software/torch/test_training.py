"""Steps of training compiled as a whole: loss, gradients and optimizers, against PyTorch.

Tolerances: steps of optimizers are FP32 on the node as in PyTorch, where quotients, roots and
powers are wrong by some units in the last place; what comes of a model has the products' BF16.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import d1.torch
import pytest
import torch
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

# Dynamo uses what PyTorch calls old, and looks for gradients where there are none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]

FP32, BF16 = 4e-6, 2e-2
SHAPES = [(5, 7), (3,), (2, 3, 4), (1,), ()]
OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "AdamW": partial(torch.optim.AdamW, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1),
    "AdamW of lists of tensors": partial(torch.optim.AdamW, lr=0.01, foreach=True),
    "AdamW with the greatest second moments": partial(torch.optim.AdamW, lr=0.01, amsgrad=True),
    "Adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1),
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD with momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
    "SGD by Nesterov": partial(
        torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, dampening=0, foreach=True
    ),
}


@pytest.fixture(autouse=True)
def no_warning_given() -> None:
    capture._warned.clear()


def compiled(function: Callable, **options) -> Callable:
    options = {"device": "golden", "preset": "tiny"} | options
    return torch.compile(function, backend="d1", options=options, dynamic=False)


@contextmanager
def nothing_stays_with_pytorch() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*stays PyTorch's")
        yield


def numbers(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_of_an_optimizer_are_those_of_pytorch(name):
    results = []
    for on_node in (False, True):
        weights = [x.requires_grad_() for x in numbers(1, *SHAPES)]
        optimizer = OPTIMIZERS[name](weights)
        step = compiled(optimizer.step) if on_node else optimizer.step
        for seed in range(2, 5):
            for weight, gradient in zip(weights, numbers(seed, *SHAPES), strict=True):
                weight.grad = gradient
            with nothing_stays_with_pytorch():
                step()
        results.append([weight.detach() for weight in weights])
    assert d1.torch.statistics().graphs == 3
    for expected, mine in zip(*results, strict=True):
        assert torch.allclose(mine, expected, rtol=FP32, atol=FP32)


class Small(nn.Module):
    """A model with what a transformer has: a table, a norm, attention, a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.norm = nn.LayerNorm(8)
        self.first, self.second = nn.Linear(8, 12), nn.Linear(12, 5, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        x = x + F.scaled_dot_product_attention(x, x, x, is_causal=True)
        return self.second(F.gelu(self.first(self.norm(x))))


class Trainer:
    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model = Small()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)

    def step(self, tokens: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        scores = self.model(tokens[:, :-1])
        loss = F.cross_entropy(scores.reshape(-1, 5), tokens[:, 1:].reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.optimizer.step()
        return loss

    def run(self, step: Callable[[Tensor], Tensor], steps: int) -> list[list[Tensor]]:
        """Return loss, gradients and weights behind each of some steps."""
        generator = torch.Generator().manual_seed(4)
        found = []
        for _ in range(steps):
            loss = step(torch.randint(5, (4, 7), generator=generator))
            weights = list(self.model.parameters())
            state = [loss.detach(), *(w.grad for w in weights), *(w.detach() for w in weights)]
            found.append([tensor.clone() for tensor in state])
        return found


def test_whole_steps_of_training_are_those_of_pytorch_and_nothing_stays_with_it():
    plain, mine = Trainer(), Trainer()
    expected = plain.run(plain.step, 3)
    with nothing_stays_with_pytorch():
        found = mine.run(compiled(mine.step), 3)
    # A step is four graphs: loss, gradients, their norm, AdamW.
    assert d1.torch.statistics().graphs == 12
    for step, wanted in zip(found, expected, strict=True):
        for a, b in zip(step, wanted, strict=True):
            assert torch.allclose(a, b, rtol=0, atol=BF16 * max(1.0, b.abs().max().item()))


def test_whole_steps_of_training_on_the_rtl_have_the_bits_of_the_golden_node():
    golden, rtl = Trainer(), Trainer()
    expected = golden.run(compiled(golden.step), 3)
    torch._dynamo.reset()
    found = rtl.run(compiled(rtl.step, device="rtl"), 3)
    for step, wanted in zip(found, expected, strict=True):
        for a, b in zip(step, wanted, strict=True):
            assert torch.equal(a.view(torch.int32), b.view(torch.int32))
