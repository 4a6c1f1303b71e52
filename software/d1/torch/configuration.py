"""What the operators of PyTorch use where they are not told, and what they have done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import d1_golden.params as node_params
from d1_golden.params import MAX_SIDE

from d1.backends import BACKENDS

__all__ = ["Settings", "Statistics", "configure", "reset_statistics", "settings", "statistics"]

_CHOICES = {
    "mode": ("graph", "products"),
    "precision": ("bf16", "cfp8", "fp32"),
    "parallel": ("data", "tensor", "data x tensor", "pipeline", "auto"),
}


@dataclass(frozen=True)
class Settings:
    """Where products run.

    Parameters
    ----------
    device
        Kind of device.
    preset
        Node parameters.
    check
        Whether every graph is run on the golden node too, or every product computed by the golden
        numerics, and differing bits counted.
    mode
        "graph": whole graphs are compiled for the node. "products": matrix products alone are sent
        to it, one by one, of any size.
    precision
        Of products in graphs: "bf16", operands rounded to BF16 and summed up in FP32 by the matrix
        unit; "cfp8", rounded to CFP8 whose biases are chosen from the data, gradients
        stochastically; or "fp32", by the vector lanes.
    nodes
        Columns and rows of the die that graphs run on; (1, 1) is a node without a mesh.
    parallel
        How graphs are divided over nodes: "data", the batch; "tensor", the weights;
        "data x tensor", the batch over rows of nodes and the weights over columns; "pipeline", the
        operators; "auto", what should take the fewest cycles, one node included, said on the
        standard error.
    micro_batches
        Parts of the batch in a pipeline; 0 for the number that should take the fewest cycles.

    Raises
    ------
    ValueError
        There is no such device, preset, mode, precision or rectangle of nodes, or graphs cannot be
        divided like that in the precision.

    """

    device: str = "rtl"
    preset: str = "d1"
    check: bool = False
    mode: str = "graph"
    precision: str = "bf16"
    nodes: tuple[int, int] = (1, 1)
    parallel: str = "data"
    micro_batches: int = 0

    def __post_init__(self) -> None:
        if self.device not in BACKENDS:
            known = ", ".join(sorted(BACKENDS))
            raise ValueError(f"device must be one of {known}, not {self.device!r}")
        node_params.preset(self.preset)
        if not isinstance(self.check, bool):
            raise ValueError(f"check must be True or False, not {self.check!r}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
                )
        if not isinstance(self.micro_batches, int) or self.micro_batches < 0:
            raise ValueError(f"micro_batches must be 0 or more, not {self.micro_batches!r}")
        sides = self.nodes if isinstance(self.nodes, tuple) else ()
        if len(sides) != 2 or not all(isinstance(n, int) and 1 <= n <= MAX_SIDE for n in sides):
            raise ValueError(f"nodes must be columns and rows of 1..{MAX_SIDE}, not {self.nodes!r}")
        if self.precision == "cfp8" and self.parallel == "data x tensor":
            raise ValueError(
                "parallel must be 'data', 'tensor', 'pipeline' or 'auto' for precision 'cfp8', "
                f"not {self.parallel!r}"
            )


@dataclass
class Statistics:
    """What has been done since the last reset.

    Parameters
    ----------
    graphs
        Runs of compiled graphs.
    operations
        Floating-point operations of their operators, as `d1.torch.operations` counts them.
    products
        Calls of the operator `d1::matmul`.
    macs
        Multiply-accumulates asked for, padding not counted.
    checked_outputs
        Elements compared with the golden numerics.
    differing_bits
        Bits in which they differed.
    mesh_cycles
        Cycles of graphs on several nodes, without the host's transfers.

    """

    graphs: int = 0
    operations: int = 0
    products: int = 0
    macs: int = 0
    checked_outputs: int = 0
    differing_bits: int = 0
    mesh_cycles: int = 0


_settings = Settings()
_statistics = Statistics()


def configure(
    *,
    device: str | None = None,
    preset: str | None = None,
    check: bool | None = None,
    mode: str | None = None,
    precision: str | None = None,
    nodes: tuple[int, int] | None = None,
    parallel: str | None = None,
    micro_batches: int | None = None,
) -> Settings:
    """Change where and how graphs run from now on; what is None stays. Returns the settings.

    Compiled models follow in device and check, except in what they were given as `options`.

    Raises
    ------
    ValueError
        There is no such device, preset, mode or precision.

    """
    global _settings
    given = {
        "device": device,
        "preset": preset,
        "check": check,
        "mode": mode,
        "precision": precision,
        "nodes": nodes,
        "parallel": parallel,
        "micro_batches": micro_batches,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    _settings = Settings(**(vars(_settings) | changes))
    return _settings


def settings() -> Settings:
    """Return the settings."""
    return _settings


def statistics() -> Statistics:
    """Return a copy of the statistics."""
    return replace(_statistics)


def reset_statistics() -> None:
    """Start counting from zero."""
    count(Statistics(), reset=True)


def count(more: Statistics, *, reset: bool = False) -> None:
    """Add to the statistics, or with `reset` replace them."""
    for name, value in vars(more).items():
        setattr(_statistics, name, value if reset else getattr(_statistics, name) + value)
