"""What may be wrong with a win rate: lengths, losses, the order of answers, failures, health."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import quantiles
from typing import Any

from mini_lima.report.comparison import rows_of
from mini_lima.report.page.axes import fitting
from mini_lima.report.page.charts import Box, boxes, curves
from mini_lima.report.page.figures import counted, figure, interval
from mini_lima.report.page.markup import (
    Html,
    beside,
    element,
    listed,
    missing,
    note,
    section,
    table,
    together,
)
from mini_lima.report.page.markup import (
    figure as drawn,
)
from mini_lima.report.page.material import Evaluated, Material

NOT_FAULTS = ("n", "mean_length_characters", "mean_length_tokens", "lengths", "warnings")
MOST_DRAWN = 40


def lengths(material: Material) -> Html:
    """Return how long the outputs in the data are, and how long the answers."""
    data = [box for name, stats in material.data_sets.items() if (box := _data_box(name, stats))]
    answers = {
        row: [box for each in group if (box := _answer_box(each))]
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
    return section("lengths", "Lengths of data and answers", drawn(picture, caption))


def _data_box(name: str, stats: Mapping[str, Any]) -> Box | None:
    found = stats.get("output_lengths", {}).get("characters")
    if found is None:
        return None
    names = ("min", "quartile_1", "median", "quartile_3", "max")
    least, low, median, high, greatest = (found[each] for each in names)
    method = stats.get("method", name)
    return Box(method, method, (least, low, median, high, greatest))


def _answer_box(each: Evaluated) -> Box | None:
    answers = {row["instruction"]: row["output_2"] for row in each.verdicts}
    return _box(each.column, [len(answer) for answer in answers.values()])


def _references(material: Material) -> dict[str, list[Box]]:
    judged = next((each.verdicts for each in material.evaluated if each.verdicts), [])
    answers = {row["instruction"]: row["output_1"] for row in judged}
    box = _box("reference", [len(answer) for answer in answers.values()])
    return {"Reference answers": [box]} if box else {}


def _box(column: str, numbers: Sequence[int]) -> Box | None:
    if not numbers:
        return None
    low, median, high = (
        quantiles(numbers, method="inclusive") if len(numbers) > 1 else [*numbers] * 3
    )
    return Box(column, column, (min(numbers), low, median, high, max(numbers)))


def training(material: Material) -> Html:
    """Return the loss curves, a picture per row of the table."""
    by_row: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for each in material.trainings:
        if each.losses:
            by_row[each.row][each.column] = each.losses
    pictures = [
        drawn(curves(series, f"Training loss of {row}", "step"), fitting(row, 80))
        for row, series in [*by_row.items()][:MOST_DRAWN]
    ]
    parts = [beside(*pictures) if pictures else missing("No training has written its losses yet.")]
    parts += [
        missing(f"{each.row}, {each.column}: the loss of {each.not_finite} steps is not a number.")
        for each in material.trainings
        if each.not_finite
    ]
    cells = material.comparison.cells
    rows = [
        [
            f"{row}: {cell['method']}",
            *(figure(done.get(key)) for key in ("parameters", "examples", "steps", "tokens")),
            figure(done.get("first_loss"), 3),
            figure(done.get("last_loss"), 3),
        ]
        for row, cell in zip(rows_of(cells), cells, strict=True)
        if (done := cell.get("result", {}).get("training"))
    ]
    header = ["model", "parameters", "examples", "steps", "tokens", "first loss", "last loss"]
    if rows:
        parts.append(table(header, rows, "Trainings"))
    return section("training", "Training", *parts)


def judging(material: Material) -> Html:
    """Return whether the annotator's verdicts depend on the order, and which failed and why."""
    rows = [_judged(each) for each in material.evaluated]
    title = "Order and failures"
    if not rows:
        return section("judging", title, missing("Nothing has been judged yet."))
    header = [
        *("answers", "wins when first", "when second", "effect of order", "orders disagree"),
        *("ties", "failed", "causes", "if failed ones lose … win"),
    ]
    about = note(
        "A verdict should not depend on which answer stood first. Failed verdicts could not be read"
        " and are left out of the win rate; the last column is the win rate if all of them had gone"
        " one way."
    )
    return section("judging", title, about, table(header, rows, title))


def _judged(each: Evaluated) -> list[object]:
    found = each.found
    seen = found.get("consistency") or {}
    effect = f"{figure(seen.get('order_effect'), sign='+')} {interval(seen, '+', 'order_effect_')}"
    failed = f"{figure(found.get('n_failed'))} of {_all(found)}"
    if found.get("incomplete"):
        failed += " – incomplete"
    low, high = found.get("low_if_failures_lose"), found.get("high_if_failures_win")
    return [
        each.name,
        figure(seen.get("win_rate_first")),
        figure(seen.get("win_rate_second")),
        effect,
        _percent(seen.get("order_disagreement")),
        _percent(seen.get("tie_rate")),
        element("span", failed, class_="bad" if found.get("incomplete") else None),
        counted(found.get("failures") or {}),
        f"{figure(low)} … {figure(high)}",
    ]


def _all(found: Mapping[str, Any]) -> str:
    read, failed = found.get("n_total"), found.get("n_failed")
    return figure(None if read is None or failed is None else read + failed)


def _percent(value: object) -> str:
    known = figure(value)
    return known if not isinstance(value, int | float) else f"{known}%"


def health(material: Material) -> Html:
    """Return what is wrong with the answers whatever an annotator thinks of them."""
    found = [(each, each.found["health"]) for each in material.evaluated if "health" in each.found]
    title = "Health of the answers"
    if not found:
        return section("health", title, missing("There are no answers yet."))
    faults = list(dict.fromkeys(k for _, said in found for k in said if k not in NOT_FAULTS))
    rows = [
        [
            each.name,
            figure(said.get("n")),
            *(figure(said.get(fault)) for fault in faults),
            figure(said.get("mean_length_tokens"), 0),
        ]
        for each, said in found
    ]
    header = ["answers", "n", *(fault.replace("_", " ") for fault in faults), "mean tokens"]
    warnings = [f"{each.name}: {line}" for each, s in found for line in s.get("warnings", ())]
    parts = [table(header, rows, title)]
    if warnings:
        parts.insert(0, listed(list(dict.fromkeys(warnings)), "warn"))
    return section("health", title, together(parts))
