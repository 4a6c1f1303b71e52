"""An implicit road surface: a network maps x, y to height, colour and semantics.

    python software/examples/road_surface.py [steps] [device]

Nobody tells it a height. Points of the surface that it predicts are projected into several cameras,
and what it says of them is compared with what the cameras see there; where heights are wrong,
cameras contradict each other. Plain PyTorch, and one line that brings the model to the node. The
world, a street with lines, kerbs and grass over hills, and its pictures are made here. The idea is
that of a road surface network (Ref: A. Elluswamy, Tesla AI Day 2021; R. Mei et al., "RoMe: Towards
Large Scale Road Surface Reconstruction via Mesh Representation", IEEE TIV, 2024).
"""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = ("grass", "street", "line", "kerb")
CAMERAS, PIXELS = 5, 40
WIDTH, WAVES = 64, 4
BATCH = 256
#: Focal length in pixels, and how far cameras are from the middle, above it and beside it.
FOCAL, AWAY, ABOVE = 34.0, 1.6, 1.5
COLOURS = torch.tensor([[0.2, 0.5, 0.2], [0.4, 0.4, 0.4], [0.9, 0.9, 0.8], [0.6, 0.55, 0.5]])


def true_height(x: Tensor, y: Tensor) -> Tensor:
    """Return the height of the world."""
    return 0.12 * torch.sin(2.2 * x + 0.5) * torch.cos(1.7 * y) + 0.06 * y


def true_class(x: Tensor, y: Tensor) -> Tensor:
    """Return what is where: a street along x that winds, with a line and kerbs."""
    beside = (y - 0.15 * torch.sin(2 * x)).abs()
    kinds = torch.where(beside < 0.55, 1, 0)
    kinds = torch.where((beside - 0.6).abs() < 0.08, 3, kinds)
    return torch.where(beside < 0.09, 2, kinds)


def true_colour(x: Tensor, y: Tensor) -> Tensor:
    """Return the colour, which is not the same all over a class."""
    shades = [torch.sin(5 * x + 3 * y), torch.sin(4 * y - 4 * x + 1), torch.cos(6 * x - 1)]
    return COLOURS[true_class(x, y)] + 0.2 * torch.stack(shades, -1)


def cameras() -> tuple[Tensor, Tensor]:
    """Return rotations from the world to cameras that look at the middle, and their places."""
    rotations, places = [], []
    for n in range(CAMERAS):
        angle = 2 * math.pi * n / CAMERAS
        place = torch.tensor([AWAY * math.cos(angle), AWAY * math.sin(angle), ABOVE])
        ahead = F.normalize(-place, dim=0)
        right = F.normalize(torch.linalg.cross(ahead, torch.tensor([0.0, 0.0, 1.0])), dim=0)
        rotations.append(torch.stack([right, torch.linalg.cross(ahead, right), ahead]))
        places.append(place)
    return torch.stack(rotations), torch.stack(places)


def pictures(rotations: Tensor, places: Tensor) -> Tensor:
    """Return what the cameras see: for each pixel, colour and the class as numbers 0 and 1."""
    across = torch.arange(PIXELS) - (PIXELS - 1) / 2
    v, u = torch.meshgrid(across, across, indexing="ij")
    rays = torch.stack([u / FOCAL, v / FOCAL, torch.ones_like(u)], -1).reshape(-1, 3) @ rotations
    near, far = torch.zeros(rays.shape[:2]), torch.full(rays.shape[:2], 8.0)
    for _ in range(40):  # the surface is between near and far; rays all go down to it
        middle = (near + far) / 2
        points = places[:, None] + middle[..., None] * rays
        above = points[..., 2] > true_height(points[..., 0], points[..., 1])
        near, far = torch.where(above, middle, near), torch.where(above, far, middle)
    x, y = points[..., 0], points[..., 1]
    kinds = F.one_hot(true_class(x, y), len(CLASSES))
    return torch.cat([true_colour(x, y), kinds.float()], -1).reshape(-1, 3 + len(CLASSES))


class Surface(nn.Module):
    """Height, colour and scores of classes at some places."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 4 * WAVES, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 1 + 3 + len(CLASSES)),
        )

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return them for places given by `encoded`."""
        out = self.layers(places)
        return 0.1 * out[:, 0], out[:, 1:4], out[:, 4:]


def encoded(places: Tensor) -> Tensor:
    """Return x and y with waves of them, that details can be made of."""
    angles = torch.cat([2.0**n * places for n in range(WAVES)], 1)
    return torch.cat([places, angles.sin(), angles.cos()], 1)


class Reprojection(nn.Module):
    """The surface and its loss: how it differs from what cameras see."""

    def __init__(self, seen: Tensor, rotations: Tensor, places: Tensor) -> None:
        super().__init__()
        self.surface = Surface()
        self.register_buffer("seen", seen)
        self.register_buffer("rotations", rotations)
        self.register_buffer("offsets", -(rotations @ places[..., None])[..., 0])

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        """Return the loss at some places."""
        height, colour, scores = self.surface(features)
        points = torch.cat([places, height[:, None]], 1)
        # Element by element, in FP32: products round to BF16, which is a pixel here.
        turned = (self.rotations[:, None] * points[None, :, None, :]).sum(-1)
        turned = turned + self.offsets[:, None]
        ahead = turned[..., 2]
        middle = (PIXELS - 1) / 2
        u = FOCAL * turned[..., 0] / ahead + middle
        v = FOCAL * turned[..., 1] / ahead + middle
        inside = ((u > 0) & (u < PIXELS - 1) & (v > 0) & (v < PIXELS - 1)).float()
        seen = self.sampled(u.clamp(0, PIXELS - 1.001), v.clamp(0, PIXELS - 1.001))
        wrong = (seen[..., :3] - colour).square().sum(-1)
        unlike = -(seen[..., 3:] * F.log_softmax(scores, -1)).sum(-1)
        return ((wrong + 0.1 * unlike) * inside).sum() / inside.sum()

    def sampled(self, u: Tensor, v: Tensor) -> Tensor:
        """Return what cameras see at some pixels, between them linearly."""
        left, top = u.detach().long(), v.detach().long()
        right, down = (u - left)[..., None], (v - top)[..., None]
        first = torch.arange(CAMERAS)[:, None] * PIXELS**2 + top * PIXELS + left
        above = (1 - right) * F.embedding(first, self.seen)
        above = above + right * F.embedding(first + 1, self.seen)
        below = (1 - right) * F.embedding(first + PIXELS, self.seen)
        below = below + right * F.embedding(first + PIXELS + 1, self.seen)
        return (1 - down) * above + down * below


@torch.no_grad()
def errors(surface: Surface) -> tuple[float, float]:
    """Return the root of the mean square of the error of heights, and the part of right classes."""
    across = torch.linspace(-0.95, 0.95, 40)
    places = torch.cartesian_prod(across, across)
    height, _, scores = surface(encoded(places))
    x, y = places.T
    wrong = (height - true_height(x, y)).square().mean().sqrt().item()
    return wrong, (scores.argmax(1) == true_class(x, y)).float().mean().item()


def main(steps: int = 600, device: str = "golden") -> tuple[float, float]:
    """Train, and say how well the surface is known; return it."""
    torch.manual_seed(0)
    rotations, places = cameras()
    model = Reprojection(pictures(rotations, places), rotations, places)
    run = torch.compile(model, backend="d1", options={"device": device}, dynamic=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        where = 2 * torch.rand(BATCH, 2) - 1
        loss = run(where, encoded(where))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:4}: loss {loss.item():.4f}", flush=True)
    height, right = errors(model.surface)
    print(f"heights are wrong by {height:.4f} of {2 * 0.18:.2f}; {right:.1%} of classes are right")
    return height, right


if __name__ == "__main__":
    main(*(int(argument) if argument.isdecimal() else argument for argument in sys.argv[1:]))
