"""The demonstration: a classifier of handwritten digits, trained on the simulated node.

Every matrix product of the model, forward and backward, runs as a program on the device through
``torch.compile(model, backend="d1")`` and is compared bit by bit with the golden numerics. The same
model is trained beside it by PyTorch alone in float32, from the same start on the same batches.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from d1_golden.memory_map import CounterRegister
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

import d1.torch
from d1.device import shared_device

__all__ = ["REQUIRED_ACCURACY", "Digits", "run_demo"]

#: Share of the held-out images that must be recognised.
REQUIRED_ACCURACY = 0.95
#: Clock of the machine, for the simulated time.
CLOCK_HZ = 2e9

_BATCH = 32
_TRAINING_IMAGES = 45 * _BATCH  # of 1 797; the other 357 are held out
_HIDDEN = 64
_LEARNING_RATE = 0.02
#: Pixels are 0..16: brought to -1.3..1.3.
_PIXEL_MIDDLE, _PIXEL_SCALE = 8.0, 6.0


@dataclass(frozen=True)
class Digits:
    """scikit-learn's 1 797 images of 8 x 8 pixels, split once and for all by a seed.

    Parameters
    ----------
    images, labels
        For training.
    held_out_images, held_out_labels
        Never trained on.

    """

    images: Tensor
    labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor

    @staticmethod
    def load(seed: int) -> Digits:
        """Return the images, shuffled by `seed` before the split."""
        pixels, digits = load_digits(return_X_y=True)
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
        images = (torch.tensor(pixels, dtype=torch.float32) - _PIXEL_MIDDLE) / _PIXEL_SCALE
        labels = torch.tensor(digits)
        training, held_out = order[:_TRAINING_IMAGES], order[_TRAINING_IMAGES:]
        return Digits(images[training], labels[training], images[held_out], labels[held_out])


class _Trainer:
    """A model with its optimiser; `run` is what computes it."""

    def __init__(self, model: nn.Module, run: nn.Module, steps: int) -> None:
        self.run = run
        self.optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=_LEARNING_RATE, total_steps=steps
        )

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Train on one batch; return its loss."""
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.run(images), labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())

    def accuracy(self, images: Tensor, labels: Tensor) -> float:
        """Return the share of images that are recognised."""
        with torch.no_grad():
            return float((self.run(images).argmax(1) == labels).float().mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep PyTorch from dividing work that is so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def run_demo(device: str = "rtl", preset: str = "d1", epochs: int = 4, seed: int = 0) -> int:
    """Train and report; return the exit status.

    Parameters
    ----------
    device, preset
        As for `d1.open`.
    epochs
        Times that every training image is seen.
    seed
        Of the split, the start of the model and the order of the batches.

    Returns
    -------
    int
        0 if the accuracy on held-out images is at least `REQUIRED_ACCURACY` and no bit of any
        product differs from golden, else 1.

    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, not {epochs!r}")
    console = Console(highlight=False, soft_wrap=True)
    started = time.perf_counter()
    digits = Digits.load(seed)
    node = shared_device(device, preset)
    d1.torch.reset_statistics()
    cycles_before, before = node.cycles, node.counters()

    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 10))
    plain = copy.deepcopy(model)
    options: dict[str, Any] = {
        "device": device,
        "preset": preset,
        "check": True,
        "mode": "products",
    }
    compiled = torch.compile(model, backend="d1", options=options, dynamic=False)
    batches = _TRAINING_IMAGES // _BATCH
    trainers = (
        _Trainer(model, compiled, epochs * batches),  # type: ignore[arg-type]
        _Trainer(plain, plain, epochs * batches),
    )
    console.print(
        f"Training 64-{_HIDDEN}-10 on {_TRAINING_IMAGES} digits, {len(digits.held_out_labels)} "
        f"held out; every matmul on {device}, preset {preset}, checked against golden"
    )
    accuracies = [0.0, 0.0]
    for epoch in range(1, epochs + 1):
        losses = _train(trainers, digits, f"epoch {epoch}/{epochs}", console)
        accuracies = [t.accuracy(digits.held_out_images, digits.held_out_labels) for t in trainers]
        console.print(
            f"epoch {epoch}  d1: loss {losses[0]:.4f}, accuracy {accuracies[0]:7.2%}    "
            f"PyTorch float32: loss {losses[1]:.4f}, accuracy {accuracies[1]:7.2%}"
        )

    after = node.counters()
    counted = {register: after[register] - before[register] for register in CounterRegister}
    statistics = d1.torch.statistics()
    console.print(
        _table(statistics, counted, node.cycles - cycles_before, time.perf_counter() - started)
    )
    console.print(
        f"held-out accuracy {accuracies[0]:.2%} (at least {REQUIRED_ACCURACY:.0%} required), "
        f"{statistics.differing_bits} differing bits of {statistics.checked_outputs} outputs"
    )
    compared = statistics.checked_outputs > 0
    passed = accuracies[0] >= REQUIRED_ACCURACY and compared and not statistics.differing_bits
    return 0 if passed else 1


def _train(
    trainers: tuple[_Trainer, _Trainer], digits: Digits, name: str, console: Console
) -> list[float]:
    """Train for an epoch, all on the same batches; return the mean loss of each."""
    batches = torch.randperm(_TRAINING_IMAGES).split(_BATCH)
    totals = [0.0] * len(trainers)
    with Progress(
        TextColumn(name),
        BarColumn(),
        TextColumn("batch {task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        for batch in progress.track(batches):
            for n, trainer in enumerate(trainers):
                totals[n] += trainer.step(digits.images[batch], digits.labels[batch])
    return [total / len(batches) for total in totals]


def _table(
    statistics: d1.torch.Statistics,
    counted: dict[CounterRegister, int],
    cycles: int,
    seconds: float,
) -> Table:
    """Return the numbers of the run."""
    running = counted[CounterRegister.CYCLES]
    rows = (
        ("matmuls", f"{statistics.products:,}"),
        ("multiply-accumulates", f"{statistics.macs:,}"),
        ("tiles (matrix steps)", f"{counted[CounterRegister.MATRIX_STEPS]:,}"),
        ("instructions", f"{counted[CounterRegister.INSTRUCTIONS]:,}"),
        ("simulated cycles, transfers included", f"{cycles:,}"),
        ("of these, programs running", f"{running:,}"),
        ("MAC/cycle while running", f"{statistics.macs / max(running, 1):.1f}"),
        ("simulated time at 2 GHz", f"{cycles / CLOCK_HZ * 1e6:,.1f} us"),
        ("time on this computer", f"{seconds:.1f} s"),
    )
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    return table
