"""Train the example's GPT on the node and without it; write docs/gpt_training.json.

`curve`: a whole training on the golden node, one with products of CFP8 and one in PyTorch's FP32,
from the same weights with the same batches; how many of new sequences they sort. `rtl`: some steps
on the RTL and on the golden node; loss, gradients and weights behind each are compared bit by bit.

tools/write_docs.py makes text and picture of it.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from d1.examples import load_example
from d1.gpt_figures import CFP8, GOLDEN, PYTORCH, WANTED, keep, read_figures
from torch import Tensor

gpt_sort = load_example("gpt_sort")
#: Options of the backend for each curve; PyTorch's own has none.
RUNS: dict[str, dict[str, str]] = {
    PYTORCH: {},
    GOLDEN: {"device": "golden"},
    CFP8: {"device": "golden", "precision": "cfp8"},
}
#: Steps from one look at the accuracy to the next, and sequences that are sorted for it.
_EVERY, _TESTS = 25, 500


def curve(names: Sequence[str], steps: int) -> None:
    """Train for some steps with and without the node; runs of other names stay as they are."""
    torch.set_num_threads(1)
    for name in names:
        run: dict[str, Any] = {}
        for run in train(name, steps):
            # What there is so far: the run takes long.
            keep("runs", read_figures().get("runs", {}) | {name: run})
        if run["accuracies"][steps] < WANTED:
            sys.exit(f"{name}: less than {WANTED:.0%} sorted behind step {steps}")


def train(name: str, steps: int) -> Iterator[dict[str, Any]]:
    """Train for some steps; yield losses and accuracies every now and then.

    It is PyTorch that sorts, with the weights that there are.
    """
    torch._dynamo.reset()
    tests = gpt_sort.sequences(_TESTS, torch.Generator().manual_seed(2))
    trainer = gpt_sort.Trainer()
    step = trainer.step
    if options := RUNS[name]:
        step = torch.compile(step, backend="d1", options=options, dynamic=False)
    generator = torch.Generator().manual_seed(1)
    losses: list[float] = []
    accuracies: dict[int, float] = {}
    start = time.monotonic()
    for number in range(1, steps + 1):
        loss = step(gpt_sort.sequences(gpt_sort.BATCH, generator)).item()
        losses.append(float(f"{loss:.4g}"))
        if number % _EVERY == 0 or number == steps:
            accuracies[number] = gpt_sort.accuracy(trainer.sorter.gpt, tests)
            seconds = time.monotonic() - start
            print(
                f"{name}: step {number}, loss {loss:.5f}, {accuracies[number]:.1%} sorted, "
                f"{seconds:.0f} s",
                flush=True,
            )
            yield {"losses": losses, "accuracies": accuracies}


def states(device: str, steps: int) -> list[list[Tensor]]:
    """Return loss, gradients and weights behind each of some steps."""
    torch._dynamo.reset()
    trainer = gpt_sort.Trainer()
    step = torch.compile(trainer.step, backend="d1", options={"device": device}, dynamic=False)
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(steps):
        start = time.monotonic()
        loss = step(gpt_sort.sequences(gpt_sort.BATCH, generator)).detach()
        weights = list(trainer.sorter.parameters())
        state = [loss, *(w.grad for w in weights), *(w.detach() for w in weights)]
        found.append([tensor.clone() for tensor in state])
        print(f"{device}: step {number}, {time.monotonic() - start:.0f} s", flush=True)
    return found


def differing_bits(a: Tensor, b: Tensor) -> int:
    """Return in how many bits two tensors of FP32 differ."""
    words = (x.numpy().view(np.uint32) for x in (a, b))
    return int(np.bitwise_count(np.bitwise_xor(*words)).sum())


def rtl(steps: int) -> None:
    """Compare some steps on the RTL with the same on the golden node."""
    pairs = [
        pair
        for mine, theirs in zip(states("rtl", steps), states("golden", steps), strict=True)
        for pair in zip(mine, theirs, strict=True)
    ]
    differing = sum(differing_bits(a, b) for a, b in pairs)
    numbers = sum(a.numel() for a, _ in pairs)
    print(f"{steps} steps, {numbers} numbers, {differing} bits differ")
    keep("rtl", {"steps": steps, "numbers": numbers, "differing_bits": differing})
    if differing:
        sys.exit("the RTL must give the bits of the golden node")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("curve", "rtl"))
    parser.add_argument("--steps", type=int, help="1000 of a curve, 3 on the RTL")
    parser.add_argument("--run", choices=RUNS, action="append", help="of the curves; all of them")
    arguments = parser.parse_args()
    if arguments.what == "curve":
        curve(arguments.run or list(RUNS), arguments.steps or 1000)
    else:
        rtl(arguments.steps or 3)


if __name__ == "__main__":
    main()
