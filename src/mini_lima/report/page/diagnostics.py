"""What may be wrong behind a win rate: the training, the order of answers, failures, health."""

from collections import defaultdict

from mini_lima.report.figures import counted, everything, figure, interval
from mini_lima.report.groups import labelled, placed
from mini_lima.report.page.axes import fitting
from mini_lima.report.page.charts import Curve, curves
from mini_lima.report.page.markup import (
    Html,
    beside,
    captioned,
    element,
    listed,
    missing,
    note,
    section,
    table,
    telling,
)
from mini_lima.report.page.material import ReportData
from mini_lima.results import Judged

MOST_DRAWN = 40


def training(material: ReportData) -> Html:
    """Return the loss curves, a picture per row of the table."""
    by_row: dict[str, dict[str, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for each in material.trainings:
        if each.losses:
            by_row[each.row][each.column].append(each.losses)
    titled = [(f"Training loss of {row}", series) for row, series in by_row.items()]
    pictures = [
        captioned(curves(series, title, "step", material.looks), fitting(title, 80))
        for title, series in titled[:MOST_DRAWN]
    ]
    parts = [beside(*pictures) if pictures else missing("No training has written its losses yet.")]
    parts += [
        missing(f"{each.row}, {each.label}: the loss of {each.not_finite} steps is not a number.")
        for each in material.trainings
        if each.not_finite
    ]
    rows = [
        [
            f"{row}: {labelled(column, seed)}",
            *map(figure, (done.parameters, done.examples, done.steps, done.tokens)),
            *(figure(loss, 3) for loss in (done.first_loss, done.last_loss, done.held_out_loss)),
        ]
        for row, column, seed, cell in placed(material.comparison.cells)
        if cell.result and (done := cell.result.training)
    ]
    header = ["model", "parameters", "examples", "steps", "tokens", "first loss", "last loss"]
    header.append("held-out loss")
    if rows:
        parts.append(table(header, rows, "Trainings"))
    return section("training", "Training", *parts)


def judging(material: ReportData) -> Html:
    """Return whether the annotator's verdicts depend on the order, and which failed and why."""
    rows = [
        row
        for each in material.evaluated
        for row in (
            *([_judged(each.name, each.found)] if each.found else []),
            *(_judged(f"{each.name}, by {name}", own) for name, (own, _) in each.others.items()),
        )
    ]
    title = "Order and failures"
    if not rows:
        return section("judging", title, missing("Nothing has been judged yet."))
    header = [
        *("answers", "wins when first", "when second", "effect of order", "orders disagree"),
        *("asked again, changes", "ties", "failed", "causes", "if failed ones lose … win"),
    ]
    about = note(
        "A verdict should not depend on which answer stood first. Failed verdicts could not be read"
        " and are left out of the win rate; the last column is the win rate if all of them had gone"
        " one way."
    )
    return section("judging", title, about, table(*telling(header, rows), title))


def _judged(name: str, found: Judged) -> list[object]:
    seen = found.consistency
    ends = interval(seen.order_effect_low, seen.order_effect_high, "+")
    failed = f"{figure(found.n_failed)} of {everything(found.n_total, found.n_failed)}"
    if found.incomplete:
        failed += " – incomplete"
    return [
        name,
        figure(seen.win_rate_first),
        figure(seen.win_rate_second),
        f"{figure(seen.order_effect, sign='+')} {ends}",
        _percent(seen.order_disagreement),
        _percent(seen.flip_rate),
        _percent(seen.tie_rate),
        element("span", failed, class_="bad" if found.incomplete else None),
        counted(found.failures),
        f"{figure(found.low_if_failures_lose)} … {figure(found.high_if_failures_win)}",
    ]


def _percent(value: object) -> str:
    known = figure(value)
    return known if not isinstance(value, int | float) else f"{known}%"


def health(material: ReportData) -> Html:
    """Return what is wrong with the answers whatever an annotator thinks of them."""
    found = [(each, each.health) for each in material.evaluated]
    title = "Health of the answers"
    if not found:
        return section("health", title, missing("There are no answers yet."))
    faults = list(dict.fromkeys(fault for _, said in found for fault in said.faults))
    rows = [
        [
            each.name,
            figure(said.n),
            *(figure(said.faults.get(fault)) for fault in faults),
            figure(said.mean_length_tokens, 0),
        ]
        for each, said in found
    ]
    header = ["answers", "n", *(fault.replace("_", " ") for fault in faults), "mean tokens"]
    warnings = [f"{each.name}: {line}" for each, s in found for line in s.warnings]
    unique = list(dict.fromkeys(warnings))
    return section("health", title, listed(unique, "warn"), table(header, rows, title))
