"""PyTorch's own samples of its operators (OpInfo), on the golden node against PyTorch on the CPU.

Results and gradients are compared, of samples in FP32, of some in BF16 and of integers. Nothing may
be left to PyTorch but samples with an empty tensor, for which there is nothing to compute. A run
takes some samples of each operator, evenly chosen: as many as D1_SAMPLES says, or all of them
(`make operators`). Samples are left out

- that PyTorch itself refuses to compile, or whose results follow from the numbers in them
- that have tensors of types that the node does not have
- that are listed in `WITHOUT`, for the reason there
"""

import math
import os
import warnings
from collections.abc import Callable
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
#: Some of all samples do not fit in the SRAM of the small preset.
PRESET = "d1" if SAMPLES == "all" else "tiny"
OPTIONS = {"device": "golden", "preset": PRESET, "precision": "fp32"}
#: Of the largest number; sums in another order and functions of some units in the last place.
TOLERANCE = 2e-5

#: By the name in PyTorch's list, and that of the variant.
OPERATORS = """
    H T __radd__ __rdiv__ __rmul__ __rsub__ abs acos acosh add addbmm addcdiv addcmul addmm
    addmm.decomposed addmv addr alias_copy all amax amin aminmax any argmax argmin argsort
    argwhere asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d baddbmm bmm
    broadcast_tensors broadcast_to bucketize cat ceil chunk clamp clamp_max clamp_min clone
    column_stack constant_pad_nd contiguous copysign cos cosh count_nonzero cross cumprod cumsum
    cumulative_trapezoid deg2rad diag diag_embed diagflat diagonal diagonal_copy
    diagonal_scatter diff dist div.floor_rounding div.no_rounding_mode div.trunc_rounding dot
    dsplit dstack einsum eq erf erfc exp exp2 expand expand_as expand_copy expm1 fill flatten
    flip fliplr flipud floor floor_divide fmax fmin fmod frac full_like gather ge gradient gt
    heaviside histc hsplit hstack hypot index_add index_copy index_fill index_put index_reduce.amax
    index_reduce.amin index_reduce.mean index_reduce.prod index_select inner isclose isfinite
    isin isinf isnan isneginf isposinf isreal kron kthvalue ldexp le lerp log log10 log1p log2
    log_softmax logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit
    logsumexp lt mH mT masked_fill masked_scatter matmul max.binary max.reduction_no_dim
    max.reduction_with_dim max_pool2d_with_indices_backward maximum mean median
    meshgrid.list_of_tensors meshgrid.variadic_tensors min.binary min.reduction_no_dim
    min.reduction_with_dim minimum mm mode
    movedim msort mul mv nan_to_num nanmean nansum narrow native_dropout_backward
    native_group_norm native_layer_norm ne neg nn.functional.adaptive_avg_pool1d
    nn.functional.adaptive_avg_pool2d nn.functional.avg_pool1d nn.functional.avg_pool2d
    nn.functional.avg_pool3d nn.functional.batch_norm nn.functional.bilinear
    nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits
    nn.functional.celu nn.functional.channel_shuffle nn.functional.conv1d nn.functional.conv2d
    nn.functional.conv3d nn.functional.conv_transpose1d nn.functional.conv_transpose2d
    nn.functional.conv_transpose3d nn.functional.cosine_embedding_loss
    nn.functional.cosine_similarity nn.functional.cross_entropy nn.functional.elu
    nn.functional.embedding nn.functional.gelu nn.functional.glu nn.functional.group_norm
    nn.functional.hardshrink nn.functional.hardsigmoid nn.functional.hardswish
    nn.functional.hardtanh nn.functional.hinge_embedding_loss nn.functional.huber_loss
    nn.functional.instance_norm nn.functional.interpolate.area nn.functional.interpolate.bicubic
    nn.functional.interpolate.bilinear nn.functional.interpolate.linear
    nn.functional.interpolate.nearest nn.functional.interpolate.nearest-exact
    nn.functional.interpolate.trilinear nn.functional.kl_div nn.functional.l1_loss
    nn.functional.layer_norm nn.functional.leaky_relu nn.functional.linear
    nn.functional.local_response_norm nn.functional.logsigmoid nn.functional.margin_ranking_loss
    nn.functional.max_pool1d nn.functional.max_pool2d nn.functional.max_pool3d
    nn.functional.max_unpool1d nn.functional.max_unpool1d.grad nn.functional.max_unpool2d
    nn.functional.max_unpool2d.grad nn.functional.max_unpool3d nn.functional.max_unpool3d.grad
    nn.functional.mish nn.functional.mse_loss nn.functional.nll_loss nn.functional.normalize
    nn.functional.pad.circular nn.functional.pad.constant nn.functional.pad.reflect
    nn.functional.pad.replicate nn.functional.pad.replicate_negative
    nn.functional.pairwise_distance nn.functional.pixel_shuffle nn.functional.poisson_nll_loss
    nn.functional.prelu nn.functional.relu nn.functional.relu6 nn.functional.rms_norm
    nn.functional.scaled_dot_product_attention nn.functional.selu nn.functional.silu
    nn.functional.smooth_l1_loss nn.functional.soft_margin_loss nn.functional.softmin
    nn.functional.softplus nn.functional.softshrink nn.functional.softsign
    nn.functional.tanhshrink nn.functional.threshold nn.functional.triplet_margin_loss
    nn.functional.triplet_margin_with_distance_loss nn.functional.unfold
    nn.functional.upsample_bilinear nn.functional.upsample_nearest norm norm.fro norm.inf outer
    permute positive pow prod put rad2deg ravel reciprocal remainder repeat repeat_interleave
    reshape reshape_as roll rot90 round round.decimals_0 round.decimals_3 round.decimals_neg_3
    rsqrt rsub scatter scatter_add scatter_reduce.amax scatter_reduce.amin scatter_reduce.mean
    scatter_reduce.prod scatter_reduce.sum searchsorted select select_scatter sgn sigmoid sign
    signbit sin sinc sinh slice slice_scatter softmax sort split split.list_args
    split_with_sizes split_with_sizes_copy sqrt square squeeze squeeze.multiple squeeze_copy
    stack std std.unbiased std_mean std_mean.unbiased sub sum sum_to_size t t_copy take
    take_along_dim tan tanh tensor_split tensordot tile topk trace transpose transpose_copy
    trapezoid trapz tril triu true_divide trunc unbind unflatten unfold unfold_copy unsafe_chunk
    unsafe_split unsqueeze unsqueeze_copy var var.unbiased var_mean var_mean.unbiased vdot view
    vsplit vstack where xlogy zeros_like
""".split()
OF_INTEGERS = """
    abs add amax amin argmax argmin bitwise_and bitwise_not bitwise_or bitwise_xor cat clamp
    clone cumprod cumsum div.floor_rounding eq expand flip floor_divide fmax fmod gather ge gt
    index_select le lt masked_fill max.binary maximum minimum mul ne neg prod remainder repeat
    reshape signbit sort sub sum tile transpose
""".split()
OF_BF16 = """
    add cumsum div.no_rounding_mode exp matmul mean mul nn.functional.conv2d
    nn.functional.gelu nn.functional.linear nn.functional.max_pool2d
    nn.functional.scaled_dot_product_attention nn.functional.silu softmax sum where
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


def tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def is_of_the_node(values: Any) -> bool:
    types = [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.dtype)]
    return all(dtype in DTYPES for dtype in [*types, *(x.dtype for x in tensors(values))])


def samples_of(name: str, dtype: torch.dtype) -> list[Any]:
    """Return the samples to take."""
    op = INFOS[name]
    _, is_without = WITHOUT.get(name, ("", lambda _: False))
    with_gradients = dtype.is_floating_point and op.supports_autograd
    samples = [
        sample
        for sample in op.sample_inputs("cpu", dtype, requires_grad=with_gradients)
        if is_of_the_node((sample.input, sample.args, sample.kwargs)) and not is_without(sample)
    ]
    if SAMPLES == "all":
        return samples
    step = max(1, len(samples) // int(SAMPLES))
    return samples[step // 2 :: step][: int(SAMPLES)]


def together(names: list[str]) -> list[Any]:
    """Return the names as parameters: some at a time, which is faster, but if all is taken."""
    count = 1 if SAMPLES == "all" else 8
    parts = [names[n : n + count] for n in range(0, len(names), count)]
    return [pytest.param(part, id=" ".join(part)) for part in parts]


@pytest.mark.parametrize("names", together(OPERATORS))
def test_samples_give_what_pytorch_gives(names):
    compare_all(names, torch.float32, TOLERANCE)


@pytest.mark.parametrize("names", together(OF_INTEGERS))
def test_samples_of_integers_give_what_pytorch_gives(names):
    compare_all(names, torch.int64, 0.0)


@pytest.mark.parametrize("names", together(OF_BF16))
def test_samples_in_bf16_give_what_pytorch_gives(names):
    compare_all(names, torch.bfloat16, 2.0**-6)


def compare_all(names: list[str], dtype: torch.dtype, tolerance: float) -> None:
    cases = [(INFOS[name].get_op(), s) for name in names for s in samples_of(name, dtype)]
    assert len(cases) >= len(names)
    for part in [[case] for case in cases] if SAMPLES == "all" else [cases]:
        compare(part, tolerance)
        torch._dynamo.reset()


def compare(cases: list[tuple[Callable, Any]], tolerance: float) -> None:
    """Assert that results and gradients of samples are PyTorch's."""

    def results_of(operands: list[Any]) -> list[Any]:
        return [
            function(*values, **sample.kwargs)
            for (function, sample), values in zip(cases, operands, strict=True)
        ]

    def copy(x: Any) -> Any:
        return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x

    operands = [(sample.input, *sample.args) for _, sample in cases]
    mine, theirs = tree_map(copy, operands), tree_map(copy, operands)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        expected = tensors(results_of(theirs))
        if all(0 not in x.shape for x in [*tensors(operands), *expected]):
            warnings.filterwarnings("error", message=".* stays PyTorch's")
        run = torch.compile(results_of, backend="d1", options=OPTIONS, dynamic=False)
        results = tensors(run(mine))
        assert_close(results, expected, tolerance)
        pairs = [
            (x, y)
            for x, y in zip(results, expected, strict=True)
            if x.requires_grad and y.requires_grad
        ]
        inputs = [
            (x, y) for x, y in zip(tensors(mine), tensors(theirs), strict=True) if x.requires_grad
        ]
        if not pairs or not inputs:
            return
        generator = torch.Generator().manual_seed(1)
        weights = [torch.randn(y.shape, generator=generator).to(y.dtype) for _, y in pairs]
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
        assert_close(list(of_mine), list(of_theirs), tolerance)


def assert_close(mine: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    assert len(mine) == len(theirs)
    for x, y in zip(mine, theirs, strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        finite = y.detach().double().nan_to_num(0, 0, 0).abs()
        scale = max(1.0, finite.max().item()) if y.numel() else 1.0
        torch.testing.assert_close(
            x.double(), y.double(), rtol=0, atol=tolerance * scale, equal_nan=True
        )
