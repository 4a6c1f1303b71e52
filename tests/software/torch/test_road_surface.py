"""The example of an implicit road surface: its world, and a step of its training on the node."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

PATH = Path(__file__).parents[3] / "software" / "examples" / "road_surface.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location(PATH.stem, PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_cameras_see_at_a_point_of_the_surface_what_is_there(example: ModuleType) -> None:
    rotations, places = example.cameras()
    model = example.Reprojection(example.pictures(rotations, places), rotations, places)
    x, y = torch.tensor([0.2, -0.3, 0.4]), torch.tensor([0.3, -0.35, 0.9])
    points = torch.stack([x, y, example.true_height(x, y)], 1)
    turned = (rotations[:, None] * points[None, :, None, :]).sum(-1) + model.offsets[:, None]
    u, v = (
        example.FOCAL * turned[..., n] / turned[..., 2] + (example.PIXELS - 1) / 2 for n in (0, 1)
    )
    seen = model.sampled(u, v)
    expected = example.true_colour(x, y).expand(example.CAMERAS, -1, -1)
    assert (seen[..., :3] - expected).abs().max() < 0.05
    assert (seen[..., 3:].argmax(-1) == example.true_class(x, y)).all()


def test_a_step_on_the_node_is_that_of_pytorch(example: ModuleType) -> None:
    torch.manual_seed(3)
    rotations, places = example.cameras()
    plain = example.Reprojection(example.pictures(rotations, places), rotations, places)
    model = copy.deepcopy(plain)
    torch._dynamo.reset()
    run = torch.compile(model, backend="d1", options={"device": "golden"}, dynamic=False)
    where = 2 * torch.rand(40, 2) - 1
    losses = [function(where, example.encoded(where)) for function in (run, plain)]
    for loss in losses:
        loss.backward()
    torch._dynamo.reset()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=0.01)
    for mine, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None
        likeness = torch.cosine_similarity(mine.grad.flatten(), theirs.grad.flatten(), dim=0)
        assert likeness > 0.99
