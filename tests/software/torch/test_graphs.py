"""`torch.compile(model, backend="d1")`: whole graphs on the node, against PyTorch on the CPU.

Tolerances: FP32 operations are right to some units in the last place; products have operands
rounded to BF16, so they are wrong by up to 2^-8 of the sum of the sizes of their terms.
"""

import warnings
from collections.abc import Callable

import d1.torch
import pytest
import torch
from d1.compiler import objects
from d1.torch import capture
from torch import Tensor, nn
from torch.nn import functional as F

FP32, BF16 = 2e-6, 2e-2


def compiled(function: Callable, preset: str = "tiny", **options) -> Callable:
    options = {"device": "golden", "preset": preset} | options
    return torch.compile(function, backend="d1", options=options, dynamic=False)


def close(mine: Tensor, theirs: Tensor, tolerance: float) -> bool:
    """Return whether results are equal but for a part of the largest."""
    scale = max(1.0, theirs.detach().abs().max().item())
    return torch.allclose(mine.detach(), theirs.detach(), rtol=0, atol=tolerance * scale)


def operands(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


CASES = {
    "sum of broadcast operands": (lambda a, b: a + 2 * b, [(3, 5), (5,)], FP32),
    "a number of elements beyond a vector": (lambda a: a * a - 1, [(67,)], FP32),
    "one element": (lambda a: a.exp() * 3, [(1,)], FP32),
    "no dimensions": (lambda a: a * 2, [()], FP32),
    "quotient": (lambda a, b: a / (b.abs() + 1), [(4, 6), (4, 1)], FP32),
    "relu": (F.relu, [(5, 7)], FP32),
    "gelu": (F.gelu, [(5, 7)], FP32),
    "gelu by tanh": (lambda a: F.gelu(a, approximate="tanh"), [(5, 7)], FP32),
    "tanh and sigmoid": (lambda a: a.tanh() * a.sigmoid(), [(2, 3, 5)], FP32),
    "logarithm": (lambda a: (a.abs() + 0.01).log(), [(9, 5)], FP32),
    "powers and roots": (lambda a: a**3 + (a * a + 1).sqrt() + (a * a + 1).rsqrt(), [(7, 3)], FP32),
    "choice": (lambda a, b: torch.where(a > b, a, -b), [(6, 5), (5,)], FP32),
    "sum of all": (lambda a: a.sum(), [(3, 5, 7)], 1e-5),
    "sum of rows": (lambda a: a.sum(-1), [(3, 5, 7)], FP32),
    "sum of columns": (lambda a: a.sum((0, 1)), [(3, 5, 7)], FP32),
    "mean and variance": (lambda a: a.mean(1) + a.var(1), [(6, 19)], FP32),
    "greatest": (lambda a: a.amax(-1), [(4, 21)], FP32),
    "softmax": (lambda a: F.softmax(a, -1), [(5, 7)], FP32),
    "softmax of long rows": (lambda a: F.softmax(a, -1), [(3, 85)], FP32),
    "layer norm": (lambda a, w, b: F.layer_norm(a, (21,), w, b), [(5, 21), (21,), (21,)], 1e-5),
    "transpose and reshape": (lambda a: a.transpose(0, 1).reshape(-1) * 2, [(5, 7)], FP32),
    "parts put together": (lambda a, b: torch.cat([a, b * 2, a], 1), [(4, 3), (4, 6)], FP32),
    "padding": (lambda a: F.pad(a, (1, 2, 0, 1), value=3.0), [(4, 5)], FP32),
    "one of each": (lambda a: a[:, 2] + a[-1, 1], [(4, 5)], FP32),
    "slices": (lambda a: a[1:, ::2] + a[:-1, 1::2], [(4, 10)], FP32),
    "masks of triangles": (
        lambda a: a.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -3.0).tril(1),
        [(2, 5, 5)],
        FP32,
    ),
    "parts": (lambda a: a.split(3, dim=1)[1] * 2, [(4, 8)], FP32),
    "causal attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [(2, 2, 5, 4), (2, 2, 5, 4), (2, 2, 5, 4)],
        BF16,
    ),
    "matrix product": (torch.matmul, [(7, 13), (13, 9)], BF16),
    "product of one row": (torch.matmul, [(1, 5), (5, 3)], BF16),
    "batch of products": (torch.matmul, [(3, 7, 13), (3, 13, 9)], BF16),
    "linear, relu": (lambda x, w, b: F.relu(F.linear(x, w, b)), [(17, 21), (11, 21), (11,)], BF16),
    "linear, gelu": (lambda x, w, b: F.gelu(F.linear(x, w, b)), [(9, 6), (5, 6), (5,)], BF16),
    "two products": (lambda a, b: (a @ b).relu() @ b.T, [(6, 9), (9, 5)], BF16),
}


@pytest.mark.parametrize("case", CASES)
def test_results_and_gradients_are_those_of_pytorch(case):
    function, shapes, tolerance = CASES[case]
    mine = [x.requires_grad_() for x in operands(1, *shapes)]
    theirs = [x.detach().clone().requires_grad_() for x in mine]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compiled(function)(*mine)
        expected = function(*theirs)
        weights = operands(2, tuple(expected.shape))[0]
        (result * weights).sum().backward()
    (expected * weights).sum().backward()
    assert result.shape == expected.shape
    assert close(result, expected, tolerance)
    for x, y in zip(mine, theirs, strict=True):
        assert close(x.grad, y.grad, tolerance)
    assert d1.torch.statistics().graphs >= 1


@pytest.mark.parametrize("shape", [(33, 70, 37), (64, 16, 16), (17, 4, 100)])
def test_products_of_the_machine_itself_are_right_in_both_directions(shape):
    m, k, n = shape
    a, b = (x.requires_grad_() for x in operands(3, (m, k), (k, n)))
    result = compiled(torch.matmul, "d1")(a, b)
    result.square().sum().backward()
    expected = (a.detach() @ b.detach()).requires_grad_()
    assert close(result, expected, BF16)
    assert close(a.grad, 2 * expected @ b.detach().T, BF16)
    assert close(b.grad, 2 * a.detach().T @ expected, BF16)


def test_cross_entropy_of_embedded_tokens_and_its_gradients_are_those_of_pytorch():
    tokens, wanted = torch.tensor([[1, 0, 6], [6, 2, 1]]), torch.tensor([3, 0, 2, 2, 4, 1])

    def loss(table: Tensor, head: Tensor) -> Tensor:
        return F.cross_entropy((F.embedding(tokens, table) @ head).reshape(-1, 5), wanted)

    mine = [x.requires_grad_() for x in operands(10, (7, 9), (9, 5))]
    theirs = [x.detach().clone().requires_grad_() for x in mine]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compiled(loss)(*mine)
        result.backward()
    expected = loss(*theirs)
    expected.backward()
    assert close(result, expected, BF16)
    for x, y in zip(mine, theirs, strict=True):
        assert close(x.grad, y.grad, BF16)


def test_a_graph_that_does_not_fit_at_once_is_cut_between_kernels():
    def function(a: Tensor) -> list[Tensor]:
        results = []
        for _ in range(3):
            results.append((a @ a.T * 0.01).tanh())
            a = results[-1] @ a
        return [*results, a]

    (a,) = operands(11, (60, 40))
    with torch.no_grad():
        results = compiled(function, precision="fp32")(a)
    assert len(capture.programs[-1].parts) > 1
    assert capture.programs[-1].peak < 48 << 10
    for mine, theirs in zip(results, function(a), strict=True):
        assert close(mine, theirs, 1e-4)


def test_products_may_be_computed_in_fp32():
    a, b = operands(4, (6, 35), (35, 5))
    assert close(compiled(torch.matmul, precision="fp32")(a, b), a @ b, FP32)
    assert not close(compiled(torch.matmul, "fpga")(a, b), a @ b, FP32)


def test_integers_and_truth_values_come_back_with_their_types():
    a = torch.tensor([[3, -4, 7], [0, 2, -9]])
    total, mask, exact = compiled(lambda x: (x * 2 + x.sum(1, True), x > 1, x.to(torch.float32)))(a)
    assert torch.equal(total, a * 2 + a.sum(1, True))
    assert torch.equal(mask, a > 1)
    assert torch.equal(exact, a.to(torch.float32))
    assert (total.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_integers_of_more_than_32_bits_are_refused():
    with pytest.raises(ValueError, match="integers must be of 32 bits, not 4294967296"):
        compiled(lambda x: x + 1)(torch.tensor([1 << 32]))
    with (
        pytest.warns(UserWarning, match="stays PyTorch's: integers must be of 32 bits"),
        pytest.raises(ValueError, match="integers must be of 32 bits, not 4294967296"),
    ):
        compiled(lambda x: x + torch.tensor([1 << 32]))(torch.tensor([1]))


def test_an_mlp_learns_by_steps_of_sgd():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs, targets = torch.randn(24, 6), torch.randn(24, 3)
    run = compiled(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(8):
        loss = F.mse_loss(run(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]
    assert d1.torch.statistics().graphs == 16


def test_the_rtl_gives_the_bits_of_the_golden_node_forward_and_backward():
    def step(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.softmax(F.gelu(F.linear(x, w, b)), -1)

    x, w, b = (t.requires_grad_() for t in operands(6, (5, 6), (7, 6), (7,)))
    result = compiled(step, device="rtl", check=True)(x, w, b)
    result.square().sum().backward()
    statistics = d1.torch.statistics()
    assert statistics.graphs == 2
    assert statistics.checked_outputs >= 5 * 8
    assert statistics.differing_bits == 0
    assert close(result, step(x, w, b), BF16)


def test_an_operator_without_lowering_stays_with_pytorch_and_is_named_once():
    capture._warned.clear()
    (a,) = operands(7, (4, 6))

    def function(x: Tensor) -> Tensor:
        return torch.nextafter(x * 2, x).relu().sum(0)

    with pytest.warns(UserWarning, match="aten.nextafter.default stays PyTorch's") as caught:
        result = compiled(function)(a)
    assert len(caught) == 1
    assert close(result, function(a), FP32)
    assert d1.torch.statistics().graphs == 2
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(compiled(function)(a), result)


def test_shapes_may_change():
    run = torch.compile(
        torch.matmul,
        backend="d1",
        options={"device": "golden", "preset": "tiny"},
        dynamic=True,
    )
    for size in (3, 5, 8):
        a, b = operands(size, (size, 4), (4, size))
        assert close(run(a, b), a @ b, BF16)


def test_a_graph_is_compiled_once_and_what_was_compiled_is_used_again():
    a, b = operands(8, (5, 7), (7, 6))

    def function(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y).relu()

    run = compiled(function)
    first = run(a, b)
    before = dict(objects.statistics)
    assert torch.equal(run(a, b), first)
    torch._dynamo.reset()
    assert torch.equal(compiled(function)(a, b), first)
    assert objects.statistics == before


def test_a_kernel_that_cannot_be_divided_names_its_largest_tensor():
    def chosen(table: Tensor, rows: Tensor) -> Tensor:
        return F.embedding(rows, table)

    rows = torch.tensor([2, 0])
    with pytest.raises(Exception, match=r"largest tensor is in2: f32\[200, 200\] with 160000"):
        compiled(chosen)(torch.zeros(200, 200), rows)
    (table,) = operands(9, (3, 3))
    assert torch.equal(compiled(chosen)(table, rows), table[rows])
