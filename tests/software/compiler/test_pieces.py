"""Kernels that do not fit in SRAM, in pieces: what they read and write, and what they compute."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from d1.compiler import math_functions as f
from d1.compiler.builder import Builder
from d1.compiler.expressions import Expr
from d1.compiler.ir import DType
from d1.compiler.passes import optimized
from d1.compiler.pieces import pieces
from d1.torch import capture
from d1_golden.params import preset
from torch import Tensor, nn
from torch.nn import functional as F

# Dynamo uses what PyTorch calls old, and looks for gradients where there are none.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
]

TINY = preset("tiny")
FP32, BF16 = 2e-6, 2e-2


def compiled(function: Callable) -> Callable:
    options = {"device": "golden", "preset": "tiny"}
    return torch.compile(function, backend="d1", options=options, dynamic=False)


def numbers(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def assert_close(mine: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = max(1.0, expected.abs().max().item())
    assert torch.allclose(mine, expected, rtol=0, atol=tolerance * scale)


def test_pieces_fit_and_write_every_word_of_the_result_once():
    builder = Builder(TINY)
    x, y = (builder.input(shape, DType.F32) for shape in ((50, 70), (50, 1)))
    total = builder.elementwise(f.add, x, y, dtype=DType.F32)
    result = builder.compute(total.shape, DType.F32, f.add(builder.load(total), Expr.index(1)))
    builder.output(result)
    graph, _ = optimized(builder.graph)
    (kernel,) = graph.kernels
    found = pieces(kernel, TINY, 4096)
    for piece in found:
        assert sum(w.part.bytes for w in (*piece.inputs, *piece.outputs)) <= 4096
        for window in (*piece.inputs, *piece.outputs):
            assert len(window.places) == len(window.inside)
    written = np.concatenate([w.places for piece in found for w in piece.outputs])
    rows, columns = np.divmod(np.sort(written), result.ref.tensor.pitch)
    assert np.array_equal(rows * 70 + columns, np.arange(50 * 70))


def test_a_kernel_that_fits_is_one_piece_and_one_that_cannot_be_divided_is_none():
    builder = Builder(TINY)
    x = builder.input((4, 600), DType.F32)
    builder.output(builder.reduce("vfadd.f32", x, [1], keepdim=True))
    (kernel,) = builder.graph.kernels
    assert len(pieces(kernel, TINY, 20_000)) == 1
    assert len(pieces(kernel, TINY, 5000)) == 2
    assert pieces(kernel, TINY, 2000) == []


ROWS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "softmax": (lambda a: F.softmax(a, -1), [(60, 100)]),
    "layer norm": (lambda a, w: F.layer_norm(a, (70,), w), [(160, 70), (70,)]),
    "perceptron": (lambda a, w, b: F.gelu(F.linear(a, w, b)), [(180, 40), (150, 40), (150,)]),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_have_the_bits_that_they_have_where_all_fits(name):
    function, shapes = ROWS[name]
    a, *others = numbers(*shapes)
    with torch.no_grad():
        whole = compiled(function)(a, *others)
        assert len(capture.programs[-1].parts) > len(capture.programs[-1].graph.kernels)
        rows = a.shape[0] // 10
        few = compiled(function)
        parts = [few(some, *others) for some in a.split(rows)]
        assert len(capture.programs[-1].parts) == 1
    assert torch.equal(whole.view(torch.int32), torch.cat(parts).view(torch.int32))
    assert_close(whole, function(a, *others), BF16)


CASES: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]], float]] = {
    "a vector": (lambda a: a * 2 - 1, [(20_000,)], FP32),
    "triangle": (lambda a: a.triu(3) + a.T.tril(), [(90, 90)], FP32),
    "sums of columns": (lambda a: a.sum(0) * 3, [(900, 17)], 1e-5),
    "sum of all": (lambda a: a.square().sum(), [(150, 100)], 1e-5),
    "product of long sums": (torch.matmul, [(9, 2000), (2000, 7)], BF16),
    "product of many columns": (torch.matmul, [(10, 60), (60, 400)], BF16),
    "windows of an image": (lambda a: F.max_pool2d(a, 3, 2, 1), [(2, 3, 50, 50)], FP32),
    "convolution": (lambda a, w: F.conv2d(a, w, padding=1), [(3, 3, 40, 40), (8, 3, 3, 3)], BF16),
    "batch of products": (torch.matmul, [(3, 90, 30), (3, 30, 80)], BF16),
}


@pytest.mark.parametrize("name", CASES)
def test_results_in_pieces_are_those_of_pytorch(name):
    function, shapes, tolerance = CASES[name]
    arguments = numbers(*shapes)
    with torch.no_grad():
        result = compiled(function)(*arguments)
    assert len(capture.programs[-1].parts) > 1
    assert result.shape == function(*arguments).shape
    assert_close(result, function(*arguments), tolerance)


def test_gradients_of_a_convolution_of_images_larger_than_sram_are_those_of_pytorch():
    image, filters = numbers((3, 4, 40, 40), (6, 4, 3, 3))
    assert image.nbytes > TINY.sram_bytes
    found = []
    for function in (F.conv2d, compiled(F.conv2d)):
        leaves = [tensor.clone().requires_grad_() for tensor in (image, filters)]
        function(*leaves, stride=2, padding=1).square().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for expected, mine in zip(*found, strict=True):
        assert_close(mine, expected, BF16)


def test_a_model_larger_than_sram_learns_as_in_pytorch():
    found = []
    for on_node in (False, True):
        torch.manual_seed(8)
        model = nn.Sequential(nn.Linear(150, 120), nn.ReLU(), nn.Linear(120, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        inputs, targets = torch.randn(20, 150), torch.randn(20, 10)

        def step(model=model, optimizer=optimizer, inputs=inputs, targets=targets) -> Tensor:
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        step = compiled(step) if on_node else step
        losses = [step().detach() for _ in range(2)]
        found.append([*losses, *(w.detach() for w in model.parameters())])
    assert 4 * 150 * 120 > TINY.sram_bytes
    for expected, mine in zip(*found, strict=True):
        assert_close(mine, expected, BF16)
