"""`torch.cond` and `torch.while_loop`: branches on the node."""

import warnings
from collections.abc import Callable, Iterator

import d1.torch
import pytest
import torch
from d1.compiler.executable import Branch
from d1.torch import capture
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop

OPTIONS = {"device": "golden", "preset": "tiny", "precision": "fp32"}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def compiled(function: Callable, **options) -> Callable:
    return torch.compile(function, backend="d1", options=OPTIONS | options, dynamic=False)


def random(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def branches() -> list[int]:
    """Return the distances of the branches of the program that was compiled last."""
    (part,) = capture.programs[-1].parts
    return [k.kernel.distance for k in part.kernels if isinstance(k.kernel, Branch)]


def choice(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cond(
        x.sum() > 0,
        lambda a, b: ((a * 2 + b).tanh(), (b * b).sum(1)),
        lambda a, b: (a.sum() - b * a, b.softmax(1).amax(1)),
        (x, y),
    )


def test_a_word_in_sram_decides_which_part_of_a_program_runs():
    x, y = random(1, (5, 3), (5, 3))
    run = compiled(choice)
    for operand in (x.abs(), -x.abs()):
        for mine, theirs in zip(run(operand, y), choice(operand, y), strict=True):
            assert torch.allclose(mine, theirs, atol=1e-5)
    # One program that has been run twice, with a branch to the second part and one behind it.
    assert d1.torch.statistics().graphs == 2
    assert len(branches()) == 2 and min(branches()) > 0


def test_gradients_go_through_the_part_that_ran():
    def function(x: Tensor, y: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda a, b: (a * b).sin(), lambda a, b: a.exp() * b, (x, y))

    run = compiled(function)
    for sign in (1, -1):
        x, y = random(2, (4, 3), (4, 3))
        mine = [(sign * x.abs()).requires_grad_(), y.clone().requires_grad_()]
        theirs = [x.detach().clone().requires_grad_() for x in mine]
        run(*mine).sum().backward()
        function(*theirs).sum().backward()
        for a, b in zip(mine, theirs, strict=True):
            assert torch.allclose(a.grad, b.grad, atol=1e-5)


def root(x: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
    """Return square roots by Newton's method, and after how many steps they are good."""

    def is_far(guess: Tensor, step: Tensor) -> Tensor:
        return ((guess * guess - x).abs().max() > limit) & (step < 40)

    def better(guess: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * (guess + x / guess), step + 1

    return while_loop(is_far, better, (torch.ones_like(x), torch.zeros((), dtype=torch.int64)))


def test_a_loop_runs_on_the_node_as_often_as_the_numbers_want_it():
    run = compiled(root)
    x = torch.tensor([2.0, 3.0, 40.0, 5.0, 1234.0])
    for limit in (1e9, 100.0, 1e-1):
        mine, steps = run(x, torch.tensor(limit))
        theirs, wanted = root(x, torch.tensor(limit))
        assert steps == wanted
        assert torch.allclose(mine, theirs, rtol=1e-5)
    assert wanted > 5
    assert d1.torch.statistics().graphs == 3
    assert len(branches()) == 2 and min(branches()) < 0


def test_values_that_a_loop_exchanges_are_all_read_before_one_is_written():
    def function(a: Tensor, b: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        return while_loop(
            lambda a, b, n: n > 0,
            lambda a, b, n: (b.clone(), a + b, n - 1),
            (a, b, count),
        )

    mine = compiled(function)(torch.zeros(3), torch.ones(3), torch.tensor(10))
    assert [x.flatten()[0].item() for x in mine] == [55, 89, 0]


def test_choices_may_be_in_loops():
    def function(x: Tensor) -> tuple[Tensor, Tensor]:
        def step(n: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
            half = (n * 0.5).floor()
            return (
                torch.cond(half * 2 == n, lambda a, h: h * 1, lambda a, h: 3 * a + 1, (n, half)),
                count + 1,
            )

        return while_loop(lambda n, count: n > 1, step, (x, torch.zeros((), dtype=torch.int64)))

    n, count = compiled(function)(torch.tensor(27.0))
    assert (n, count) == (1, 111)


def test_constants_of_a_model_may_be_operands_of_loops_and_choices():
    def function(x: Tensor) -> tuple[Tensor, ...]:
        count, y = while_loop(
            lambda n, y: n > 5,
            lambda n, y: (n - 1, y + torch.tensor([1.0, 0.5, -2.0])),
            (torch.tensor(12), x),
        )
        sign = torch.tensor([True, False, True])
        chosen = torch.cond(y.sum() > 0, lambda y, z: y * z, lambda y, z: y - z, (y, sign))
        return count, y, chosen

    x = torch.tensor([1.0, 2.0, 3.0])
    for mine, theirs in zip(compiled(function)(x), function(x), strict=True):
        assert mine.dtype == theirs.dtype and torch.equal(mine, theirs)
    assert d1.torch.statistics().graphs == 1


def test_a_loop_that_carries_a_number_of_python_stays_pytorchs_and_is_named():
    def function(x: Tensor) -> tuple[int, Tensor]:
        return while_loop(lambda n, y: n < 5, lambda n, y: (n + 1, y * 2), (0, x))

    with pytest.warns(UserWarning, match="while_loop stays PyTorch's"):
        count, y = compiled(function)(torch.ones(3))
    assert count == 5 and torch.equal(y, torch.full((3,), 32.0))


def test_the_rtl_branches_as_the_golden_node_does():
    run = compiled(root, device="rtl", check=True)
    x = torch.tensor([2.0, 30.0, 4.0])
    _, steps = run(x, torch.tensor(1.0))
    assert steps == root(x, torch.tensor(1.0))[1] > 1
    statistics = d1.torch.statistics()
    assert statistics.differing_bits == 0 and statistics.checked_outputs > 3
