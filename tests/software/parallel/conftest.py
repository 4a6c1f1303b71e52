"""Steps of training on one node and on many, and how far apart they may be."""

import sys
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from d1.examples import load_example
from torch import Tensor, nn

Compile = Callable[..., Callable[..., Tensor]]
Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]


@pytest.fixture(scope="session")
def order() -> float:
    """Return what sums in another order may differ by, as part of the largest element."""
    return 4e-6


@pytest.fixture(scope="session")
def compiled() -> Compile:
    """Return what compiles a function for a rectangle of nodes."""

    def compile_(function: Callable, nodes: tuple[int, int], **options) -> Callable:
        options = {"device": "golden", "preset": "tiny", "nodes": nodes} | options
        torch._dynamo.reset()
        return torch.compile(function, backend="d1", options=options, dynamic=False)

    return compile_


@pytest.fixture(scope="session")
def step(compiled: Compile) -> Step:
    """Return what gives a loss and the gradients of all parameters."""

    def step_(
        model: nn.Module,
        loss: Callable,
        args: tuple[Tensor, ...],
        nodes: tuple[int, int],
        **options,
    ) -> list[Tensor]:
        model.zero_grad()
        result = compiled(lambda *x: loss(model, *x), nodes, **options)(*args)
        result.backward()
        return [result.detach(), *(p.grad.clone() for p in model.parameters())]

    return step_


@pytest.fixture(scope="session")
def distance() -> Distance:
    """Return how far tensors are apart, as part of the largest element of each."""

    def distance_(mine: list[Tensor], theirs: list[Tensor]) -> float:
        return max(
            ((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).item()
            for a, b in zip(mine, theirs, strict=True)
        )

    return distance_


@pytest.fixture
def gpt_that_sorts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example, new each time."""
    example = load_example("gpt_sort")
    monkeypatch.setitem(sys.modules, "gpt_sort", example)  # where PyTorch looks for its functions
    return example
