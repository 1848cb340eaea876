"""Length: of the data, of the answers, and beside the win rate that it may explain."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import quantiles
from typing import Any

from mini_lima.report.figures import NOTHING, figure, interval
from mini_lima.report.groups import labelled
from mini_lima.report.page.charts import Box, Point, boxes, points
from mini_lima.report.page.markup import Html, captioned, missing, section, table, telling
from mini_lima.report.page.material import Evaluated, ReportData
from mini_lima.results import LengthControlled, SameLength

MOST_DRAWN = 40


def rate_and_length(material: ReportData) -> Html:
    """Return win rates over mean lengths: is it the annotator's taste for length?"""
    several = len({each.row for each in material.evaluated}) > 1
    shown = [
        Point(
            labelled(each.row if several else each.column, each.seed),
            each.column,
            material.looks[each.column],
            each.found.avg_length,
            each.found.win_rate,
            each.found.low,
            each.found.high,
        )
        for each in material.evaluated[:MOST_DRAWN]
        if each.found is not None and each.found.win_rate is not None
    ]
    title = "Win rate and length"
    if not shown:
        return section("length", title, missing("No cell has both a win rate and a length yet."))
    picture = points(shown, "Win rate over mean answer length", "characters", "win rate, %")
    caption = (
        "Each mark is a model's answers (disc: baseline, square: naive, diamond: improved,"
        " others: other arms). Marks that rise from left to right fit an annotator that rewards"
        " length; they do not prove one."
    )
    rows = [
        [
            each.name,
            figure(each.found.avg_length, 0),
            figure(each.found.avg_length_reference, 0),
            figure(each.found.win_rate),
            _same_length(each.found.same_length),
            _length_controlled(each.found.length_controlled),
        ]
        for each in material.evaluated
        if each.found is not None
    ]
    header = [
        "answers",
        "mean length",
        "reference's",
        "win rate",
        "win rate at similar length",
        "length-controlled",
    ]
    return section(
        "length", title, captioned(picture, caption), table(*telling(header, rows), title)
    )


def _same_length(found: SameLength) -> str:
    if found.win_rate is None:
        return f"{NOTHING} ({found.n_pairs} such pairs)"
    return f"{figure(found.win_rate)} {interval(found.low, found.high)} ({found.n_pairs} pairs)"


def _length_controlled(found: LengthControlled) -> str:
    if found.win_rate is None:
        return NOTHING
    return f"{figure(found.win_rate)} {interval(found.low, found.high)}"


def lengths(material: ReportData) -> Html:
    """Return how long the outputs in the data are, and how long the answers."""
    data = [
        box
        for name, stats in material.data_sets.items()
        if (box := _data_box(material.arms.get(name, name.partition(" ")[2]), stats, material))
    ]
    answers = {
        row: [box for each in group if (box := _answer_box(each, material))]
        for row, group in groupby(material.evaluated[:MOST_DRAWN], key=lambda each: each.row)
    }
    groups = {"Outputs in the training data": data, **_references(material)}
    groups |= {f"Answers of {row}": shown for row, shown in answers.items()}
    groups = {name: shown for name, shown in groups.items() if shown}
    if not groups:
        return section("lengths", "Lengths", missing("No lengths are known yet."))
    picture = boxes(groups, "Lengths of data and answers", "characters, logarithmic")
    caption = (
        "Line: from the shortest to the longest; box: the middle half; bar and figure: the median."
        " What is shorter than one character stands at 1."
    )
    if any(each.seed is not None for each in material.evaluated):
        caption += " The number behind an arm is the training seed."
    return section("lengths", "Lengths of data and answers", captioned(picture, caption))


def _data_box(name: str, stats: Mapping[str, Any], material: ReportData) -> Box | None:
    found = stats.get("output_lengths", {}).get("characters")
    if found is None:
        return None
    names = ("min", "quartile_1", "median", "quartile_3", "max")
    least, low, median, high, greatest = (found[each] for each in names)
    return Box(name, material.looks.get(name, ""), (least, low, median, high, greatest))


def _answer_box(each: Evaluated, material: ReportData) -> Box | None:
    answers = {row["instruction"]: row["output_2"] for row in each.verdicts}
    return _box(
        each.short, material.looks[each.column], [len(answer) for answer in answers.values()]
    )


def _references(material: ReportData) -> dict[str, list[Box]]:
    judged = next((each.verdicts for each in material.evaluated if each.verdicts), [])
    answers = {row["instruction"]: row["output_1"] for row in judged}
    box = _box("reference", "reference", [len(answer) for answer in answers.values()])
    return {"Reference answers": [box]} if box else {}


def _box(name: str, look: str, numbers: Sequence[int]) -> Box | None:
    if not numbers:
        return None
    low, median, high = (
        quantiles(numbers, method="inclusive") if len(numbers) > 1 else [*numbers] * 3
    )
    return Box(name, look, (min(numbers), low, median, high, max(numbers)))
