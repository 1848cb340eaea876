"""The four kinds of picture: intervals, boxes, points and curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mini_lima.report.page.axes import (
    WIDTH,
    Scale,
    across,
    decades,
    fitting,
    hint,
    kind,
    label,
    line,
    mark,
    picture,
    ticks,
    upwards,
)
from mini_lima.report.page.markup import Html, element

LEFT, RIGHT, FIGURES = 122, 10, 84
ROW, HEAD, FOOT = 24, 26, 40
HIGH = 250
LONGEST_CURVE = 300
MOST_LABELLED = 8
MOST_BESIDE, LEGEND = 3, 16
"""Names of columns in one line of a legend, and how high such a line is."""

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """A figure with its interval; None is unknown.

    ``look`` is one of `axes.LOOKS`. ``singles`` are what the figure is the mean of, such as one win
    rate per training seed.
    """

    name: str
    look: str
    value: float | None
    low: float | None
    high: float | None
    figure: str
    study: float | None = None
    singles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Box:
    """Five numbers of a distribution: least, quartiles, greatest."""

    name: str
    look: str
    five: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Point:
    """A figure with its interval over another figure: of ``column``, which looks so."""

    name: str
    column: str
    look: str
    x: float
    y: float
    low: float | None
    high: float | None


Row = TypeVar("Row", Interval, Box)


def intervals(groups: Mapping[str, Sequence[Interval]], title: str, unit: str) -> Html:
    """Draw intervals below the name of their group, on an axis that has a zero."""
    shown = [each for group in groups.values() for each in group]
    ends = [
        end
        for each in shown
        for end in (each.low, each.value, each.high, each.study, *each.singles)
        if end is not None
    ]
    at = ticks(min([0, *ends]), max([1, *ends]))
    scale = Scale(at[0], at[-1], LEFT + 8, WIDTH - FIGURES)

    def drawn(name: str, each: Interval, middle: float) -> Iterator[Html]:
        yield label(WIDTH - FIGURES + 12, middle + 4, each.figure)
        if each.low is not None and each.high is not None:
            span = line(scale(each.low), middle, scale(each.high), middle, "span")
            yield element("g", span, class_=kind(each.look))
        if each.value is not None:
            says = f"{name}, {each.name}: {each.figure}"
            yield mark(each.look, scale(each.value), middle, says)
        circles = [_single(scale(value), middle + 9, f"{value:.1f}") for value in each.singles]
        yield element("g", *circles, class_=kind(each.look))
        if each.study is not None:
            yield _study(scale(each.study), middle, f"the study: {each.study}")

    return _rows(groups, title, lambda height: across(scale, at, 0, height, unit), drawn)


def boxes(groups: Mapping[str, Sequence[Box]], title: str, unit: str) -> Html:
    """Draw distributions on a logarithmic axis from 1: box of the middle half, line of the rest."""
    at = decades(max(each.five[4] for group in groups.values() for each in group))
    scale = Scale(at[0], at[-1], LEFT + 8, WIDTH - FIGURES, log=True)

    def drawn(name: str, each: Box, middle: float) -> Iterator[Html]:
        least, low, median, high, greatest = each.five
        says = f"{name}, {each.name}: {', '.join(f'{number:,.0f}' for number in each.five)}"
        box = element(
            "rect",
            hint(says),
            x=f"{scale(low):.1f}",
            y=f"{middle - 7:.1f}",
            width=f"{max(1, scale(high) - scale(low)):.1f}",
            height=14,
            class_="box",
        )
        whisker = line(scale(least), middle, scale(greatest), middle, "span")
        centre = line(scale(median), middle - 9, scale(median), middle + 9, "span")
        yield element("g", whisker, box, centre, class_=kind(each.look))
        yield label(WIDTH - FIGURES + 12, middle + 4, f"{median:,.0f}")

    return _rows(groups, title, lambda height: across(scale, at, 0, height, unit), drawn)


def points(shown: Sequence[Point], title: str, x_unit: str, y_unit: str) -> Html:
    """Draw figures over figures, each with its interval upwards; a few are named."""
    across_at = ticks(0, max(each.x for each in shown))
    ends = [end for each in shown for end in (each.low, each.y, each.high) if end is not None]
    up_at = ticks(0, max([1, *ends]))
    x = Scale(across_at[0], across_at[-1], 44, WIDTH - 2 * RIGHT)
    y = Scale(up_at[0], up_at[-1], HIGH, 24)
    parts = [
        label(0, 12, y_unit, look="soft"),
        across(x, across_at, 24, HIGH, x_unit),
        upwards(y, up_at, 44, WIDTH - 2 * RIGHT),
    ]
    names: list[Html] = []
    taken: list[tuple[float, float]] = []
    for each in shown:
        if each.low is not None and each.high is not None:
            span = line(x(each.x), y(each.low), x(each.x), y(each.high), "span")
            parts.append(element("g", span, class_=kind(each.look)))
        says = f"{each.name}, {each.column}: {each.y:.1f} at {each.x:,.0f}"
        parts.append(mark(each.look, x(each.x), y(each.y), says))
        if len(shown) <= MOST_LABELLED:
            taken.append(_free((x(each.x), y(each.y) + 4), taken))
            left = x(each.x) > 0.7 * WIDTH
            at, anchor = taken[-1][0] + (-10 if left else 10), "end" if left else "start"
            names.append(
                label(at, taken[-1][1], fitting(each.name, 20), anchor=anchor, look="soft")
            )
    return picture(title, HIGH + FOOT, *parts, *names)


def curves(
    series: Mapping[str, Sequence[Curve]], title: str, unit: str, looks: Mapping[str, str]
) -> Html:
    """Draw the curves of each column; of a long one every k-th point and the last."""
    named_in = LEGEND * -(-len(series) // MOST_BESIDE)
    every = [point for each in series.values() for curve in each for point in curve]
    up_at = ticks(min(y for _, y in every), max(y for _, y in every))
    across_at = ticks(0, max(x for x, _ in every))
    x = Scale(across_at[0], across_at[-1], 50, WIDTH - 2 * RIGHT)
    top, bottom = named_in + 8, named_in + 8 + HIGH - 24
    y = Scale(up_at[0], up_at[-1], bottom, top)
    parts = [
        across(x, across_at, top, bottom, unit),
        upwards(y, up_at, 50, WIDTH - 2 * RIGHT),
    ]
    for number, (column, found) in enumerate(series.items()):
        for curve in found:
            drawn = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in thinned(curve))
            says = hint(f"{column}: from {curve[0][1]:.3f} to {curve[-1][1]:.3f}")
            shape = element("polyline", says, points=drawn, class_="curve")
            parts.append(element("g", shape, class_=kind(looks.get(column, column))))
        row, place = divmod(number, MOST_BESIDE)
        at, down = 56 + 140 * place, 10 + LEGEND * row
        parts.append(mark(looks.get(column, column), at, down, column))
        parts.append(label(at + 12, down + 4, fitting(column, 17)))
    return picture(title, bottom + FOOT, *parts)


def thinned(curve: Curve) -> list[tuple[float, float]]:
    """Return every k-th point of a long curve, and its last."""
    step = -(-len(curve) // LONGEST_CURVE)
    return [*curve[:-1:step], curve[-1]] if curve else []


def _free(place: tuple[float, float], taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Move a name down until no other one is in its way."""
    x, y = place
    while any(abs(x - other) < 90 and abs(y - at) < 15 for other, at in taken):
        y += 15
    return x, y


def _rows(
    groups: Mapping[str, Sequence[Row]],
    title: str,
    axis: Callable[[float], Html],
    drawn: Callable[[str, Row, float], Iterable[Html]],
) -> Html:
    """Draw a row for each of a group below the group's name, all on one ``axis`` of that height."""
    height = sum(HEAD + ROW * len(group) for group in groups.values())
    parts = [axis(height)]
    y = 0.0
    for name, group in groups.items():
        parts.append(label(0, y + 17, fitting(name, 52), look="head"))
        y += HEAD
        for each in group:
            middle = y + ROW / 2
            parts.append(label(0, middle + 4, fitting(each.name, 17)))
            parts += drawn(name, each, middle)
            y += ROW
    return picture(title, height + FOOT, *parts)


def _single(x: float, y: float, says: str) -> Html:
    disc = f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z"
    return element("path", hint(says), d=disc, class_="single")


def _study(x: float, y: float, says: str) -> Html:
    cross = f"M{x - 6:.1f} {y - 6:.1f}l12 12m0 -12l-12 12"
    return element("path", hint(says), d=cross, class_="study")
