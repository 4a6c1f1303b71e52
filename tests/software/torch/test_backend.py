"""`torch.compile(model, backend="d1")` in mode "products": what runs on the device, and how."""

from collections.abc import Callable

import d1.torch
import pytest
import torch
from torch import Tensor, nn

OPTIONS = {"device": "golden", "preset": "tiny", "check": True, "mode": "products"}


def integers(seed: int, *shape: int) -> Tensor:
    """Return small integers, for which BF16 is exact and every order of summation the same."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 4, shape, generator=generator).float()


def compiled(function: Callable, **options) -> Callable:
    return torch.compile(function, backend="d1", options=OPTIONS | options, dynamic=False)


def products() -> int:
    return d1.torch.statistics().products


CASES = {
    "matmul": (torch.matmul, [(3, 4), (4, 5)], 1),
    "batched matmul": (torch.matmul, [(2, 3, 4), (2, 4, 5)], 1),
    "broadcast matmul": (torch.matmul, [(2, 3, 4), (4, 5)], 1),
    "matrix times vector": (torch.matmul, [(3, 4), (4,)], 1),
    "vector times vector": (torch.dot, [(4,), (4,)], 1),
    "bmm": (torch.bmm, [(2, 3, 4), (2, 4, 5)], 1),
    "addmm": (torch.addmm, [(5,), (3, 4), (4, 5)], 1),
    "addmm, scaled": (
        lambda c, a, b: torch.addmm(c, a, b, beta=2, alpha=3),
        [(3, 5), (3, 4), (4, 5)],
        1,
    ),
    "addmm that ignores its addend": (
        lambda c, a, b: torch.addmm(torch.full_like(c, torch.nan), a, b, beta=0),
        [(3, 5), (3, 4), (4, 5)],
        1,
    ),
    "baddbmm": (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)], 1),
    "addmv": (torch.addmv, [(3,), (3, 4), (4,)], 1),
    "linear": (nn.functional.linear, [(3, 4), (5, 4), (5,)], 1),
    "linear without bias, in a batch": (nn.functional.linear, [(2, 3, 4), (5, 4)], 1),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), [(2, 3, 4), (2, 5, 4)], 1),
    "two in a row": (lambda a, b: (a @ b).relu() @ b.T, [(3, 4), (4, 5)], 2),
}


@pytest.mark.parametrize("case", CASES)
def test_products_run_on_the_device_forward_and_backward(case):
    function, shapes, count = CASES[case]
    operands = [integers(n, *shape) for n, shape in enumerate(shapes)]
    with torch.no_grad():
        result = compiled(function)(*operands)
    assert torch.equal(result, function(*operands))
    assert products() == count

    mine = [x.clone().requires_grad_() for x in operands]
    theirs = [x.clone().requires_grad_() for x in operands]
    result = compiled(function)(*mine)
    before = products()
    result.sum().backward()
    function(*theirs).sum().backward()
    for x, y in zip(mine, theirs, strict=True):
        assert (x.grad is None) == (y.grad is None)
        assert x.grad is None or torch.equal(x.grad, y.grad)
    assert d1.torch.statistics().differing_bits == 0
    if case not in ("vector times vector", "matrix times vector", "addmv"):
        # Two products for each one forward; gradients of vectors are partly outer products.
        assert products() - before == 2 * count


def test_a_training_step_offloads_every_product_and_nothing_else_changes():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    inputs, labels = torch.randn(5, 6), torch.tensor([0, 1, 2, 1, 0])
    run = compiled(model)
    loss = nn.functional.cross_entropy(run(inputs), labels)
    assert products() == 2
    loss.backward()
    # The inputs need no gradient: one product less.
    assert products() == 5
    statistics = d1.torch.statistics()
    assert statistics.macs == 5 * (6 * 8 * 2 + 8 * 3 * 3)
    assert statistics.checked_outputs == 5 * 8 + 5 * 3 + 5 * 8 + 8 * 3 + 6 * 8
    assert statistics.differing_bits == 0
    exact = nn.functional.cross_entropy(model(inputs), labels)
    assert abs(loss.item() - exact.item()) < 0.02


def test_models_in_bf16_stay_in_bf16():
    a, b = integers(1, 3, 4).bfloat16(), integers(2, 4, 5).bfloat16()
    result = compiled(torch.matmul)(a, b)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, a @ b)
    assert products() == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.complex64])
def test_types_the_device_does_not_have_are_left_to_pytorch(dtype):
    a, b = integers(1, 3, 4).to(dtype), integers(2, 4, 5).to(dtype)
    assert torch.equal(compiled(torch.matmul)(a, b), a @ b)
    assert products() == 0


def test_empty_products_are_left_to_pytorch():
    assert torch.equal(
        compiled(torch.matmul)(torch.ones(3, 0), torch.ones(0, 5)), torch.zeros(3, 5)
    )
    assert products() == 0


def test_everything_else_is_left_to_pytorch():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.GELU(), nn.AvgPool2d(2))
    model.eval()
    images = integers(3, 1, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(compiled(model)(images), model(images))
    assert products() == 0


def test_attention_is_computed_to_the_precision_of_bf16():
    torch.manual_seed(2)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    inputs = torch.randn(2, 5, 16)
    result = compiled(layer)(inputs)
    assert torch.allclose(result, layer(inputs), atol=0.05)
    assert products() >= 4
    assert d1.torch.statistics().differing_bits == 0


def test_shapes_may_change():
    run = torch.compile(torch.matmul, backend="d1", options=OPTIONS, dynamic=True)
    for size in (3, 5, 8):
        a, b = integers(size, size, 4), integers(1, 4, size)
        assert torch.equal(run(a, b), a @ b)
    assert products() == 3


def test_without_options_the_settings_apply():
    before = d1.torch.settings()
    d1.torch.configure(device="golden", preset="tiny", check=False)
    try:
        run = torch.compile(torch.matmul, backend="d1", options={"mode": "products"})
        run(integers(1, 2, 3), integers(2, 3, 2))
    finally:
        d1.torch.configure(device=before.device, preset=before.preset, check=before.check)
    assert products() == 1
    assert d1.torch.statistics().checked_outputs == 0


def test_pytorch_knows_the_backend_by_name():
    assert "d1" in torch._dynamo.list_backends()


@pytest.mark.parametrize(
    "options,message",
    [
        (
            {"speed": "high"},
            "options must be among device, preset, check, mode, precision, .*, not 'speed'",
        ),
        ({"device": "gpu"}, "device must be one of board, golden, rtl, not 'gpu'"),
        ({"preset": "huge"}, "preset must be one of d1, fpga, tiny, not 'huge'"),
        ({"mode": "slow"}, "mode must be one of graph, products, not 'slow'"),
        ({"precision": "fp64"}, "precision must be one of bf16, cfp8, fp32, not 'fp64'"),
        (
            {"precision": "cfp8", "parallel": "data x tensor"},
            "parallel must be .* for precision 'cfp8', not 'data x tensor'",
        ),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(Exception, match=message):
        compiled(torch.matmul, **options)(torch.ones(2, 2), torch.ones(2, 2))
