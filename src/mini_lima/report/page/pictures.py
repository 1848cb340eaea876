"""What the pictures of the page show; how they are drawn is in `report.charts`."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby, islice
from statistics import fmean, quantiles
from typing import Any

from markupsafe import Markup

from mini_lima.report.charts import Box, Curve, Interval, boxes, curves, intervals, points
from mini_lima.report.figures import figure
from mini_lima.report.groups import labelled
from mini_lima.report.page.data import Evaluated, ReportData
from mini_lima.results import BASELINE

STUDY: Mapping[str, Mapping[str, float]] = {
    "qwen-1.8b": {BASELINE: 31.22, "naive": 12.87, "improved": 24.62},
    "qwen-0.5b": {BASELINE: 8.08, "naive": 6.38, "improved": 14.55},
}
"""Win rates that the study published, by model and column."""
ABOUT_THE_STUDY = (
    "× marks what the study published for this model. It was measured once, with an annotator that"
    " has been retired since (gpt-3.5-turbo-0301) and without an interval, so a difference to it"
    " is no sign that either is wrong."
)
MOST_DRAWN = 50
MOST_PICTURES = 20


def win_rates(data: ReportData) -> tuple[Markup, str] | None:
    """Draw them, each row's below its name; return the picture and its caption."""
    known = (each for each in data.evaluated if each.found and each.found.win_rate is not None)
    places = [[*each] for _, each in groupby(known, lambda each: (each.at.row, each.at.column))]
    if not places:
        return None
    groups: dict[str, list[Interval]] = defaultdict(list)
    for seeds in places[:MOST_DRAWN]:
        groups[seeds[0].at.row].append(_interval(seeds, data))
    drawn = [each for group in groups.values() for each in group]
    caption = ["Win rate with its interval."]
    if any(each.study is not None for each in drawn):
        caption.append(ABOUT_THE_STUDY)
    if any(each.singles for each in drawn):
        caption.append("Small circles: the single training seeds that it is the mean of.")
    if any(each.found and each.found.incomplete for place in places for each in place):
        caption.append("* Incomplete: too many verdicts failed.")
    if len(drawn) < len(places):
        caption.append(f"The first {len(drawn)} of {len(places)} are drawn.")
    return intervals(groups, "Win rates with intervals", "win rate, %"), " ".join(caption)


def _interval(seeds: Sequence[Evaluated], data: ReportData) -> Interval:
    """Return what one place of the table comes to; ``seeds`` has one entry, or one per seed."""
    first, judged = seeds[0], [each.found for each in seeds if each.found is not None]
    value, low, high = judged[0].win_rate, judged[0].low, judged[0].high
    singles: tuple[float, ...] = ()
    if len(judged) > 1:
        singles = tuple(each.win_rate for each in judged if each.win_rate is not None)
        value, low, high = fmean(singles), None, None
        for each in data.comparison.measures:
            own, place = each.measured, (each.row, each.measured.arm)
            if each.first and each.one_of == 1 and place == (first.at.row, first.at.column):
                value, low, high = own.value, own.low, own.high
    return Interval(
        name=first.at.column,
        look=data.looks[first.at.column],
        value=value,
        low=low,
        high=high,
        figure=figure(value) + ("*" if any(each.incomplete for each in judged) else ""),
        study=STUDY.get(first.model.lower(), {}).get(first.at.column),
        singles=singles,
    )


def contrasts(data: ReportData) -> dict[str, Markup]:
    """Draw the differences, a picture per measure."""
    drawn: dict[tuple[str, str], dict[str, list[Interval]]] = defaultdict(dict)
    known = (each for each in data.comparison.contrasts if each.difference is not None)
    for each in islice(known, MOST_DRAWN):
        drawn[each.measure, each.unit][each.name] = [
            Interval(
                name=each.verdict,
                look=data.looks.get(next(iter(each.terms)), ""),
                value=each.difference,
                low=each.low,
                high=each.high,
                figure=figure(each.difference, sign="+"),
            )
        ]
    return {
        measure: intervals(shown, f"Differences in {measure}", f"difference, {unit}")
        for (measure, unit), shown in drawn.items()
    }


def rate_and_length(data: ReportData) -> Markup | None:
    """Draw win rates over mean lengths: is it the annotator's taste for length?"""
    several = len({each.at.row for each in data.evaluated}) > 1
    shown = []
    for each in data.evaluated[:MOST_DRAWN]:
        found, at = each.found, each.at
        if found is not None and found.win_rate is not None:
            name = labelled(at.row if several else at.column, at.seed)
            rate = found.win_rate, found.low, found.high, figure(found.win_rate)
            shown.append((found.avg_length, Interval(name, data.looks[at.column], *rate)))
    title = "Win rate over mean answer length"
    return points(shown, title, "characters", "win rate, %") if shown else None


def lengths(data: ReportData) -> Markup | None:
    """Draw how long the outputs in the data are, and how long the answers."""
    groups: dict[str, list[Box]] = defaultdict(list)
    for name, stats in data.data_sets.items():
        if found := stats.get("output_lengths", {}).get("characters"):
            arm = data.arms.get(name, name.partition(" ")[2])
            five = [found[each] for each in ("min", "quartile_1", "median", "quartile_3", "max")]
            groups["Outputs in the training data"].append(Box(arm, data.looks.get(arm, ""), five))
    judged = [each for each in data.evaluated[:MOST_DRAWN] if each.verdicts]
    if judged:
        groups["Reference answers"].append(Box("reference", "", _five(judged[0], "output_1")))
    for each in judged:
        column, seed = each.at.column, each.at.seed
        name = column if seed is None else f"{column} · {seed}"
        box = Box(name, data.looks[column], _five(each, "output_2"))
        groups[f"Answers of {each.at.row}"].append(box)
    title = "Lengths of data and answers"
    return boxes(groups, title, "characters, logarithmic") if groups else None


def _five(each: Evaluated, output: str) -> list[float]:
    """Least, quartiles and greatest of the lengths of answers."""
    answers: dict[str, Any] = {row["instruction"]: row[output] for row in each.verdicts}
    numbers = [len(answer) for answer in answers.values()]
    middle = quantiles(numbers, method="inclusive") if len(numbers) > 1 else numbers * 3
    return [min(numbers), *middle, max(numbers)]


def losses(data: ReportData) -> dict[str, Markup]:
    """Draw the loss curves, a picture per row of the table."""
    by_row: dict[str, dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for each in data.trainings:
        if each.losses:
            by_row[each.at.row][each.at.column].append(each.losses)
    return {
        row: curves(series, f"Training loss of {row}", "step", data.looks)
        for row, series in islice(by_row.items(), MOST_PICTURES)
    }
