"""What every picture shares: a frame of fixed size, scales, ticks, and a mark per column.

Pictures are 480 units wide, so that their 13-unit letters can still be read on a telephone. Every
column has a colour and a shape: who sees no colours loses nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mini_lima.report.page.markup import Html, element, together

WIDTH = 480
LONGEST_HINT = 120
LOOKS = ("baseline", "naive", "improved", "other", "other-2", "other-3", "other-4")
"""Of the study's columns, and of further ones."""


@dataclass(frozen=True)
class Scale:
    """Maps ``low`` … ``high`` to ``start`` … ``end`` units, in logarithms if ``log``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return where ``value`` stands; what lies outside stands on the border."""
        low, high = self._at(self.low), self._at(self.high)
        share = (self._at(value) - low) / (high - low)
        return self.start + min(1, max(0, share)) * (self.end - self.start)

    def _at(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.log else value


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that reach from ``low`` or below to ``high`` or above."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * size for size in (1, 2, 5, 10) if power * size >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def decades(high: float) -> list[float]:
    """Return 1, 10, 100 … up to ``high`` or above."""
    return [10.0**power for power in range(max(1, math.ceil(math.log10(max(high, 1)))) + 1)]


def looks_of(columns: Sequence[str]) -> dict[str, str]:
    """Return the class that gives each column its colour and shape; of many, some share one."""
    further = LOOKS[3:]
    others = [column for column in columns if column not in LOOKS[:3]]
    found = {column: column for column in LOOKS[:3]}
    return found | {column: further[at % len(further)] for at, column in enumerate(others)}


def kind(look: str) -> str:
    """Return ``look``, or the one of whatever is no column."""
    return look if look in LOOKS else "other"


def mark(look: str, x: float, y: float, says: str) -> Html:
    """Return a shape: disc, square and diamond of the study's columns, others of other ones."""
    path = {
        "baseline": f"M{x - 5:.1f} {y:.1f}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
        "naive": f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10z",
        "improved": f"M{x:.1f} {y - 7:.1f}l6 7l-6 7l-6 -7z",
        "other": f"M{x:.1f} {y - 6:.1f}l6 11h-12z",
        "other-2": f"M{x:.1f} {y + 6:.1f}l6 -11h-12z",
        "other-3": f"M{x - 2:.1f} {y - 6:.1f}h4v4h4v4h-4v4h-4v-4h-4v-4h4z",
        "other-4": f"M{x - 3:.1f} {y - 5:.1f}h6l3 5l-3 5h-6l-3 -5z",
    }[kind(look)]
    shape = element("path", hint(says), d=path, class_="shape")
    return element("g", shape, class_=kind(look))


def hint(says: str) -> Html:
    """Return what a pointer that rests on a shape is told."""
    return element("title", fitting(says, LONGEST_HINT))


def label(x: float, y: float, says: object, *, anchor: str = "start", look: str = "") -> Html:
    """Return text in a picture."""
    return element(
        "text", says, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=look or None
    )


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Html:
    """Return a straight line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", class_=look, **{name: f"{at:.1f}" for name, at in ends.items()})


def across(scale: Scale, at: Sequence[float], top: float, bottom: float, unit: str) -> Html:
    """Return the grid and figures of a horizontal axis."""
    middle = (scale.start + scale.end) / 2
    parts = [label(middle, bottom + 32, unit, anchor="middle", look="soft")]
    for value in at:
        x = scale(value)
        look = "zero" if value == 0 else "grid"
        parts.append(line(x, top, x, bottom, look))
        parts.append(label(x, bottom + 15, plain(value), anchor="middle", look="soft"))
    return together(parts)


def upwards(scale: Scale, at: Sequence[float], left: float, right: float) -> Html:
    """Return the grid and figures of a vertical axis."""
    parts = []
    for value in at:
        y = scale(value)
        parts.append(line(left, y, right, y, "grid"))
        parts.append(label(left - 6, y + 4, plain(value), anchor="end", look="soft"))
    return together(parts)


def plain(value: float) -> str:
    """A tick's figure: no more digits than it needs."""
    return f"{value:,.10g}".replace("-", "−")


def picture(title: str, height: float, *parts: object) -> Html:
    """Return the SVG of ``parts``, which ``title`` describes to who cannot see it."""
    title = fitting(title, LONGEST_HINT)
    return element(
        "svg",
        element("title", title),
        *parts,
        role="img",
        aria_label=title,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
    )


def fitting(text: str, most: int) -> str:
    """Cut a name that would run out of the picture."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
