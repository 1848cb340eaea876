"""A plan as a person reads it: a line per stage, the sum, and what must be known to read it."""

import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from mini_lima.chat import Estimate
from mini_lima.errors import listed
from mini_lima.experiment.plan import Plan
from mini_lima.experiment.time_estimates import Amount
from mini_lima.report.figures import duration
from mini_lima.text import as_line, laid_out, say

COLUMNS = (
    *("", "stage", "cells", "training tokens", "time"),
    *("calls", "tokens in", "tokens out", "dollars"),
)
UNKNOWN = "not known"


def show(plan: Plan) -> None:
    """Print it: a table on a terminal, tab-separated lines with comments when it is piped."""
    if not sys.stdout.isatty():
        for row in lines(plan):
            say("\t".join(row).rstrip())
        for note in notes(plan):
            say(f"# {note}")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        are_figures = COLUMNS.index(name) > COLUMNS.index("cells")
        table.add_column(
            name,
            no_wrap=name not in ("stage", "cells"),
            overflow="fold",
            justify="right" if are_figures else "left",
        )
    rows = lines(plan)
    others = [
        max(len(row[at]) for row in (COLUMNS, *rows)) for at in range(len(COLUMNS)) if at != 1
    ]
    left = shutil.get_terminal_size().columns - sum(others) - 2 * len(others)
    for state, name, *figures in rows:
        # rich breaks at spaces alone: a name would be cut in the middle of its words.
        table.add_row(state, "\n".join(textwrap.wrap(name, max(left, 12))), *figures)
    say(laid_out(table, *notes(plan)))


def lines(plan: Plan) -> list[tuple[str, ...]]:
    """A line of texts per stage and one for the sum, each with a text per column."""
    cells, found = plan.cells(), []
    for row in plan.rows.values():
        state = "done" if row.done else "to do"
        users = _which(row.cells, cells)
        work = ("", "") if row.done else (_tokens(row.tokens), _time(row.seconds))
        name = as_line(f"{row.stage.name} {row.stage.label}")
        found.append((state, name, users, *work, *_figures(row.calls)))
    to_do = [row for row in plan.rows.values() if not row.done]
    tokens = _sum([row.tokens for row in to_do if row.tokens])
    time = _sum([row.seconds for row in to_do])
    return [*found, ("", "sum", "", _tokens(tokens), _time(time), *_figures(plan.total()))]


def notes(plan: Plan) -> list[str]:
    """What has to be known to read the plan."""
    total, cells = plan.total(), plan.cells()
    found = [f"Cell {number}: {name}" for name, number in cells.items() if len(cells) > 1]
    found += _about_time(plan)
    if total.requests:
        found.append(
            "Calls are those that the response cache cannot answer; where they depend on"
            " replies that are still to come, as many as there can be. From the shortest"
            " possible answers to the longest allowed; retries and further rounds of prompt 1"
            " come on top."
        )
    if total.requests and total.usd_high is None:
        found.append(
            "Some cost is not known: give prices (teacher.prices, annotator.chat.prices or the"
            " group prices) and a length limit (max_tokens)."
        )
    if plan.budget_usd is not None and total.requests:
        found.append(_verdict(plan.budget_usd, total))
    if plan.passed_over:
        found.append(f"Of the store, {len(plan.passed_over)} cannot be read and are passed over:")
        found += [f"- {each}" for each in listed(plan.passed_over)]
    if plan.lacking:
        found.append("Before this can run it needs:")
        found += [f"- {each}" for each in plan.lacking]
    return found


def _about_time(plan: Plan) -> Iterator[str]:
    to_do = [row for row in plan.rows.values() if not row.done]
    if any(row.tokens for row in to_do):
        yield (
            "Training tokens are those of the data set times the epochs: ≥ where the data are"
            " still to be made, and will be longer than what they are made from."
        )
    if any(row.seconds for row in to_do):
        yield (
            "Times are what the same kind of work took in this store before, one stage after"
            " the other."
        )
    unknown = dict.fromkeys(row.stage.name for row in to_do if row.seconds is None)
    if unknown:
        yield (
            f"The time of {', '.join(unknown)} is not known where this store has no earlier"
            " stage of the same kind, with the same model, settings and device."
        )


def _which(used_by: Sequence[str], cells: Mapping[str, int]) -> str:
    """How many of ``cells`` need a stage, and which by their numbers: ``5 of 8: 1–4, 7``."""
    said = f"{len(used_by)} of {len(cells)}"
    if len(used_by) == len(cells):
        return said
    runs: list[list[int]] = []
    for number in sorted(cells[name] for name in used_by):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return f"{said}: {', '.join('–'.join(map(str, run)) for run in runs)}"


def _figures(calls: Estimate | None) -> tuple[str, ...]:
    if calls is None:
        return ("", "", "", "")
    return (
        f"{calls.requests:,}",
        _range(calls.input_low, calls.input_high),
        _range(calls.output_low, calls.output_high),
        _dollars(calls),
    )


def _tokens(amount: Amount | None) -> str:
    return "" if amount is None else f"{_least(amount)}{_count(round(amount.value))}"


def _time(amount: Amount | None) -> str:
    return UNKNOWN if amount is None else f"{_least(amount)}{duration(amount.value)}"


def _least(amount: Amount) -> str:
    return "≥ " if amount.at_least else ""


def _sum(amounts: Sequence[Amount | None]) -> Amount | None:
    """All together: a lower bound if some are not known, None if all are."""
    known = [each for each in amounts if each is not None]
    if amounts and not known:
        return None
    at_least = len(known) < len(amounts) or any(each.at_least for each in known)
    return Amount(sum(each.value for each in known), at_least)


def _range(low: int, high: int | None) -> str:
    return "0" if high == 0 else f"{_count(low)}–{'?' if high is None else _count(high)}"


def _count(number: int) -> str:
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.0f}k"


def _dollars(calls: Estimate) -> str:
    if not calls.requests:
        return "0"
    if calls.usd_low is None:
        return UNKNOWN
    high = "?" if calls.usd_high is None else f"{calls.usd_high:.2f}"
    return f"{calls.usd_low:.2f}–{high}"


def _verdict(budget: float, total: Estimate) -> str:
    high = math.inf if total.usd_high is None else total.usd_high
    if high <= budget:
        return f"budget_usd={budget:g} is enough for the highest of these."
    if total.usd_low is not None and total.usd_low > budget:
        return f"budget_usd={budget:g} cannot be enough: the run will stop, and keep what it paid."
    return f"budget_usd={budget:g} may not be enough; if so, the run stops and keeps what it paid."
