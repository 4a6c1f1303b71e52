"""The same operators on the simulated RTL: the same bits, and how many cycles they take."""

from collections.abc import Iterator

import d1
import d1.torch
import ml_dtypes
import numpy as np
import pytest
import torch
from d1 import Cfp8Array, Cfp8Config, Cfp8Format
from d1.device import Device, shared_device
from d1_golden.memory_map import CounterRegister, thread_counter
from d1_golden.numerics import matmul_reference
from d1_golden.numerics.convert import cfp8_to_bf16_array
from d1_golden.numerics.fp32 import fma_array
from d1_golden.params import PRESETS
from numpy.typing import NDArray

BF16 = ml_dtypes.bfloat16


@pytest.fixture(scope="module")
def tiny() -> Device:
    return shared_device("rtl", "tiny")


@pytest.fixture(scope="module")
def machine() -> Iterator[Device]:
    yield shared_device("rtl", "d1")


def codes(rng: np.random.Generator, *shape: int) -> NDArray:
    return rng.standard_normal(shape).astype(BF16)


def expected(a: NDArray, b: NDArray, preset: str) -> NDArray[np.uint32]:
    fraction_bits = PRESETS[preset].dot_fraction_bits
    return matmul_reference(a.view(np.uint16), b.view(np.uint16), fraction_bits)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (5, 7, 9), (16, 16, 16), (33, 3, 70), (100, 90, 8), (7, 5, 5001)]
)
def test_products_have_the_bits_of_the_exact_order(tiny, shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = codes(rng, m, k), codes(rng, k, n)
    result = d1.matmul(a, b, device=tiny)
    assert np.array_equal(result.view(np.uint32), expected(a, b, "tiny"))


@pytest.mark.parametrize("shape", [(5, 7, 9), (6, 6, 13), (9, 2, 3000)])
def test_cfp8_has_the_bits_of_the_exact_order(tiny, shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a = Cfp8Array(
        rng.integers(0, 256, (m, k), dtype=np.uint8), Cfp8Config(Cfp8Format.CFP8_1_4_3, 11)
    )
    b = Cfp8Array(
        rng.integers(0, 256, (k, n), dtype=np.uint8), Cfp8Config(Cfp8Format.CFP8_1_5_2, 33)
    )
    result = d1.matmul(a, b, device=tiny)
    wide = [cfp8_to_bf16_array(x.codes, x.config) for x in (a, b)]
    reference = matmul_reference(*wide, PRESETS["tiny"].dot_fraction_bits)
    assert np.array_equal(result.view(np.uint32), reference)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 9), (33, 3, 70), (7, 5, 2501)])
def test_fp32_has_the_bits_of_the_exact_order(tiny, shape):
    m, n, k = shape
    rng = np.random.default_rng(k)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
    sums = np.zeros((m, n), np.uint32)
    for term in range(k):
        sums = fma_array(a[:, [term]].view(np.uint32), b[[term]].view(np.uint32), sums)
    assert np.array_equal(d1.sgemm(a, b, device=tiny).view(np.uint32), sums)


def test_nan_inf_and_subnormals_have_the_bits_of_the_exact_order(tiny):
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 1 << 16, (2, 20, 20), dtype=np.uint16)
    bits[:, ::2] &= 0x80FF  # zeros and numbers near the smallest
    a, b = bits.view(BF16)
    result = d1.matmul(a, b, device=tiny)
    assert np.isnan(result).any()
    assert np.array_equal(result.view(np.uint32), expected(a, b, "tiny"))


def test_a_compiled_model_is_trained_with_every_bit_as_in_golden():
    torch._dynamo.reset()
    torch.manual_seed(4)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    options = {"device": "rtl", "preset": "tiny", "check": True, "mode": "products"}
    run = torch.compile(model, backend="d1", options=options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    inputs, labels = torch.randn(12, 6), torch.arange(12) % 3
    d1.torch.reset_statistics()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(run(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert d1.torch.statistics().products == 20 * 5
    assert d1.torch.statistics().differing_bits == 0


def test_the_64_cube_runs_at_205_mac_per_cycle_on_the_machine_itself(machine):
    rng = np.random.default_rng(5)
    a, b = codes(rng, 64, 64), codes(rng, 64, 64)
    before = machine.counters()
    result = d1.matmul(a, b, device=machine)
    after = machine.counters()
    assert np.array_equal(result.view(np.uint32), expected(a, b, "d1"))
    counted = {register: after[register] - before[register] for register in CounterRegister}
    assert counted[CounterRegister.MATRIX_STEPS] == 1024
    assert 64**3 / counted[CounterRegister.CYCLES] >= 205


def test_a_product_counts_on_every_thread_of_the_machine(machine):
    a = codes(np.random.default_rng(7), 64, 64)
    before = machine.counters()
    d1.matmul(a, a, device=machine)
    after = machine.counters()
    counted = [after[thread_counter(n)] - before[thread_counter(n)] for n in range(4)]
    assert min(counted) > 0.9 * max(counted) > 0


def test_odd_shapes_on_the_machine_itself_have_the_bits_of_the_exact_order(machine):
    rng = np.random.default_rng(6)
    a, b = codes(rng, 33, 130), codes(rng, 130, 21)
    result = d1.matmul(a, b, device=machine)
    assert np.array_equal(result.view(np.uint32), expected(a, b, "d1"))
