"""What a command would do, before it does anything: its stages, their time, and their calls' cost.

The cells of a sweep are laid out together, so that a stage which several of them share is seen, and
counted, once. What a stage asks is worked out by the code that will ask it, as far as that does not
depend on replies; of this, the response cache says what is answered already. How long a stage takes
is what earlier ones like it took, and not known where there was none (`experience`). `plan_table`
shows it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from mini_lima.chat import Chat, Estimate, estimate, unanswered
from mini_lima.evaluation import annotation
from mini_lima.experiment.time_estimates import Amount, Experience
from mini_lima.store.stages import Stage, Store


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
    """The stages of one or more cells, inputs first, each once.

    Attributes:
        rows: By the stages' fingerprints.
        lacking: What this machine lacks for them, each with what to do about it.
        budget_usd: What may be spent; None is anything.
        exit_code: Of the command that planned.
    """

    def __init__(self) -> None:
        """Begin with no cell."""
        self.rows: dict[str, Row] = {}
        self.lacking: dict[str, None] = {}
        self.budget_usd: float | None = None
        self.exit_code = 0
        self._experience: Experience | None = None

    def add(self, cell: str, stages: Iterable[Stage], store: Store) -> None:
        """Add the ``stages`` of ``cell``; all cells have one store."""
        self._experience = self._experience or Experience(store)
        for stage in stages:
            row = self.rows.get(stage.fingerprint)
            if row is None:
                row = Row(stage, store.is_finished(stage))
                if not row.done:
                    row.calls = _calls(stage, store, self._experience)
                    row.tokens = self._experience.tokens(stage)
                    requests = None if row.calls is None else row.calls.requests
                    row.seconds = self._experience.seconds(stage, requests)
                self.rows[stage.fingerprint] = row
            row.cells.append(cell)

    @property
    def passed_over(self) -> list[str]:
        """A line for each stage in the store that cannot be read."""
        return self._experience.passed_over if self._experience else []

    def total(self) -> Estimate:
        """All calls together."""
        calls = [row.calls for row in self.rows.values() if row.calls]
        return reduce(add, calls, Estimate(0, 0, 0, 0, 0, 0.0, 0.0))

    def cells(self) -> dict[str, int]:
        """The number of each cell, by its name."""
        names = dict.fromkeys(cell for row in self.rows.values() for cell in row.cells)
        return {name: number for number, name in enumerate(names, start=1)}


def _calls(stage: Stage, store: Store, experience: Experience) -> Estimate | None:
    chat = stage.params.get("teacher") or stage.params.get("chat")
    if chat is None:
        return None
    assert isinstance(chat, Chat)
    if stage.name == "data":
        requests = experience.forecasts.of(stage).requests
    else:
        assert stage.function is annotation.annotate
        outputs = stage.inputs["model_outputs"]
        finished = store.path(outputs) if store.is_finished(outputs) else None
        keywords: dict[str, Any] = {**stage.params, **stage.files}
        requests = annotation.expected_requests(model_outputs=finished, **keywords)
    left = unanswered(requests, endpoint=chat.endpoint, cache=chat.cache)
    return estimate(left, chat.prices, batch=chat.endpoint.mode == "batch")
