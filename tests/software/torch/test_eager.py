"""Tensors on the device "d1": operators run on the node, one by one."""

import copy
import io
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import d1.torch
import d1.torch.eager
import pytest
import torch
from d1.compiler import objects
from d1.torch import capture
from d1.torch.eager import D1Tensor
from torch import Tensor, nn
from torch.nn import functional as F

BF16 = 2e-2


@pytest.fixture(autouse=True)
def golden_tiny() -> Iterator[None]:
    before = d1.torch.settings()
    d1.torch.configure(device="golden", preset="tiny")
    d1.torch.reset_statistics()
    torch._dynamo.reset()
    yield
    d1.torch.configure(**vars(before))
    torch._dynamo.reset()


def random(*shapes: tuple[int, ...], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.LayerNorm(9), nn.Linear(9, 4))


def same_bits(a: Tensor, b: Tensor) -> bool:
    bits = [x.detach().cpu().contiguous().view(torch.int32) for x in (a, b)]
    return torch.equal(*bits)


def test_a_tensor_moves_to_the_device_and_back() -> None:
    (x,) = random((3, 4))
    there = x.to("d1")
    assert isinstance(there, D1Tensor)
    assert there.device == torch.device("dojo", 0)
    assert torch.equal(there.cpu(), x) and torch.equal(there.to("cpu"), x)
    assert there.to("d1") is there
    assert there.tolist() == x.tolist() and there[1, 2].item() == x[1, 2].item()
    assert f"{there[0, 0]:.3f}" == f"{x[0, 0]:.3f}"


def test_new_tensors_are_made_on_the_device() -> None:
    made = [
        torch.zeros(2, 3, device="d1"),
        torch.full((2, 3), 0.5, device="d1:0"),
        torch.tensor([[1, 2, 3], [4, 5, 6]], device="d1"),
        torch.arange(6, device=d1.torch.eager.DEVICE).view(2, 3),
        torch.ones_like(torch.zeros(2, 3, device="d1")),
        nn.Linear(3, 2, device="d1").weight.detach(),
    ]
    assert all(type(tensor) is D1Tensor and tensor.shape == (2, 3) for tensor in made)
    assert made[2].tolist() == [[1, 2, 3], [4, 5, 6]] and made[1].sum().item() == 3


def test_a_tensor_is_printed_like_any_other() -> None:
    x = torch.tensor([1.0, 2.5]).to("d1").requires_grad_()
    assert repr(x) == "tensor([1.0000, 2.5000], device='dojo:0', requires_grad=True)"
    assert repr(2 * x).endswith("device='dojo:0', grad_fn=<MulBackward0>)")
    assert repr(nn.Parameter(x.detach())).startswith("Parameter containing:\ntensor([")


OPERATORS: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "product": (lambda a, b: a @ b, [(7, 9), (9, 5)]),
    "product with bias": (torch.addmm, [(5,), (7, 9), (9, 5)]),
    "softmax": (lambda a: a.softmax(-1), [(4, 11)]),
    "layer norm": (lambda a, w, b: F.layer_norm(a, (11,), w, b), [(4, 11), (11,), (11,)]),
    "gelu": (F.gelu, [(3, 7)]),
    "sum of rows": (lambda a: a.sum(1), [(6, 13)]),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_gives_the_bits_of_a_compiled_graph_with_it(name: str) -> None:
    function, shapes = OPERATORS[name]
    operands = random(*shapes)
    ran = d1.torch.statistics().graphs
    eager = function(*(x.to("d1") for x in operands))
    assert d1.torch.statistics().graphs == ran + 1
    compiled = torch.compile(function, backend="d1", dynamic=False)(*operands)
    assert eager.device.type == "dojo" and same_bits(eager, compiled)
    assert (eager.cpu() - function(*operands)).abs().max() < BF16 * 5


def test_an_operator_is_compiled_once_for_each_shape() -> None:
    a, b = (x.to("d1") for x in random((5, 3), (5, 3)))
    assert torch.equal((a * b).cpu(), a.cpu() * b.cpu())
    programs, kernels = len(capture.programs), objects.statistics["kernels"]
    a * b, b * a
    assert len(capture.programs) == programs
    a[:4] * b[1:]
    assert len(capture.programs) == programs + 1
    assert objects.statistics["kernels"] <= kernels + 1


def test_a_number_that_changes_needs_no_new_kernel() -> None:
    (a,) = (x.to("d1") for x in random((5, 3)))
    for step in (1.5, 2.5):
        assert torch.equal((a * step).cpu(), a.cpu() * step)
        assert torch.allclose(torch.add(a, a, alpha=step).cpu(), a.cpu() * (1 + step))
        if step == 1.5:
            programs = len(capture.programs)
    assert len(capture.programs) == programs


def test_views_share_elements_and_operators_in_place_write_them() -> None:
    (x,) = random((4, 5))
    there, here = x.to("d1"), x.clone()
    for tensor in (there, here):
        tensor[1].add_(2.0)
        tensor.t()[2].mul_(tensor[:, 0])
        tensor[:, 3] = 7.0
        torch.add(tensor[0], 1.0, out=tensor[2])
    assert torch.equal(there.cpu(), here)


def test_a_model_trains_on_the_device_as_on_the_cpu() -> None:
    here, there = model(), model().to("d1")
    x, _ = random((10, 6), (1,))
    y = torch.arange(10) % 4
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.01) for m in (here, there)]
    losses = []
    for _ in range(3):
        for m, optimizer, inputs, labels in (
            (here, optimizers[0], x, y),
            (there, optimizers[1], x.to("d1"), y.to("d1")),
        ):
            loss = F.cross_entropy(m(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert all(p.device.type == "dojo" and p.is_leaf for p in there.parameters())
    assert all(p.grad is not None and p.grad.device.type == "dojo" for p in there.parameters())
    assert losses[4] < losses[0]
    assert losses[1::2] == pytest.approx(losses[::2], abs=BF16)


def test_a_step_of_an_optimizer_compiles_nothing_the_second_time() -> None:
    m = model().to("d1")
    optimizer = torch.optim.AdamW(m.parameters(), lr=0.01)
    (x,) = random((10, 6))
    known = []
    for _ in range(3):
        m(x.to("d1")).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        known.append(len(capture.programs))
    assert known[1] == known[2]


def test_a_compiled_model_takes_tensors_of_the_device() -> None:
    m = model().to("d1")
    x = random((10, 6))[0].to("d1")
    ran = torch.compile(m, backend="d1", dynamic=False)
    graphs = d1.torch.statistics().graphs
    result = ran(x)
    result.backward(torch.ones_like(result))
    assert d1.torch.statistics().graphs == graphs + 2
    assert result.device.type == "dojo"
    plain = torch.compile(model(), backend="d1", dynamic=False)(x.cpu())
    assert same_bits(result, plain)
    assert all(p.grad is not None and p.grad.device.type == "dojo" for p in m.parameters())


def test_what_has_no_lowering_is_pytorchs_with_one_warning() -> None:
    a = random((4, 6))[0].to("d1")
    capture._warned.clear()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            values = torch.cummax(a, 1).values
            some = a[a > 0]
    assert values.device.type == "dojo" == some.device.type
    assert torch.equal(values.cpu(), a.cpu().cummax(1).values)
    assert torch.equal(some.cpu(), a.cpu()[a.cpu() > 0])
    texts = [str(warning.message) for warning in seen]
    assert len(texts) == 2
    assert "aten.cummax" in texts[0] and "stays PyTorch's" in texts[0]
    assert "aten.index.Tensor" in texts[1] and "follow from data" in texts[1]


def test_devices_do_not_mix() -> None:
    a, b = random((2, 3), (2, 3))
    with pytest.raises(RuntimeError, match=r"same device, but found at least two.*dojo:0 and cpu"):
        a.to("d1") + b
    assert torch.equal((a.to("d1") + torch.tensor(2.0)).cpu(), a + 2)
    assert torch.equal(a.to("d1")[torch.tensor([1])].cpu(), a[1:])


def test_a_small_convolutional_network_runs_forward_and_backward() -> None:
    torch.manual_seed(5)
    here = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2))
    there = copy.deepcopy(here).to("d1")
    (image,) = random((2, 2, 6, 6))
    results = here(image), there(image.to("d1"))
    for result in results:
        result.square().sum().backward()
    assert (results[1].cpu() - results[0]).abs().max() < BF16
    for mine, theirs in zip(there.parameters(), here.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        assert torch.allclose(mine.grad.cpu(), theirs.grad, atol=10 * BF16, rtol=BF16)
    assert torch.allclose(there[1].running_mean.cpu(), here[1].running_mean, atol=BF16)
    assert torch.allclose(there[1].running_var.cpu(), here[1].running_var, atol=BF16)
    assert there[1].num_batches_tracked.item() == 1


def test_empty_tensors_need_no_node() -> None:
    a = torch.zeros(0, 3, device="d1")
    assert (a + 1).shape == (0, 3) and (a @ torch.ones(3, 2, device="d1")).shape == (0, 2)
    assert d1.torch.statistics().graphs == 0


def test_a_checkpoint_is_loaded_on_the_device_and_elsewhere() -> None:
    m = model().to("d1")
    file = io.BytesIO()
    torch.save(m.state_dict(), file)
    file.seek(0)
    state = torch.load(file)
    assert all(type(tensor) is Tensor for tensor in state.values())
    other = model().to("d1")
    nn.init.zeros_(other[0].weight)
    other.load_state_dict(state)
    here = model()
    here.load_state_dict(state)
    for mine, theirs in zip(m.parameters(), other.parameters(), strict=True):
        assert theirs.device.type == "dojo" and torch.equal(mine.cpu(), theirs.cpu())
    assert torch.equal(here[0].weight, m[0].weight.cpu())


def test_a_checkpoint_is_loaded_where_the_device_is_unknown(tmp_path) -> None:
    m = model().to("d1")
    path = tmp_path / "model.pt"
    torch.save(m.state_dict(), path)
    script = "import sys, torch; print(torch.load(sys.argv[1])['3.bias'].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == str(m[3].bias.tolist())


def test_a_model_is_copied_and_brought_back() -> None:
    m = model().to("d1")
    twin = copy.deepcopy(m)
    assert isinstance(twin[0].weight, nn.Parameter) and twin[0].weight.device.type == "dojo"
    with torch.no_grad():
        twin[0].weight.zero_()
    assert m[0].weight.abs().sum().item() > 0
    back = m.to("cpu")
    assert type(back[0].weight) is nn.Parameter and torch.equal(back[0].weight, model()[0].weight)
