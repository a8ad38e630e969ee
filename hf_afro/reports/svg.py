"""A sheet to draw a chart on: scales, ticks, marks, axes and a legend, as SVG that follows the page's colours.

The text stays text, every mark says its value when pointed at, and the same figures always give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

# Okabe and Ito's colours, which the colour-blind can tell apart, darkened for a white ground; the page replaces the
# variables for a dark one. Shapes differ too, so that no colour has to be told.
COLOURS = ("#0072b2", "#d55e00", "#00805e", "#a3528a", "#8a6500", "#b0305c", "#3f7fae", "#555555")
SHAPES = ("circle", "square", "diamond", "up", "down")
INK, SOFT, GRID = "var(--ink,#1f2328)", "var(--soft,#57606a)", "var(--grid,#d8dee4)"
FONT_SIZE = 13
CHARACTER = 0.56 * FONT_SIZE
"""About the width of a character: text is not measured, so what is placed beside it leaves this much."""

Point = tuple[float, float]


def colour(index: int) -> str:
    """Return the colour of a series, a variable of the page with its value on white behind it."""
    place = index % len(COLOURS)
    return f"var(--s{place},{COLOURS[place]})"


@dataclass(frozen=True)
class Scale:
    """From values to places on the sheet.

    Attributes:
        low: The value at `start`.
        high: The value at `end`.
        start: A place, in units of the sheet.
        end: A place.
        bend: What values go through before they are laid out evenly, such as `math.log10`.
    """

    low: float
    high: float
    start: float
    end: float
    bend: Callable[[float], float] = float

    def __call__(self, value: float) -> float:
        """Return the place of a value; one beyond the ends lies at the end."""
        low, high = self.bend(self.low), self.bend(self.high)
        share = (self.bend(value) - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values from `low` to `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((factor * power for factor in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten from `low` to `high`; round values where those are under three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) >= 3 else linear_ticks(low, high, 4)


def padded(values: Iterable[float], share: float = 0.08) -> tuple[float, float]:
    """Return the least and the greatest value with some room around; of a single value, room of its size."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    room = (high - low) * share or abs(low) * 0.1 or 1.0
    return low - room, high + room


@dataclass
class Sheet:
    """A drawing under way.

    Attributes:
        width: In units; one is about a pixel.
        height: In units.
    """

    width: int
    height: int
    _parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, size: float = FONT_SIZE
    ) -> None:
        """Write a line of text whose middle is at height `y`; `anchor` is `start`, `middle` or `end`."""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y + size * 0.35:.1f}" text-anchor="{anchor}" font-size="{size:g}" '
            f'style="fill:{fill};stroke:var(--ground,#fff);stroke-width:3px;paint-order:stroke">{escape(text)}</text>'
        )

    def line(self, points: Sequence[Point], *, stroke: str = GRID, width: float = 1, dash: str = "") -> None:
        """Draw a line through points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{places}" fill="none" stroke-width="{width:g}" stroke-linejoin="round"{dashed} '
            f'style="stroke:{stroke}"/>'
        )

    def mark(self, x: float, y: float, series: int, title: str = "", size: float = 5) -> None:
        """Draw the mark of a series, its colour and shape; `title` shows when it is pointed at."""
        shape = SHAPES[series % len(SHAPES)]
        inner = f"<title>{escape(title)}</title>" if title else ""
        style = f'style="fill:{colour(series)};stroke:var(--ground,#fff)" stroke-width="1"'
        if shape == "circle":
            self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" {style}>{inner}</circle>')
            return
        places = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _CORNERS[shape])
        self._parts.append(f'<polygon points="{places}" {style}>{inner}</polygon>')

    def field(self, x: float, y: float, width: float, height: float, strength: float, title: str) -> None:
        """Fill a rectangle with the first colour, from 0 for not at all to 1; `title` shows when it is pointed at."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height - 2:.1f}" rx="3" '
            f'fill-opacity="{strength:.2f}" style="fill:{colour(0)}"><title>{escape(title)}</title></rect>'
        )

    def across(
        self, scale: Scale, ticks: Sequence[float], label: Callable[[float], str], span: Scale, name: str
    ) -> None:
        """Draw a horizontal axis at the start of `span`, with grid lines up to its end."""
        for tick in ticks:
            place = scale(tick)
            self.line([(place, span.start), (place, span.end)])
            self.text(place, span.start + 13, label(tick), anchor="middle", fill=SOFT)
        self.text((scale.start + scale.end) / 2, span.start + 31, name, anchor="middle", fill=SOFT)

    def up(self, scale: Scale, ticks: Sequence[float], label: Callable[[float], str], span: Scale, name: str) -> None:
        """Draw a vertical axis at the start of `span`, with grid lines to its end and its name above."""
        for tick in ticks:
            place = scale(tick)
            self.line([(span.start, place), (span.end, place)])
            self.text(span.start - 6, place, label(tick), anchor="end", fill=SOFT)
        self.text(2, scale.end - 18, name, fill=SOFT)

    def legend(self, names: Sequence[str], top: float, *, marks: bool = True) -> float:
        """Write the names of the series in rows from `top` down, and return where the next thing may begin."""
        x, y = 8.0, top + 8
        for series, name in enumerate(names):
            room = 22 + CHARACTER * len(name) + 10
            if x > 8 and x + room > self.width:
                x, y = 8.0, y + 18
            if marks:
                self.mark(x + 6, y, series)
            else:
                self.line([(x - 2, y), (x + 13, y)], stroke=colour(series), width=2.5)
            self.text(x + 17, y, name)
            x += room
        return y + 14

    def render(self, description: str) -> str:
        """Return the SVG; `description` is for those who cannot see it."""
        inside = "\n".join(self._parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(description)}" font-family="system-ui,sans-serif">\n{inside}\n</svg>'
        )


_CORNERS: dict[str, tuple[Point, ...]] = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    "up": ((0, -1.15), (1.15, 0.9), (-1.15, 0.9)),
    "down": ((0, 1.15), (1.15, -0.9), (-1.15, -0.9)),
}
