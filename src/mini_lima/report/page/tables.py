"""The tables of the page that neither the terminal nor report.md has."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mini_lima.report.figures import (
    NOTHING,
    Table,
    Word,
    counted,
    duration,
    failed_of_all,
    figure,
    with_interval,
)
from mini_lima.report.page.data import ReportData
from mini_lima.results import Agreement, CellRecord, Cost, Judged, LengthControlled, WinRate

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
NOT_THERE = "(not there)"


def rate_and_length(data: ReportData) -> Table:
    """Win rates beside mean lengths, and what is left of them at similar lengths."""
    rows = [
        [
            name,
            _rate(found),
            figure(found.avg_length, 0),
            figure(found.avg_length_reference, 0),
            f"{_rate(found.same_length)} ({found.same_length.n_pairs} pairs)",
            _rate(found.length_controlled),
        ]
        for name, found, _ in _judged(data)
    ]
    header = ["answers", "win rate", "mean length", "reference's"]
    header += ["win rate at similar length", "length-controlled"]
    return Table("Win rate and length", header, rows).without_empty_columns()


def trainings(data: ReportData) -> Table:
    """What came of each training."""
    rows = [
        [
            each.at.name,
            *map(figure, (done.parameters, done.examples, done.steps, done.tokens)),
            *(figure(loss, 3) for loss in (done.first_loss, done.last_loss, done.held_out_loss)),
        ]
        for each in data.trainings
        if (done := each.summary)
    ]
    header = ["model", "parameters", "examples", "steps", "tokens", "first loss", "last loss"]
    return Table("Trainings", [*header, "held-out loss"], rows)


def judging(data: ReportData) -> Table:
    """Whether verdicts depend on the order, and which failed and why."""
    rows = []
    for name, found, agreement in _judged(data):
        seen, failed = found.consistency, failed_of_all(found.n_total, found.n_failed)
        effect = seen.order_effect, seen.order_effect_low, seen.order_effect_high
        rows.append(
            [
                name,
                figure(seen.win_rate_first),
                figure(seen.win_rate_second),
                with_interval(*effect, "+"),
                _percent(seen.order_disagreement),
                _percent(seen.flip_rate),
                _percent(seen.tie_rate),
                Word(f"{failed} – incomplete", "bad") if found.incomplete else failed,
                counted(found.failures),
                f"{figure(found.low_if_failures_lose)} … {figure(found.high_if_failures_win)}",
                _agreement(agreement),
            ]
        )
    header = ["answers", "wins when first", "when second", "effect of order", "orders disagree"]
    header += ["asked again, changes", "ties", "failed", "causes", "if failed ones lose … win"]
    header.append("agrees with the first judge")
    return Table("Order and failures", header, rows).without_empty_columns()


def health(data: ReportData) -> Table:
    """What is wrong with the answers whatever an annotator thinks of them."""
    faults = list(dict.fromkeys(fault for each in data.evaluated for fault in each.health.faults))
    rows = [
        [
            each.at.name,
            figure(each.health.n),
            *(figure(each.health.faults.get(fault)) for fault in faults),
            figure(each.health.mean_length_tokens, 0),
        ]
        for each in data.evaluated
    ]
    header = ["answers", "n", *(fault.replace("_", " ") for fault in faults), "mean tokens"]
    return Table("Health of the answers", header, rows)


def health_warnings(data: ReportData) -> list[str]:
    """Faults that are too many, as sentences."""
    return [f"{each.at.name}: {line}" for each in data.evaluated for line in each.health.warnings]


def funnel(name: str, stats: Mapping[str, Any]) -> Table:
    """What each prompt of a data set brought in, what was rejected and why, and what was used."""
    rows = [
        [
            prompt,
            figure(step.get("requests")),
            figure(step.get("found")),
            counted(step.get("rejected", {})),
            figure(step.get("used")),
            counted(step.get("notes", {})),
        ]
        for prompt, step in stats.get("funnel", {}).items()
    ]
    header = ["prompt", "requests", "found", "rejected", "used", "notes on replies"]
    return Table(f"Funnel of {name}", header, rows)


def costs(data: ReportData) -> Table:
    """What the answers of teacher and annotator cost, by stage and in all."""
    told = dict(data.costs)
    if told:
        summed = ("replies", *TOKENS, "usd", "unpriced")
        sums = {key: sum(getattr(each, key) for each in told.values()) for key in summed}
        told["together"] = Cost(**sums, warnings=[])
    header = ["stage", "replies", "input tokens", "cached of these", "output tokens", "USD"]
    rows = [[name, figure(each.replies), *_tokens(each), _usd(each)] for name, each in told.items()]
    return Table("Cost by stage", header, rows)


def cost_warnings(data: ReportData) -> list[str]:
    """What is odd about the replies of a stage."""
    return [f"{name}: {line}" for name, found in data.costs.items() for line in found.warnings]


def times(data: ReportData) -> Table:
    """How long the stages took, by kind and in all."""
    spent: dict[str, list[float]] = defaultdict(list)
    for name, record in data.stages.items():
        if (seconds := record.get("provenance", {}).get("seconds")) is not None:
            spent[name.partition(" ")[0]].append(seconds)
    if spent:
        spent["together"] = [seconds for each in spent.values() for seconds in each]
    rows = [[kind, figure(len(each)), duration(sum(each))] for kind, each in spent.items()]
    return Table("Time by kind of stage", ["stages", "number", "time"], rows)


def settings(cells: Sequence[CellRecord]) -> tuple[Table, Table]:
    """Every setting that is not the same in all cells, and every one that is."""
    flat = [flattened(cell.config) for cell in cells]
    values = {
        key: [each.get(key, NOT_THERE) for each in flat]
        for key in dict.fromkeys(key for each in flat for key in each)
    }
    differing = [key for key, found in values.items() if len(set(found)) > 1]
    rows = [[c.folder, *(values[key][n] for key in differing)] for n, c in enumerate(cells)]
    same = [[key, found[0]] for key, found in values.items() if key not in differing]
    return (
        Table("Settings that differ", ["cell", *differing], rows if differing else []),
        Table("Settings that all cells share", ["setting", "value"], same),
    )


def flattened(config: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of a configuration as JSON by their dotted names."""
    if isinstance(config, Mapping) and config:
        leaves: dict[str, str] = {}
        for key, value in config.items():
            leaves |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
        return leaves
    return {prefix: json.dumps(config, ensure_ascii=False)} if prefix else {}


def stages(data: ReportData) -> Table:
    """When, where and with which code each stage was made."""
    rows = [
        [
            name,
            _date(made.get("started", NOTHING)),
            duration(made.get("seconds")),
            _commit(made),
            made.get("host", NOTHING),
        ]
        for name, record in data.stages.items()
        for made in [record.get("provenance", {})]
    ]
    return Table("Stages", ["stage", "started (UTC)", "took", "code", "host"], rows)


def provenance(data: ReportData) -> list[str]:
    """Which code and packages made all of it."""
    records = [record.get("provenance", {}) for record in data.stages.values()]
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for package, version in record.get("packages", {}).items():
            versions[package].add(version or "not installed")
    return [
        f"Code: {', '.join(sorted({_commit(r) for r in records}))}",
        "Packages: " + ", ".join(f"{n} {' and '.join(sorted(v))}" for n, v in versions.items()),
        "Python " + ", ".join(sorted({str(r.get("python", NOTHING)) for r in records})),
    ]


def _judged(data: ReportData) -> Iterator[tuple[str, Judged, Agreement | None]]:
    """What each judge made of each model's answers; the first one's name is left out."""
    for each in data.evaluated:
        if each.found is not None:
            yield each.at.name, each.found, None
        for judge, (found, agreement) in each.others.items():
            yield f"{each.at.name}, by {judge}", found, agreement


def _rate(found: WinRate | LengthControlled) -> str:
    return with_interval(found.win_rate, found.low, found.high)


def _agreement(found: Agreement | None) -> str:
    if found is None or found.agreement is None:
        return NOTHING
    return f"{figure(found.agreement)}%, κ {figure(found.kappa, 2)} (n {found.n})"


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{figure(value)}%"


def _tokens(found: Cost) -> list[str]:
    """Tokens; an answer of no tokens is one whose usage nobody reported."""
    return [figure(getattr(found, key)) if found.output_tokens else NOTHING for key in TOKENS]


def _usd(found: Cost) -> str:
    """Return the cost; what has no price is said and never counts as nothing."""
    if found.unpriced and found.unpriced == found.replies:
        return "not known"
    known = f"${found.usd:,.2f}"
    return f"{known}, and {found.unpriced:,} replies of unknown cost" if found.unpriced else known


def _commit(record: Mapping[str, Any]) -> str:
    git = record.get("git")
    if not git:
        return "not in a repository"
    return f"{git['commit'][:12]}{' with changes' if git.get('dirty') else ''}"


def _date(stamp: str) -> str:
    return stamp[:16].replace("T", " ")
