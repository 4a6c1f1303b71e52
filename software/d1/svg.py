"""Pictures as SVG: just what diagrams of measurements need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Svg", "shade"]

#: Colours from nothing to all; even steps look even, in grey too.
#: Ref: S. van der Walt and N. Smith, the colour map viridis of matplotlib, CC0.
_SHADES = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")


def shade(share: float) -> str:
    """Return the colour of a share from 0 to 1, as #rrggbb; beyond, that of the end."""
    place = min(max(share, 0.0), 1.0) * (len(_SHADES) - 1)
    first = min(int(place), len(_SHADES) - 2)
    low, high = (bytes.fromhex(colour[1:]) for colour in _SHADES[first : first + 2])
    mixed = (round(a + (b - a) * (place - first)) for a, b in zip(low, high, strict=True))
    return "#" + bytes(mixed).hex()


class Svg:
    """A picture in the making, in units of a pixel from the upper left.

    Parameters
    ----------
    width, height
        Its size.

    """

    def __init__(self, width: float, height: float) -> None:
        self._size = width, height
        self._parts: list[str] = []

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: str,
        *,
        stroke: str = "none",
        title: str = "",
    ) -> None:
        """Add a rectangle; `title` is shown when one points at it."""
        self._add(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" '
            f'stroke="{stroke}"',
            f"<title>{escape(title)}</title>" if title else "",
            "rect",
        )

    def line(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1) -> None:
        """Add a line from point to point."""
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._add(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"',
            "",
            "polyline",
        )

    def text(
        self, x: float, y: float, text: str, *, size: float = 12, anchor: str = "start"
    ) -> None:
        """Add text; `anchor` says what of it is at x: start, middle or end."""
        self._add(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor={quoteattr(anchor)}',
            escape(text),
            "text",
        )

    def legend(self, x: float, y: float, width: float, low: str, high: str) -> None:
        """Add the colours of `shade` from left to right with what their ends mean."""
        steps = 50
        for step in range(steps):
            self.box(
                x + step * width / steps, y, width / steps + 0.5, 10, shade(step / (steps - 1))
            )
        self.text(x - 4, y + 9, low, size=10, anchor="end")
        self.text(x + width + 4, y + 9, high, size=10)

    def __str__(self) -> str:
        """Return the picture as SVG."""
        width, height = self._size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
            f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">'
        )
        return "\n".join([head, *self._parts, "</svg>", ""])

    def write(self, path: Path) -> None:
        """Write the picture to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(self))

    def _add(self, start: str, inside: str, name: str) -> None:
        self._parts.append(f"{start}>{inside}</{name}>" if inside else f"{start}/>")
