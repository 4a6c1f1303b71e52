"""The boards that a node fits on, and where the ports of `FpgaTop` are on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth_boards.ecpix5 import ECPIX585Platform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

__all__ = ["BOARDS", "PORTS", "Board"]

#: The ports that every board must have a pin for.
PORTS = ("clk", "rst", "rx", "tx", "alive", "busy", "error")
#: What nextpnr-ecp5 calls devices and packages.
_DEVICES = {"LFE5U-85F": "--85k", "LFE5UM5G-85F": "--um5g-85k"}
_PACKAGES = {"BG381": "CABGA381", "BG554": "CABGA554"}


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board: an FPGA, and a pin for each port of `FpgaTop`.

    Parameters
    ----------
    name
        What `make bitstream BOARD=` calls it.
    platform
        Its description in amaranth-boards, which has pins, their standards and the clock.
    pins
        The resource of each of `PORTS`: name, number, and the signal in it if it has several.
        Further ones, whatever they are called, are held high.

    Raises
    ------
    ValueError
        If a port has no pin, or the description has no such resource with one pin.

    Ref: the package amaranth-boards.
    """

    name: str
    platform: type[Any]
    pins: Mapping[str, tuple[str, int, str | None]]

    def __post_init__(self) -> None:
        missing = sorted(set(PORTS) - set(self.pins))
        if missing:
            raise ValueError(f"pins of {self.name} must have {PORTS}, not lack {missing!r}")
        for port in self.pins:
            self._pin(port)

    @property
    def device(self) -> str:
        """The FPGA."""
        return str(self.platform.device)

    @property
    def clock_hz(self) -> int:
        """Frequency of the board's oscillator."""
        return round(self._resource("clk").clock.frequency)

    @property
    def place_options(self) -> tuple[str, ...]:
        """What tells nextpnr-ecp5 the device."""
        package, speed = _PACKAGES[self.platform.package], str(self.platform.speed)
        return (_DEVICES[self.device], "--package", package, "--speed", speed)

    @property
    def held_high(self) -> tuple[str, ...]:
        """Ports that are constant."""
        return tuple(port for port in self.pins if port not in PORTS)

    def is_inverted(self, port: str) -> bool:
        """Return whether the pin of a port is low for a one."""
        return bool(self._pin(port)[0].invert)

    def constraints(self) -> str:
        """Return the pins of all ports and the frequency of the clock, as nextpnr reads them."""
        lines = []
        for port in self.pins:
            pins, attributes = self._pin(port)
            settings = " ".join(f"{name}={value}" for name, value in attributes.items())
            lines.append(f'LOCATE COMP "{port}" SITE "{pins.names[0]}";')
            lines.append(f'IOBUF PORT "{port}" {settings};')
        lines.append(f'FREQUENCY PORT "clk" {self.clock_hz / 1e6} MHZ;')
        return "\n".join([*lines, ""])

    def _resource(self, port: str) -> Any:
        name, number, _ = self.pins[port]
        for resource in self.platform.resources:
            if (resource.name, resource.number) == (name, number):
                return resource
        raise ValueError(f"pin of {port} must be a resource of {self.name}, not {name}_{number}")

    def _pin(self, port: str) -> tuple[Any, dict[str, Any]]:
        """Return the pin of a port, and the attributes that are set for it."""
        resource, part = self._resource(port), self.pins[port][2]
        attributes, ios = dict(resource.attrs), resource.ios
        if part is not None:
            signals = [signal for signal in ios if getattr(signal, "name", None) == part]
            ios = signals[0].ios if signals else []
            attributes |= signals[0].attrs if signals else {}
        if len(ios) != 1 or len(getattr(ios[0], "names", ())) != 1:
            raise ValueError(f"pin of {port} must be one pin of {self.name}, not {resource!r}")
        return ios[0], attributes


#: The boards by name.
BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="ulx3s",
            platform=ULX3S_85F_Platform,
            pins={
                "clk": ("clk25", 0, None),
                "rst": ("button_fire", 0, None),
                "rx": ("uart", 0, "rx"),
                "tx": ("uart", 0, "tx"),
                "alive": ("led", 0, None),
                "busy": ("led", 1, None),
                "error": ("led", 2, None),
                # A low level makes the board's other processor restart it.
                "wifi_gpio0": ("esp32", 0, "gpio0"),
            },
        ),
        Board(
            name="ecpix5",
            platform=ECPIX585Platform,
            pins={
                "clk": ("clk100", 0, None),
                "rst": ("rst", 0, None),
                "rx": ("uart", 0, "rx"),
                "tx": ("uart", 0, "tx"),
                "alive": ("rgb_led", 0, "g"),
                "busy": ("rgb_led", 0, "b"),
                "error": ("rgb_led", 0, "r"),
            },
        ),
    )
}
