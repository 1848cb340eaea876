"""What earlier work in a store took, and so what work like it will take.

A finished stage says what it was made from, how it was done and how many seconds that took. Seconds
per unit of work (a token trained on, an answer written, a reply asked for, a verdict) carry over to
a stage that does the same kind of work with the same model on the same kind of device. Nothing else
does: where no such stage is in the store, the time is not known, and nobody makes it up.

The tokens of a training are its data set's. They are known to the token if the same model has seen
the same data, as with another training seed; else they follow from the bytes of the examples, at
this model's tokens per byte if an earlier training tells them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from mini_lima.chat import LEDGER, USUAL_BYTES_PER_TOKEN
from mini_lima.data import steps
from mini_lima.data.examples import Example, read_examples
from mini_lima.data.steps import Forecast
from mini_lima.errors import UserError
from mini_lima.evaluation.pairs import read_rows
from mini_lima.files import read_json, read_jsonl
from mini_lima.store import index
from mini_lima.store.stages import Stage, Store

HOW = {
    "data": ("teacher",),
    "sft": (
        *("deepspeed", "adapter", "precision", "activation_checkpointing"),
        "micro_batch_size_per_gpu",
    ),
    "outputs": ("max_new_tokens", "temperature", "precision", "dialect"),
    "annotations": ("judge", "chat"),
}
"""Params that make work of a kind faster or slower,"""
LAUNCH = ("device", "processes", "threads", "nodes")
"""and settings of the launch that do, as the provenance of a stage has them."""
RENDERED = ("max_length", "overlong", "turns", "template_kwargs")
"""Params of a training that change which tokens it sees."""


@dataclass(frozen=True)
class Amount:
    """How much it is, about; ``at_least`` where only a lower bound is known."""

    value: float
    at_least: bool = False


@dataclass(frozen=True)
class _Work:
    """A stage, finished or not, as far as it says how fast it goes.

    ``trained`` is the identity of the stage that made the model, if one did.
    """

    name: str
    identity: Mapping[str, Any]
    settings: Mapping[str, Any]
    trained: Mapping[str, Any] | None
    folder: Path | None = None
    seconds: float = 0.0

    @property
    def model(self) -> list[Any]:
        """What tells the model's architecture: its files, its name and commit, or a GGUF file."""
        tuned = self.trained is not None and "gguf" not in self.trained["files"]
        made_from = self.trained if self.trained and tuned else self.identity
        params = made_from["params"]
        named = [params.get("model"), params.get("revision"), made_from["inputs"].get("model")]
        return [made_from["files"].get("model"), *named]

    @property
    def kind(self) -> str:
        """Equal for stages that take about as long per unit of work."""
        how = {key: self.identity["params"].get(key) for key in HOW.get(self.name, ())}
        # A server that answers is not launched here, and answers come from one node.
        launched = LAUNCH if self.name == "sft" else LAUNCH[:-1] if how.get("precision") else ()
        where = {key: self.settings.get(key) for key in launched}
        made_from: list[Any] = []
        if self.name == "data":
            made_from = [self.identity["params"].get("step")]
        elif self.name in ("sft", "outputs"):
            made_from = self.model
        return json.dumps([self.name, made_from, how, where], sort_keys=True)

    @property
    def rendered(self) -> str:
        """Equal for trainings of one model that see the same tokens."""
        params, files = self.identity["params"], self.identity["files"]
        how = [params.get(key) for key in RENDERED]
        return json.dumps([self.identity["inputs"], files.get("chat_template"), how])


class Forecasts:
    """What the steps of arms will ask and make, each worked out once."""

    def __init__(self, store: Store) -> None:
        """Look into ``store`` for what is made already."""
        self._store = store
        self._found: dict[str, Forecast] = {}

    def of(self, data: Stage) -> Forecast:
        """Say what a step will ask and make; of a finished one, what it has made.

        Raises:
            UserError: something that it will read is not as it must be.
        """
        if data.fingerprint not in self._found:
            self._found[data.fingerprint] = self._work_out(data)
        return self._found[data.fingerprint]

    def _work_out(self, data: Stage) -> Forecast:
        if self._store.is_finished(data):
            return Forecast(examples=read_examples(self._store.path(data)))
        params = data.params
        before = {keyword: self.of(each) for keyword, each in data.inputs.items()}
        given = {"teacher": params["teacher"]} if "teacher" in params else {}
        return steps.forecast(params["step"], params["keywords"], before, **data.files, **given)


class Experience:
    """The finished stages of a store, asked about stages that are not finished."""

    def __init__(self, store: Store) -> None:
        """Look into ``store``; one that is not there yet knows nothing."""
        self._store = store
        self.forecasts = Forecasts(store)
        self.passed_over: list[str] = []
        """A line for each stage that cannot be read."""
        self._past: list[_Work] = []
        if not store.root.is_dir():
            return
        found = index.take(store.root)
        self.passed_over += found.passed_over
        identities = {item.fingerprint: item.record["identity"] for item in found.items}
        self._past += [
            _Work(
                name=item.record["identity"]["name"],
                identity=item.record["identity"],
                settings=item.record["provenance"].get("launch", {}),
                trained=identities.get(item.record["identity"]["inputs"].get("model")),
                folder=item.folder,
                seconds=item.seconds,
            )
            for item in found.items
        ]

    def tokens(self, stage: Stage) -> Amount | None:
        """Return the tokens that ``stage`` will train on, all epochs; None if it trains nothing."""
        if stage.name != "sft":
            return None
        work, epochs = _work(stage), stage.params["epochs"]
        alike = [e for e in self._past if e.name == "sft" and e.model == work.model]
        for each in alike:
            if each.rendered == work.rendered and (tokens := self._read(each, _tokens)):
                return Amount(round(epochs * tokens))
        known = [self._read(each, self._tokens_per_byte) for each in alike]
        per_byte = [each for each in known if each] or [1 / USUAL_BYTES_PER_TOKEN]
        found = self.forecasts.of(stage.inputs["data"])
        return Amount(epochs * round(median(per_byte) * _bytes(found.examples)), found.longer)

    def seconds(self, stage: Stage, requests: int | None) -> Amount | None:
        """Return how long ``stage`` will take; None if nothing like it is in the store.

        Args:
            stage: One that is not finished.
            requests: What it still has to ask a model behind an endpoint; None if it asks none.
        """
        kind = _work(stage).kind
        paces = [
            each.seconds / done
            for each in self._past
            if each.kind == kind and (done := self._read(each, _done))
        ]
        amount = self._amount(stage, requests)
        return Amount(median(paces) * amount.value, amount.at_least) if paces else None

    def _amount(self, stage: Stage, requests: int | None) -> Amount:
        """The units of work of an unfinished stage, which `_done` counts of a finished one."""
        if requests is not None:
            return Amount(requests)
        if tokens := self.tokens(stage):
            return tokens
        params = stage.params
        if stage.name in ("outputs", "annotations"):
            answers = len(read_rows(stage.files["reference_outputs"]))
            each = params.get("repeats", 1) * (2 if params.get("orders") == "both" else 1)
            return Amount(min(answers, params["limit"] or answers) * each)
        return Amount(1)

    def _tokens_per_byte(self, training: _Work) -> float:
        data = training.identity["inputs"]["data"][:12]
        folder = next(self._store.root.glob(f"data/*-{data}"), None)
        return 0.0 if folder is None else _tokens(training) / max(_bytes(read_examples(folder)), 1)

    def _read(self, work: _Work, figure: Callable[[_Work], float]) -> float:
        """Return a ``figure`` of a finished stage; 0, and a line about it, if it cannot be read."""
        try:
            return figure(work)
        except (UserError, OSError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            if (line := f"{work.folder}: {error}") not in self.passed_over:
                self.passed_over.append(line)
            return 0.0


def _work(stage: Stage) -> _Work:
    made_from = stage.inputs.get("model")
    trained = made_from.identity if made_from else None
    return _Work(stage.name, stage.identity, stage.settings, trained)


def _done(work: _Work) -> float:
    """The units of work that a finished stage has done; 0 if it tells nothing about pace."""
    assert work.folder is not None
    if (ledger := work.folder / LEDGER).is_file():
        asked = read_json(ledger)
        return float(asked["requests"] - asked["from_cache"])
    if work.name == "sft":
        return float(work.identity["params"]["epochs"] * _tokens(work))
    if work.name == "outputs":
        return float(len(read_jsonl(work.folder / "answers.jsonl")))
    if work.name == "annotations":
        board = read_json(work.folder / "leaderboard.json")
        return float(board["n_total"] + board["n_failed"])
    return 1.0


def _tokens(training: _Work) -> float:
    """The tokens of an epoch of a finished training."""
    assert training.folder is not None
    return float(read_json(training.folder / "summary.json")["tokens"])


def _bytes(examples: Sequence[Example]) -> int:
    return sum(
        len("".join([e.system, *chain(*e.history), e.instruction, e.input, e.output]).encode())
        for e in examples
    )
