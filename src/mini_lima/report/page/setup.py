"""Where it comes from: the data's funnel, cost and time, configurations, provenance."""

import json
from collections.abc import Mapping
from typing import Any

from mini_lima.report.figures import NOTHING, counted, duration, figure
from mini_lima.report.page.markup import (
    Html,
    element,
    folded,
    listed,
    missing,
    note,
    section,
    table,
)
from mini_lima.report.page.material import ReportData
from mini_lima.results import Cost

TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
MOST_SHOWN = 20
NOT_THERE = "(not there)"


def data(material: ReportData) -> Html:
    """Return what each prompt brought in, what was rejected and why, and what was used."""
    if not material.data_sets:
        return section("data", "Data", missing("No data set is to be had."))
    parts: list[Html] = []
    for name, stats in [*material.data_sets.items()][:MOST_SHOWN]:
        teacher = f"teacher {stats.get('teacher', '–')}, {figure(stats.get('examples'))} examples"
        parts += [element("h3", name), note(teacher)]
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
        parts.append(
            table(header, rows, f"Funnel of {name}")
            if rows
            else missing("Its figures have no funnel.")
        )
    if len(material.data_sets) > MOST_SHOWN:
        parts.append(missing(f"… and {len(material.data_sets) - MOST_SHOWN} more"))
    return section("data", "Data", *parts)


def cost(material: ReportData) -> Html:
    """Return what the answers of teacher and annotator cost, and how long the stages took."""
    costs = material.costs
    rows = [[name, *_asked(c), _usd(c)] for name, c in costs.items()]
    parts: list[Html] = []
    if rows:
        summed = ("replies", *TOKENS, "usd", "unpriced")
        sums = {key: sum(getattr(c, key) for c in costs.values()) for key in summed}
        total = Cost(**sums, warnings=[])
        rows.append(["together", *_asked(total), _usd(total)])
        header = ["stage", "replies", "input tokens", "cached of these", "output tokens", "USD"]
        parts += [
            note("What the replies cost when they were made; shared stages count once."),
            table(header, rows, "Cost by stage"),
            listed([f"{name}: {line}" for name, c in costs.items() for line in c.warnings]),
        ]
    else:
        parts.append(missing("No stage has asked a teacher or an annotator that keeps a ledger."))
    spent: dict[str, list[float]] = {}
    for name, record in material.stages.items():
        seconds = record.get("provenance", {}).get("seconds")
        if seconds is not None:
            spent.setdefault(name.partition(" ")[0], []).append(seconds)
    if spent:
        times = [[kind, len(each), duration(sum(each))] for kind, each in spent.items()]
        times.append(["together", *_sum(spent)])
        parts.append(table(["stages", "number", "time"], times, "Time by kind of stage"))
    return section("cost", "Cost and time", *parts)


def _sum(spent: Mapping[str, list[float]]) -> tuple[int, str]:
    every = [seconds for each in spent.values() for seconds in each]
    return len(every), duration(sum(every))


def _asked(found: Cost) -> list[str]:
    """Return replies and tokens; an answer of no tokens is one whose usage nobody reported."""
    known = figure(found.replies)
    if not found.output_tokens:
        return [known, *[NOTHING] * len(TOKENS)]
    return [known, *(figure(getattr(found, key)) for key in TOKENS)]


def _usd(found: Cost) -> str:
    """Return the cost; what has no price is said and never counts as nothing."""
    if found.unpriced and found.unpriced == found.replies:
        return "not known"
    known = f"${found.usd:,.2f}"
    return f"{known}, and {found.unpriced:,} replies of unknown cost" if found.unpriced else known


def configuration(material: ReportData) -> Html:
    """Return every setting that is not the same in all cells, and all that are."""
    cells = material.comparison.cells
    flat = [flattened(cell.config) for cell in cells]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    values = {key: [each.get(key, NOT_THERE) for each in flat] for key in keys}
    differing = [key for key in keys if len(set(values[key])) > 1]
    same = [[key, values[key][0]] for key in keys if key not in differing]
    parts: list[Html] = []
    if differing:
        parts.append(note("Settings that are not the same in all cells."))
        rows = [
            [cell.folder, *(values[key][number] for key in differing)]
            for number, cell in enumerate(cells)
        ]
        parts.append(table(["cell", *differing], rows, "Settings that differ"))
    else:
        parts.append(missing("No setting differs between the cells."))
    if same:
        shared = table(["setting", "value"], same, "Settings that all cells share")
        parts.append(folded(f"{len(same)} settings that all cells share", shared))
    return section("configuration", "Configuration", *parts)


def flattened(config: Any, prefix: str = "") -> dict[str, str]:
    """Return the leaves of a configuration as JSON by their dotted names."""
    if isinstance(config, Mapping) and config:
        leaves: dict[str, str] = {}
        for key, value in config.items():
            leaves |= flattened(value, f"{prefix}.{key}" if prefix else str(key))
        return leaves
    return {prefix: json.dumps(config, ensure_ascii=False)} if prefix else {}


def provenance(material: ReportData) -> Html:
    """Return which code and which packages made each stage, when and where."""
    records = {name: record.get("provenance", {}) for name, record in material.stages.items()}
    if not records:
        return section("provenance", "Provenance", missing("No stage's record is to be had."))
    versions: dict[str, set[str]] = {}
    for record in records.values():
        for package, version in record.get("packages", {}).items():
            versions.setdefault(package, set()).add(version or "not installed")
    started = sorted(r["started"] for r in records.values() if "started" in r)
    finished = sorted(r["finished"] for r in records.values() if "finished" in r)
    facts = [
        f"Code: {', '.join(sorted({_commit(r) for r in records.values()}))}",
        "Packages: " + ", ".join(f"{n} {' and '.join(sorted(v))}" for n, v in versions.items()),
        "Python " + ", ".join(sorted({str(r.get("python", "–")) for r in records.values()})),
    ]
    if started and finished:
        facts.append(f"Made between {_date(started[0])} and {_date(finished[-1])} (UTC)")
    rows = [
        [
            name,
            _date(r.get("started", "–")),
            duration(r.get("seconds")),
            _commit(r),
            r.get("host", "–"),
        ]
        for name, r in records.items()
    ]
    header = ["stage", "started (UTC)", "took", "code", "host"]
    every = folded(f"{len(rows)} stages", table(header, rows, "Stages"))
    return section("provenance", "Provenance", listed(facts), every)


def _commit(record: Mapping[str, Any]) -> str:
    git = record.get("git")
    if not git:
        return "not in a repository"
    return f"{git['commit'][:12]}{' with changes' if git.get('dirty') else ''}"


def _date(stamp: str) -> str:
    return stamp[:16].replace("T", " ")
