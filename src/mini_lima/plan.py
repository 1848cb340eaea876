"""What a command would do, before it does anything: its stages, their time, and their calls' cost.

The cells of a sweep are laid out together, so that a stage which several of them share is seen, and
counted, once. What a stage asks is worked out by the code that will ask it, as far as that does not
depend on replies; of this, the response cache says what is answered already. How long a stage takes
is what earlier ones like it took, and not known where there was none (`experience`).
"""

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from mini_lima.chat import Chat, ChatRequest, Estimate, estimate, unanswered
from mini_lima.data import forecast, improved, naive
from mini_lima.data.examples import read_examples
from mini_lima.evaluation import annotation
from mini_lima.experience import Amount, Experience
from mini_lima.report.figures import duration
from mini_lima.stages import Stage, Store

COLUMNS = (
    *("", "stage", "cells", "training tokens", "time"),
    *("calls", "tokens in", "tokens out", "dollars"),
)
UNKNOWN = "not known"


@dataclass
class Row:
    """A stage of the plan.

    Attributes:
        stage: It.
        done: Whether the store has it.
        cells: Which cells need it.
        calls: What it still has to ask, and what that takes; None if it asks no model.
        tokens: What it will train on; None if it trains nothing.
        seconds: How long it will take; None if that is not known.
    """

    stage: Stage
    done: bool
    cells: list[str] = field(default_factory=list)
    calls: Estimate | None = None
    tokens: Amount | None = None
    seconds: Amount | None = None


class Plan:
    """The stages of one or more cells, inputs first, each once."""

    def __init__(self) -> None:
        """Begin with no cell."""
        self.rows: dict[str, Row] = {}
        self.budget_usd: float | None = None
        self._experience: Experience | None = None
        self.exit_code = 0

    def add(self, cell: str, stages: Iterable[Stage], store: Store) -> None:
        """Add the ``stages`` of ``cell``; all cells have one store."""
        self._experience = self._experience or Experience(store)
        for stage in stages:
            row = self.rows.get(stage.fingerprint)
            if row is None:
                row = Row(stage, store.is_finished(stage))
                if not row.done:
                    row.calls = _calls(stage, store)
                    row.tokens = self._experience.tokens(stage)
                    requests = None if row.calls is None else row.calls.requests
                    row.seconds = self._experience.seconds(stage, requests)
                self.rows[stage.fingerprint] = row
            row.cells.append(cell)

    def show(self) -> None:
        """Print it: a table on a terminal, tab-separated lines with comments when it is piped."""
        if not sys.stdout.isatty():
            for line in self.lines():
                print("\t".join(line).rstrip())
            for note in self.notes():
                print(f"# {note}")
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COLUMNS:
            figures = COLUMNS.index(name) > COLUMNS.index("cells")
            table.add_column(
                name,
                no_wrap=name not in ("stage", "cells"),
                overflow="fold",
                justify="right" if figures else "left",
            )
        for line in self.lines():
            table.add_row(*line)
        console = Console(highlight=False, markup=False)
        console.print(table)
        for note in self.notes():
            console.print(note)

    def total(self) -> Estimate:
        """All calls together."""
        calls = [row.calls for row in self.rows.values() if row.calls]
        return reduce(add, calls, Estimate(0, 0, 0, 0, 0, 0.0, 0.0))

    def lines(self) -> list[tuple[str, ...]]:
        """A line of texts per stage and one for the sum, each with a text per column."""
        cells, lines = self._cells(), []
        for row in self.rows.values():
            state = "done" if row.done else "to do"
            users = _which(row.cells, cells)
            work = ("", "") if row.done else (_tokens(row.tokens), _time(row.seconds))
            name = f"{row.stage.name} {row.stage.label}"
            lines.append((state, name, users, *work, *_figures(row.calls)))
        to_do = [row for row in self.rows.values() if not row.done]
        tokens = _sum([row.tokens for row in to_do if row.tokens])
        time = _sum([row.seconds for row in to_do])
        return [*lines, ("", "sum", "", _tokens(tokens), _time(time), *_figures(self.total()))]

    def notes(self) -> list[str]:
        """What has to be known to read the plan."""
        total, cells = self.total(), self._cells()
        notes = [f"Cell {number}: {name}" for name, number in cells.items() if len(cells) > 1]
        notes += self._about_time()
        if total.requests:
            notes.append(
                "Calls are those that the response cache cannot answer; where they depend on"
                " replies that are still to come, as many as there can be. From the shortest"
                " possible answers to the longest allowed; retries and further rounds of prompt 1"
                " come on top."
            )
        if total.requests and total.usd_high is None:
            notes.append(
                "Some cost is not known: give prices (teacher.prices, annotator.chat.prices or the"
                " group prices) and a length limit (max_tokens)."
            )
        if self.budget_usd is not None and total.requests:
            notes.append(_verdict(self.budget_usd, total))
        return notes

    def _cells(self) -> dict[str, int]:
        """The number of each cell, by its name."""
        names = dict.fromkeys(cell for row in self.rows.values() for cell in row.cells)
        return {name: number for number, name in enumerate(names, start=1)}

    def _about_time(self) -> Iterator[str]:
        to_do = [row for row in self.rows.values() if not row.done]
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


def _calls(stage: Stage, store: Store) -> Estimate | None:
    chat = stage.params.get("teacher") or stage.params.get("chat")
    if chat is None:
        return None
    assert isinstance(chat, Chat)
    left = unanswered(_requests(stage, store), endpoint=chat.endpoint, cache=chat.cache)
    return estimate(left, chat.prices, batch=chat.endpoint.mode == "batch")


def _requests(stage: Stage, store: Store) -> list[ChatRequest]:
    keywords: dict[str, Any] = {**stage.params, **stage.files}
    if stage.function is naive.build:
        return forecast.naive_requests(**keywords)
    if stage.function is improved.build:
        before = stage.inputs["naive"]
        if store.is_finished(before):
            examples = read_examples(store.path(before))
        else:
            of_naive: dict[str, Any] = {**before.params, **before.files}
            examples = forecast.naive_examples(**of_naive)
        return forecast.improved_requests(examples, **keywords)
    assert stage.function is annotation.annotate
    outputs = stage.inputs["model_outputs"]
    finished = store.path(outputs) if store.is_finished(outputs) else None
    return annotation.expected_requests(model_outputs=finished, **keywords)


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
