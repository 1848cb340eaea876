"""Pictures as SVG that takes its colours from the page around it: intervals, boxes, points, curves.

Matplotlib draws in the colours of the light scheme. In the SVG they become CSS variables, so that
one picture serves both schemes, and whatever a page does not need goes out of it. Each column has a
colour and a shape: who sees no colours loses nothing.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mini_lima.report.html import COLOURS, printable

MARKERS: Mapping[str, str] = {
    "baseline": "o",
    "naive": "s",
    "improved": "D",
    "other": "^",
    "other-2": "v",
    "other-3": "P",
    "other-4": "h",
}
"""Of the study's columns, and of further ones."""

WIDTH = 400
"""Units; with letters of 13 it can be read on a telephone."""
NAMES, FIGURES, AXIS = 130, 76, 38
"""Units for names at the left, figures at the right, and an axis with its title."""
ROW = 24
HIGH = 230
LONGEST_CURVE = 300
LONGEST_HINT = 120
MOST_LABELLED = 8
MOST_BESIDE = 3
SETTINGS: Mapping[Any, object] = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["line"][0],
    "axes.labelcolor": COLOURS["soft"][0],
    "axes.labelsize": 13,
    "font.size": 13,
    "grid.color": COLOURS["line"][0],
    "svg.fonttype": "none",
    "text.color": COLOURS["ink"][0],
    "text.parse_math": False,  # a name may hold dollars
    "xtick.color": COLOURS["soft"][0],
    "ytick.color": COLOURS["soft"][0],
}

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """A figure with its interval; None is unknown.

    ``singles`` are what the figure is the mean of, such as one win rate per training seed.
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
    five: Sequence[float]


@dataclass(frozen=True)
class _Picture:
    """Axes to draw on, and what a pointer that rests on a shape is told."""

    axes: Axes
    hints: dict[str, str] = field(default_factory=dict)

    def draw(self, xs: Sequence[float], ys: Sequence[float], says: str = "", **how: Any) -> None:
        """Draw a line or a marker over the grid, not cut where it meets the frame."""
        (line,) = self.axes.plot(xs, ys, **({"clip_on": False, "linewidth": 2.5} | how))
        self.hint(line, says)

    def hint(self, artist: Artist, says: str) -> None:
        """Have a pointer that rests on ``artist`` be told ``says``."""
        if says:
            artist.set_gid(f"hint-{len(self.hints)}")
            self.hints[f"hint-{len(self.hints)}"] = fitting(says, LONGEST_HINT)

    def text(self, at: tuple[float, float], says: str, most: int, **how: Any) -> None:
        """Write ``says``, cut to ``most`` letters."""
        self.axes.annotate(fitting(says, most), at, va="center", annotation_clip=False, **how)


def looks_of(columns: Sequence[str]) -> dict[str, str]:
    """Return how each column looks, one of `MARKERS`; of many, some look the same."""
    study, further = [*MARKERS][:3], [*MARKERS][3:]
    others = [column for column in columns if column not in study]
    return dict(zip(study, study, strict=True)) | {
        column: further[at % len(further)] for at, column in enumerate(others)
    }


def intervals(groups: Mapping[str, Sequence[Interval]], title: str, unit: str) -> Markup:
    """Draw intervals below the name of their group, on an axis that has a zero."""

    def row(picture: _Picture, group: str, each: Interval, y: float) -> None:
        if each.low is not None and each.high is not None:
            picture.draw([each.low, each.high], [y, y], color=_colour(each.look))
        if each.value is not None:
            says = f"{group}, {each.name}: {each.figure}"
            picture.draw([each.value], [y], says, **_marked(each.look))
        for value in each.singles:
            circle = {"marker": "o", "markersize": 6, "markerfacecolor": "none"}
            picture.draw([value], [y + 0.36], f"{value:.1f}", color=_colour(each.look), **circle)
        if each.study is not None:
            cross = {"marker": "x", "markersize": 10, "markeredgewidth": 2}
            says, ink = f"the study: {each.study}", COLOURS["ink"][0]
            picture.draw([each.study], [y], says, color=ink, **cross)

    def draw(picture: _Picture) -> None:
        picture.axes.axvline(0, color=COLOURS["soft"][0], linewidth=1)
        _rows(picture, groups, row, lambda each: each.figure)
        picture.axes.set_xlabel(unit)

    return _rows_svg(draw, groups, title)


def boxes(groups: Mapping[str, Sequence[Box]], title: str, unit: str) -> Markup:
    """Draw distributions on a logarithmic axis from 1: box of the middle half, line of the rest."""

    def row(picture: _Picture, group: str, each: Box, y: float) -> None:
        least, low, median, high, greatest = (max(1, number) for number in each.five)
        five = {"whislo": least, "q1": low, "med": median, "q3": high, "whishi": greatest}
        colour, bold = _colour(each.look), {"color": _colour(each.look), "linewidth": 2.5}
        made = picture.axes.bxp(
            [five],
            [y],
            orientation="horizontal",
            widths=0.6,
            patch_artist=True,
            showfliers=False,
            showcaps=False,
            manage_ticks=False,
            boxprops={"facecolor": (colour, 0.35), "edgecolor": colour},
            medianprops=bold,
            whiskerprops=bold,
        )
        numbers = ", ".join(f"{number:,.0f}" for number in each.five)
        picture.hint(made["boxes"][0], f"{group}, {each.name}: {numbers}")

    def draw(picture: _Picture) -> None:
        picture.axes.set_xscale("log")
        _rows(picture, groups, row, lambda each: f"{each.five[2]:,.0f}")
        picture.axes.set_xlim(left=1)
        picture.axes.set_xlabel(unit)

    return _rows_svg(draw, groups, title)


def points(shown: Sequence[tuple[float, Interval]], title: str, x_unit: str, y_unit: str) -> Markup:
    """Draw known figures, with vertical intervals, over others; of few each is named."""

    def draw(picture: _Picture) -> None:
        axes = picture.axes
        for x, each in shown:
            colour, y = _colour(each.look), each.value or 0
            if each.low is not None and each.high is not None:
                picture.draw([x, x], [each.low, each.high], color=colour, linewidth=2)
            picture.draw([x], [y], f"{each.name}: {each.figure} at {x:,.0f}", **_marked(each.look))
        axes.set_xlabel(x_unit)
        axes.text(-0.08, 1.03, y_unit, transform=axes.transAxes, color=COLOURS["soft"][0])
        axes.margins(0.08)
        axes.autoscale_view()
        taken: list[tuple[float, float]] = []
        for at_x, each in shown if len(shown) <= MOST_LABELLED else ():
            x, y = axes.transData.transform((at_x, each.value or 0))
            while any(abs(x - other) < 110 and abs(y - at) < 14 for other, at in taken):
                y -= 14
            taken.append((x, y))
            left = x > 0.6 * WIDTH
            picture.text(
                (x - 9 if left else x + 9, y),
                each.name,
                22,
                xycoords="figure pixels",
                ha="right" if left else "left",
            )

    return _svg(draw, title, HIGH + AXIS + 24, (44, 24, 10, AXIS))


def curves(
    series: Mapping[str, Sequence[Curve]], title: str, unit: str, looks: Mapping[str, str]
) -> Markup:
    """Draw the curves of each column; of a long one every k-th point and the last."""
    legend = 20 * -(-len(series) // MOST_BESIDE)

    def draw(picture: _Picture) -> None:
        handles = []
        for column, found in series.items():
            look = looks.get(column, column)
            how: dict[str, Any] = {"color": _colour(look), "linewidth": 1.8}
            how["linestyle"] = (0, (5, 2)) if look == "naive" else "-"
            for curve in found:
                says = f"{column}: from {curve[0][1]:.3f} to {curve[-1][1]:.3f}"
                steps, losses = zip(*thinned(curve), strict=True)
                picture.draw(steps, losses, says, **how)
            handles.append(Line2D([], [], **_marked(look) | how))
        # Matplotlib leaves names out that begin with an underscore: they are set afterwards.
        made = picture.axes.legend(
            handles,
            [str(number) for number in range(len(handles))],
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=MOST_BESIDE,
            frameon=False,
            borderpad=0.2,
            columnspacing=1,
            handlelength=1.5,
            handletextpad=0.5,
        )
        for text, column in zip(made.get_texts(), series, strict=True):
            text.set_text(fitting(column, 13))
        picture.axes.set_xlabel(unit)

    return _svg(draw, title, HIGH + AXIS + legend, (44, legend + 4, 10, AXIS))


def thinned(curve: Curve) -> Curve:
    """Return every k-th point of a long curve, and its last."""
    return [*curve[: -1 : -(-len(curve) // LONGEST_CURVE)], curve[-1]]


def fitting(text: str, most: int) -> str:
    """Cut a text of one line that would run out of the picture; wide letters count twice."""
    text = " ".join(printable(text).split())
    room = most
    for number, letter in enumerate(text):
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return f"{text[: max(0, number - 1)]}…"
    return text


def _rows(
    picture: _Picture,
    groups: Mapping[str, Sequence[Any]],
    row: Callable[[_Picture, str, Any, float], None],
    figure: Callable[[Any], str],
) -> None:
    """Draw a row for each of a group below the group's name."""
    y = 0
    for name, group in groups.items():
        picture.text((0, y), name, 46, xycoords=("figure fraction", "data"), weight="bold")
        for y, each in enumerate(group, y + 1):  # noqa: B020
            picture.text((0, y), each.name, 17, xycoords=("figure fraction", "data"))
            at = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            picture.text((1, y), figure(each), 9, xytext=(10, 0), **at)
            row(picture, name, each, y)
        y += 1
    picture.axes.set_ylim(y - 0.4, -0.5)
    picture.axes.set_yticks([])


def _rows_svg(
    draw: Callable[[_Picture], None], groups: Mapping[str, Sequence[Any]], title: str
) -> Markup:
    height = ROW * sum(1 + len(group) for group in groups.values())
    return _svg(draw, title, height + AXIS, (NAMES, 0, FIGURES, AXIS))


def _svg(
    draw: Callable[[_Picture], None],
    title: str,
    height: float,
    room: tuple[float, float, float, float],
) -> Markup:
    """Return what is drawn; the ``room`` around the axes is left, top, right, bottom in units."""
    left, top, right, bottom = room
    title = fitting(title, LONGEST_HINT)
    written = io.StringIO()
    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the browser has more letters
        figure = Figure((WIDTH / 72, height / 72), dpi=72)
        inside = (WIDTH - left - right) / WIDTH, (height - top - bottom) / height
        axes = figure.add_axes((left / WIDTH, bottom / height, *inside))
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid()
        picture = _Picture(axes)
        draw(picture)
        axes.xaxis.set_major_formatter(_plain)
        axes.minorticks_off()
        if axes.get_xscale() == "linear":
            axes.locator_params(axis="x", nbins=5)
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return _themed(written.getvalue(), title, picture.hints)


def _plain(value: float, _: object) -> str:
    """A tick's figure: no more digits than it needs."""
    return f"{value:,.10g}".replace("-", "−")


def _colour(look: str) -> str:
    """The colour of a look; what is no column looks like a further one."""
    return COLOURS[look if look in MARKERS else "other"][0]


def _marked(look: str) -> dict[str, Any]:
    marker = MARKERS.get(look, MARKERS["other"])
    size = 7 if marker in "Ds" else 8
    return {"color": _colour(look), "marker": marker, "markersize": size}


def _themed(svg: str, title: str, hints: Mapping[str, str]) -> Markup:
    """Return the SVG with variables for colours, the title and hints that a screen reader says."""
    root = ElementTree.fromstring(svg)
    for element in [*root.iter()]:
        for child in [*element]:
            if child.tag.endswith(("}metadata", "}style", "}clipPath")):
                element.remove(child)
        element.tag = element.tag.rpartition("}")[2]
        found = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if found.get("id") in hints:
            element.insert(0, _titled(hints[found["id"]]))
        if element.tag == "g":
            found.pop("id", None)  # the same in every picture
        if found.get("transform", "").startswith("rotate(-0 "):
            del found["transform"]
        found.pop("clip-path", None)
        element.attrib = {
            key: _styled(value) if key == "style" else _rounded(value)
            for key, value in found.items()
        }
        if element.tag != "text":
            element.text = element.text and element.text.strip()
        element.tail = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    root.insert(0, _titled(title))
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _titled(says: str) -> ElementTree.Element:
    title = ElementTree.Element("title")
    title.text = says
    return title


def _rounded(places: str) -> str:
    shorter = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}", places)
    return " ".join(shorter.split())


def _styled(style: str) -> str:
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    for name, (light, _) in COLOURS.items():
        style = style.replace(light, f"var(--{name})")
    return style
