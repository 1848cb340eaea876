"""The result: what was compared and what did not finish, the table, the contrasts."""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from statistics import fmean

from mini_lima.report import measures
from mini_lima.report.figures import NOTHING, counted, everything, figure, interval
from mini_lima.report.page.charts import Interval, intervals
from mini_lima.report.page.markup import (
    MOST_ITEMS,
    Html,
    beside,
    captioned,
    element,
    lines,
    listed,
    missing,
    note,
    section,
    shortened,
    table,
    together,
)
from mini_lima.report.page.material import Evaluated, ReportData
from mini_lima.results import BASELINE, Agreement, CellRecord, Contrast, Judged

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
WARNING = "Warning"
LOOKS = {"better": "good", "worse": "bad"}
MOST_DRAWN = 60


def summary(material: ReportData) -> Html:
    """Return the heading: what was compared, what did not finish, what has to be known."""
    cells, finished = material.comparison.cells, material.comparison.finished
    models = ", ".join(dict.fromkeys(cell.model for cell in cells))
    arms = ", ".join(c for c in material.comparison.columns if c != BASELINE)
    warnings = [line for line in material.comparison.notes if line.startswith(WARNING)]
    failed = [cell for cell in cells if cell.status != "finished"]
    verdicts = Counter(str(each.verdict) for each in material.comparison.contrasts)
    parts = [
        element("h1", f"{shortened(models, 120)}: {arms}"),
        note(
            f"Mini-LIMA: {len(cells)} {'cell' if len(cells) == 1 else 'cells'},"
            f" {len(finished)} finished. Each model was tuned on each data set and measured beside"
            " itself untuned."
            + (f" Contrasts by verdict: {counted(verdicts)}." if verdicts else "")
        ),
        listed(warnings, "warn"),
        *(_failed(cell) for cell in failed[:MOST_ITEMS]),
        missing(f"… and {len(failed) - MOST_ITEMS} more") if len(failed) > MOST_ITEMS else "",
    ]
    if material.lost:
        parts.append(missing(f"{len(material.lost)} files of the store could not be read:"))
        parts.append(listed(material.lost, "missing"))
    return element("header", *parts)


def _failed(cell: CellRecord) -> Html:
    reason = cell.reason or "it was killed, or is still running; run it again to go on"
    parts = [
        element("strong", f"{cell.folder}: {cell.status}"),
        element("pre", shortened(reason)),
    ]
    if cell.log is not None:
        parts.append(element("div", "Log: ", element("code", cell.log)))
    return element("div", *parts, class_="failed")


def win_rates(material: ReportData) -> Html:
    """Return the study's table, and the same as a picture beside the study's figures."""
    comparison = material.comparison
    rows = [
        [name, *(lines(row.get(column, ["not run"])) for column in comparison.columns)]
        for name, row in comparison.rows.items()
    ]
    said = [line for line in comparison.notes if not line.startswith(WARNING)]
    shown = beside(_drawn(material), listed(said, "soft"))
    whole = table(["model", *comparison.columns], rows, "Win rates")
    more = (_single_seeds(material), _other_annotators(material))
    return section("win-rates", "Win rates", whole, shown, *more)


def _single_seeds(material: ReportData) -> Html:
    """Return what each training seed came to on its own; nothing if each model has one."""
    rows = [
        [
            each.name,
            _rate(each.found),
            figure(each.found.avg_length, 0),
            _of_all(each.found),
        ]
        for each in material.evaluated
        if each.seed is not None and each.found is not None
    ]
    if not rows:
        return Html()
    about = note("The intervals of single seeds are about other instructions, not other seeds.")
    shown = table(["answers", "win rate", "mean length", "failed"], rows, "Single training seeds")
    return together([element("h3", "Single training seeds"), about, shown])


def _other_annotators(material: ReportData) -> Html:
    """What further annotators made of the same answers; nothing if none was asked."""
    rows = [
        [
            each.name,
            annotator,
            _rate(found),
            _of_all(found),
            _agreement(agreement),
        ]
        for each in material.evaluated
        for annotator, (found, agreement) in each.others.items()
    ]
    if not rows:
        return Html()
    header = ["answers", "annotator", "win rate", "failed", "agrees with the first"]
    title = "Win rates by other annotators"
    return together([element("h3", title), table(header, rows, title)])


def _rate(found: Judged) -> str:
    return f"{figure(found.win_rate)} {interval(found.low, found.high)}"


def _of_all(found: Judged) -> str:
    return f"{figure(found.n_failed)} of {everything(found.n_total, found.n_failed)}"


def _agreement(found: Agreement | None) -> str:
    if found is None or found.agreement is None:
        return NOTHING
    return f"{figure(found.agreement)}%, κ {figure(found.kappa, 2)} (n {found.n})"


def _drawn(material: ReportData) -> Html:
    known = [each for each in material.evaluated if each.found and each.found.win_rate is not None]
    if not known:
        results = [c.result for c in material.comparison.finished if c.result is not None]
        judged = not results or any(result.judges for result in results)
        return missing("No cell has a win rate yet." if judged else "Nobody judges.")
    groups = {
        row: [_interval([*each], material) for _, each in groupby(group, key=lambda e: e.column)]
        for row, group in groupby(known[:MOST_DRAWN], key=lambda each: each.row)
    }
    caption = "Win rate with its interval."
    if any(each.study is not None for group in groups.values() for each in group):
        caption += f" {ABOUT_THE_STUDY}"
    if any(each.singles for group in groups.values() for each in group):
        caption += " Small circles: the single training seeds that it is the mean of."
    if any(each.found and each.found.incomplete for each in known):
        caption += " * Incomplete: too many verdicts failed."
    if len(known) > MOST_DRAWN:
        caption += f" The first {MOST_DRAWN} of {len(known)} are drawn."
    return captioned(intervals(groups, "Win rates with intervals", "win rate, %"), caption)


def _interval(seeds: list[Evaluated], material: ReportData) -> Interval:
    """Return what one place of the table comes to; ``seeds`` has one entry, or one per seed."""
    first, judged = seeds[0], [each.found for each in seeds if each.found is not None]
    value, low, high = judged[0].win_rate, judged[0].low, judged[0].high
    singles: tuple[float, ...] = ()
    if len(judged) > 1:
        singles = tuple(each.win_rate for each in judged if each.win_rate is not None)
        value, low, high = fmean(singles), None, None
        for each in material.comparison.measures:
            own = each.measured
            if each.first and each.one_of == 1 and (each.row, own.arm) == (first.row, first.column):
                value, low, high = own.value, own.low, own.high
    incomplete = any(each.incomplete for each in judged)
    return Interval(
        name=first.column,
        look=material.looks[first.column],
        value=value,
        low=low,
        high=high,
        figure=figure(value) + ("*" if incomplete else ""),
        study=STUDY.get(first.model.lower(), {}).get(first.column),
        singles=singles,
    )


def measured(material: ReportData) -> Html:
    """Return every other measure of the same answers; nothing but a word if there is none."""
    lines = measures.others(material.comparison.measures)
    title = "Other measures"
    if not lines:
        return section("measures", title, missing("Nothing else was measured."))
    rows = [list(each.values()) for each in measures.texts(lines)]
    about = note(
        "In brackets the bootstrap interval over the instructions; n: answers, or verdicts of"
        " another judge; failed: those that should count and do not. Δ is paired by instruction."
    )
    return section("measures", title, about, table([*measures.texts(lines)[0]], rows, title))


def contrasts(material: ReportData) -> Html:
    """Return the differences between cells with their verdicts in words."""
    comparison = material.comparison
    if not comparison.contrasts:
        return section("contrasts", "Contrasts", missing("There is nothing to contrast yet."))
    told = comparison.lines()
    rows = [
        [_verdict(text) if name == "verdict" else text for name, text in line.items()]
        for line in told
    ]
    known = [each for each in comparison.contrasts if each.difference is not None]
    several = len({each.measure for each in known}) > 1
    drawn: dict[tuple[str, str], dict[str, list[Interval]]] = {}
    for each in known[:MOST_DRAWN]:
        drawn.setdefault((each.measure, each.unit), {})[each.name] = [
            Interval(
                name=each.verdict,
                look=material.looks.get(next(iter(each.terms)), ""),
                value=each.difference,
                low=each.low,
                high=each.high,
                figure=figure(each.difference, sign="+"),
            )
        ]
    telling = [each for each in known if each.judged or each.verdict != "cannot tell"]
    words = listed([f"{_title(each, several)} – {each.words}" for each in telling], "soft")
    about_length = [element("p", paragraph) for paragraph in comparison.about_length]
    whole = table([*told[0]], rows, "Contrasts")
    pictures = [
        captioned(
            intervals(shown, f"Differences in {measure}", f"difference, {unit}"),
            f"Differences in {measure}. Right of zero: the first of the two has more of it.",
        )
        for (measure, unit), shown in drawn.items()
    ]
    shown = beside(*pictures, words) if pictures else words
    return section("contrasts", "Contrasts", *about_length, whole, shown)


def _title(contrast: Contrast, several: bool) -> str:
    return f"{contrast.name} ({contrast.measure})" if several else contrast.name


def _verdict(text: str) -> Html:
    return element("span", text, class_=LOOKS.get(text))
