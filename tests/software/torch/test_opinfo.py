"""PyTorch's own samples of its operators (OpInfo), on the golden node against PyTorch on the CPU.

Results and gradients are compared; nothing may be left to PyTorch but samples with an empty tensor,
for which there is nothing to compute. A run takes some samples of each operator, evenly chosen:
as many as D1_SAMPLES says, or all of them (`make operators`). Samples are left out

- that PyTorch itself refuses to compile, or whose results follow from the numbers in them
- that have tensors of types that the node does not have
- that are listed in `WITHOUT`, for the reason there
"""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

from d1.torch.types import DTYPES

SAMPLES = os.environ.get("D1_SAMPLES", "1")
OPTIONS = {"device": "golden", "preset": "tiny", "precision": "fp32"}
#: Of the largest number; sums in another order and functions of some units in the last place.
TOLERANCE = 2e-5

#: By the name in PyTorch's list, and that of the variant.
OPERATORS = """
    __radd__ __rdiv__ __rmul__ __rsub__ abs add addbmm addcdiv addcmul addmm addmv addr all
    amax amin any argmax argmin baddbmm bernoulli bmm broadcast_to cat ceil clamp clamp_max
    clamp_min clone constant_pad_nd contiguous cos cross cumsum diag diagonal
    div.no_rounding_mode dot einsum eq exp exp2 expand expm1 eye fill flatten flip floor
    full_like gather ge gt index_add index_select isfinite isinf isnan kron le lerp log log10
    log1p log2 log_softmax logical_and logical_not logical_or logical_xor logsumexp lt
    masked_fill matmul max.binary max.reduction_no_dim max.reduction_with_dim maximum mean
    min.binary min.reduction_no_dim min.reduction_with_dim minimum mm movedim mul mv narrow
    native_layer_norm ne neg nn.functional.adaptive_avg_pool1d
    nn.functional.adaptive_avg_pool2d nn.functional.avg_pool1d nn.functional.avg_pool2d
    nn.functional.batch_norm nn.functional.binary_cross_entropy
    nn.functional.binary_cross_entropy_with_logits nn.functional.celu nn.functional.conv1d
    nn.functional.conv2d nn.functional.conv_transpose1d nn.functional.conv_transpose2d
    nn.functional.cosine_similarity nn.functional.cross_entropy nn.functional.elu
    nn.functional.embedding nn.functional.gelu nn.functional.glu nn.functional.group_norm
    nn.functional.hardsigmoid nn.functional.hardswish nn.functional.hardtanh
    nn.functional.huber_loss nn.functional.instance_norm nn.functional.kl_div
    nn.functional.l1_loss nn.functional.layer_norm nn.functional.leaky_relu
    nn.functional.linear nn.functional.logsigmoid nn.functional.max_pool1d
    nn.functional.max_pool2d nn.functional.mish nn.functional.mse_loss nn.functional.nll_loss
    nn.functional.normalize nn.functional.pad.constant nn.functional.pixel_shuffle
    nn.functional.relu nn.functional.relu6 nn.functional.rms_norm
    nn.functional.scaled_dot_product_attention nn.functional.selu nn.functional.silu
    nn.functional.smooth_l1_loss nn.functional.soft_margin_loss nn.functional.softmin
    nn.functional.softplus nn.functional.softshrink nn.functional.softsign
    nn.functional.tanhshrink nn.functional.threshold nn.functional.unfold norm permute positive
    pow reciprocal repeat reshape roll round rsqrt rsub scatter scatter_add select sgn sigmoid
    sign sin slice softmax sort split sqrt square squeeze stack std std_mean sub sum t tanh
    tile topk transpose tril triu trunc unbind unflatten unfold unsqueeze var var_mean view
    where zeros_like
""".split()
#: Reasons not to take a sample of an operator.
WITHOUT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    name: (
        "the gradient of the norm of one element is what rounding leaves of 0",
        lambda sample: math.prod(sample.args[0]) == 1,
    )
    for name in ("native_layer_norm", "nn.functional.layer_norm")
}


def name_of(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


INFOS = {name_of(op): op for op in op_db}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def is_of_the_node(values: Any) -> bool:
    return all(x.dtype in DTYPES for x in tensors(values))


def samples_of(name: str) -> Iterator[Any]:
    """Yield the samples to take."""
    op = INFOS[name]
    _, is_without = WITHOUT.get(name, ("", lambda _: False))
    samples = []
    for sample in op.sample_inputs("cpu", torch.float32, requires_grad=op.supports_autograd):
        if is_of_the_node((sample.input, sample.args, sample.kwargs)) and not is_without(sample):
            samples.append(sample)
    if SAMPLES == "all":
        yield from samples
    else:
        step = max(1, len(samples) // int(SAMPLES))
        yield from samples[step // 2 :: step][: int(SAMPLES)]


def assert_close(mine: list[Tensor], theirs: list[Tensor]) -> None:
    assert len(mine) == len(theirs)
    for x, y in zip(mine, theirs, strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        finite = y.detach().double().nan_to_num(0, 0, 0).abs()
        scale = max(1.0, finite.max().item()) if y.numel() else 1.0
        torch.testing.assert_close(
            x.double(), y.double(), rtol=0, atol=TOLERANCE * scale, equal_nan=True
        )


@pytest.mark.parametrize("name", OPERATORS)
def test_samples_give_what_pytorch_gives(name):
    op = INFOS[name]
    taken = 0
    for sample in samples_of(name):
        compare(op.get_op(), sample)
        torch._dynamo.reset()
        taken += 1
    assert taken


def compare(function: Callable, sample: Any) -> None:
    """Assert that results and gradients of a sample are PyTorch's."""

    def with_fixed(*operands: Any) -> Any:
        return function(*operands, **sample.kwargs)

    def copy(x: Any) -> Any:
        return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x

    operands = (sample.input, *sample.args)
    mine, theirs = tree_map(copy, operands), tree_map(copy, operands)
    expected = tensors(with_fixed(*theirs))
    is_empty = any(0 in x.shape for x in [*tensors(operands), *expected])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not is_empty:
            warnings.filterwarnings("error", message=".* stays PyTorch's")
        results = tensors(
            torch.compile(with_fixed, backend="d1", options=OPTIONS, dynamic=False)(*mine)
        )
        assert_close(results, expected)
        pairs = [
            (x, y)
            for x, y in zip(results, expected, strict=True)
            if y.requires_grad and x.requires_grad
        ]
        inputs = [
            (x, y) for x, y in zip(tensors(mine), tensors(theirs), strict=True) if x.requires_grad
        ]
        if pairs and inputs:
            generator = torch.Generator().manual_seed(1)
            weights = [torch.randn(y.shape, generator=generator) for _, y in pairs]
            of_mine, of_theirs = (
                torch.autograd.grad(
                    [pair[n] for pair in pairs],
                    [pair[n] for pair in inputs],
                    weights,
                    allow_unused=True,
                    materialize_grads=True,
                )
                for n in range(2)
            )
            assert_close(list(of_mine), list(of_theirs))
