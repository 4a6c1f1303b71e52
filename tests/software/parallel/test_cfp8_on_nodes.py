"""Models whose products multiply CFP8, on many nodes: each finds the biases of its own parts."""

from collections.abc import Callable

import d1.torch
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Compile = Callable[..., Callable[..., Tensor]]
Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]
CFP8 = {"precision": "cfp8"}
#: What a loss and gradients may differ by from one node's, as part of the largest element: a
#: gradient that is rounded has two bits behind its first.
TOLERANCE = 0.25


def perceptron() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 3))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


X = torch.randn(16, 16, generator=torch.Generator().manual_seed(3))
Y = torch.arange(16) % 3


@pytest.mark.parametrize("device", ["golden", "rtl"])
def test_each_node_has_the_bits_of_its_part_alone(device: str, compiled: Compile) -> None:
    generator = torch.Generator().manual_seed(4)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((8, 12), (12, 20)))
    x[:4] *= 2.0**-20  # nothing with a bias of the other half
    one = compiled(torch.matmul, (1, 1), **CFP8)
    parts = torch.cat([one(x[:4], weight), one(x[4:], weight)])
    whole = one(x, weight)
    two = compiled(torch.matmul, (2, 1), device=device, check=True, **CFP8)(x, weight)
    assert torch.equal(two, parts)
    assert torch.equal(two[4:], whole[4:]) and not whole[:4].any() and two[:4].all()
    statistics = d1.torch.statistics()
    assert statistics.mesh_cycles > 0 and statistics.differing_bits == 0


@pytest.mark.parametrize(
    "parallel, device",
    [("data", "golden"), ("data", "rtl"), ("tensor", "golden"), ("pipeline", "golden")],
)
def test_a_step_of_training_is_that_of_one_node_but_for_rounding(
    parallel: str, device: str, step: Step, distance: Distance
) -> None:
    options = {"device": device, "check": True, "parallel": parallel}
    steps = []
    for nodes in ((1, 1), (2, 2)):
        torch.manual_seed(7)
        chosen = options if nodes != (1, 1) else {}
        steps.append(step(perceptron(), cross_entropy, (X, Y), nodes, **chosen, **CFP8))
    exact = step(perceptron(), cross_entropy, (X, Y), (1, 1), precision="fp32")
    one, four = steps
    print(distance(four, one), distance(one, exact), distance(four, exact))
    assert 0 < distance(four, one) < TOLERANCE
    assert max(distance(one, exact), distance(four, exact)) < TOLERANCE
    statistics = d1.torch.statistics()
    assert statistics.mesh_cycles > 0 and statistics.differing_bits == 0


def test_nodes_round_equal_gradients_by_random_numbers_of_their_own(compiled: Compile) -> None:
    generator = torch.Generator().manual_seed(5)
    x, weight, wanted = (
        torch.randn(shape, generator=generator) for shape in ((4, 12), (12, 20), (4, 20))
    )
    weight = weight.sign()  # is not rounded
    twice = torch.cat([x, x]).requires_grad_()
    torch.manual_seed(6)

    def loss(x: Tensor, wanted: Tensor) -> Tensor:
        return ((x @ weight) * wanted).sum()

    compiled(loss, (2, 1), **CFP8)(twice, torch.cat([wanted, wanted])).backward()
    assert twice.grad is not None
    first, second = twice.grad.chunk(2)
    assert not torch.equal(first, second)
    # The mean of both is nearer to what has not been rounded than one, if errors are independent.
    exact = wanted @ weight.T
    errors = [(of - exact).square().mean() for of in (first, second, (first + second) / 2)]
    print(errors)
    assert errors[2] < 0.75 * min(errors[:2])
