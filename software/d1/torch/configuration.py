"""What the operators of PyTorch use where they are not told, and what they have done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import d1_golden.params as node_params

from d1.backends import BACKENDS

__all__ = ["Settings", "Statistics", "configure", "reset_statistics", "settings", "statistics"]


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
        Whether every product is computed by the golden numerics as well, and differing bits
        counted.

    Raises
    ------
    ValueError
        There is no such device or preset.

    """

    device: str = "rtl"
    preset: str = "d1"
    check: bool = False

    def __post_init__(self) -> None:
        if self.device not in BACKENDS:
            known = ", ".join(sorted(BACKENDS))
            raise ValueError(f"device must be one of {known}, not {self.device!r}")
        node_params.preset(self.preset)
        if not isinstance(self.check, bool):
            raise ValueError(f"check must be True or False, not {self.check!r}")


@dataclass
class Statistics:
    """What the operator `d1::matmul` has done since the last reset.

    Parameters
    ----------
    products
        Calls of the operator.
    macs
        Multiply-accumulates asked for, padding not counted.
    checked_outputs
        Elements compared with the golden numerics.
    differing_bits
        Bits in which they differed.

    """

    products: int = 0
    macs: int = 0
    checked_outputs: int = 0
    differing_bits: int = 0


_settings = Settings()
_statistics = Statistics()


def configure(
    *, device: str | None = None, preset: str | None = None, check: bool | None = None
) -> Settings:
    """Change where products run from now on; what is None stays. Returns the settings.

    Compiled models follow, except in what they were given as `options`.

    Raises
    ------
    ValueError
        There is no such device or preset.

    """
    global _settings
    _settings = Settings(
        device=_settings.device if device is None else device,
        preset=_settings.preset if preset is None else preset,
        check=_settings.check if check is None else check,
    )
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
