"""What stages are given, out of the configuration: models, files, endpoints, prices.

Files and models are found here, as they are named (`sources`), and held to the hash that the
configuration gives them; nothing is read by a stage that was not found first.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from mini_lima import models
from mini_lima.chat import Budget, Chat, ChatModel, Connection, Endpoint, Prices, read_cassette
from mini_lima.config import sources
from mini_lima.config.arms import Step
from mini_lima.config.checks import optimizer_place
from mini_lima.config.schema import (
    AnnotatorConfig,
    ChatConfig,
    Config,
    EvaluationConfig,
    Weights,
)
from mini_lima.errors import UserError, listed
from mini_lima.evaluation import metrics
from mini_lima.evaluation.pairs import digest_of_answers, read_answers, read_rows
from mini_lima.models import model_files
from mini_lima.models.language_model import is_gguf
from mini_lima.sft import optimizers
from mini_lima.sft.optimizers import Choice
from mini_lima.store.stages import Stage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model as stages take it: the keywords that name it, by how they enter the identity."""

    params: Mapping[str, Any] = field(default_factory=lambda: {"revision": None, "init_seed": None})
    files: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, Stage] = field(default_factory=dict)


def base_model(config: Config) -> Model:
    """The model before training: a folder here, one commit on the hub, or what a GGUF file holds.

    Raises:
        UserError: it cannot be had.
    """
    found = sources.model(config.model.source, config.model.revision)
    init_seed = config.model.init_seed if config.model.weights is Weights.random else None
    if isinstance(found, sources.HubModel):
        return Model({"model": found.id, "revision": found.commit, "init_seed": init_seed})
    params = {"revision": None, "init_seed": init_seed}
    if is_gguf(found):
        unpacked = Stage(
            name="model", label=config.model.name, function=models.unpack, files={"gguf": found}
        )
        return Model(params, inputs={"model": unpacked})
    return Model(params, files={"model": found})


def check_model_files(config: Config) -> None:
    """Look into the folder of the model before training, without torch.

    Raises:
        UserError: files of it are not what they must be.
    """
    found = sources.model(config.model.source, config.model.revision)
    if isinstance(found, Path) and not is_gguf(found):
        pretrained = config.model.weights is Weights.pretrained
        if faults := list(model_files.faults(found, with_weights=pretrained)):
            raise UserError("; ".join(listed(faults)))


def file(keyword: str, source: str | None) -> dict[str, Path]:
    """A file that need not be configured, as a stage takes it."""
    return {} if source is None else {keyword: sources.local_file(source)}


def references(config: Config) -> Path:
    """The file of the instructions and the answers to compare with.

    Raises:
        UserError: it cannot be had, is not the one that is meant, or is not fit for the metrics and
            judges that are configured.
    """
    path = _evaluation_file(config, "reference_outputs")
    if config.evaluation.reference_answers_sha256 is not None:
        _check_answers(path, config.evaluation.reference_answers_sha256)
    measured = {each.function: None for each in metrics.resolve(config.metrics).values()}
    _check_rows(path, tuple(measured), bool(config.judges()))
    return path


@cache
def _check_rows(path: Path, functions: tuple[str, ...], judged: bool) -> None:
    rows = read_rows(path)
    metrics.check_fields(path, rows, functions)
    lacking = [number for number, row in enumerate(rows, start=1) if row.output is None]
    if lacking and judged:
        raise UserError(
            f"{path}, row {lacking[0]}: there is no output ({len(lacking)} of {len(rows)} rows have"
            " none), and a judge compares with one: measure by metrics alone, with annotator=none"
        )


def difficulties(config: Config) -> dict[str, Path]:
    """The file for the length-controlled win rate, as a stage takes it; none if none is named.

    Raises:
        UserError: as for `references`.
    """
    if config.evaluation.length_difficulties is None:
        return {}
    return {"difficulties": _evaluation_file(config, "length_difficulties")}


def _evaluation_file(config: Config, key: str) -> Path:
    """The file that ``evaluation.<key>`` names, held to its sha256."""
    given = config.evaluation
    with _set_by(f"evaluation.{key}"):
        return sources.checked_file(
            getattr(given, key),
            getattr(given, f"{key}_sha256"),
            downloads(config),
            given.hub_revision,
        )


@cache
def _check_answers(path: Path, sha256: str) -> None:
    found = digest_of_answers(read_answers(path, unnamed="reference"))
    if found != sha256:
        raise UserError(
            f"{path}: its answers have the sha256 {found}, and not {sha256}: it is not the file"
            " that evaluation.reference_answers_sha256 means; correct the one or the other"
        )


def optimizer_and_scheduler(config: Config) -> tuple[Choice, Choice]:
    """What SFT updates the weights with; what is not DeepSpeed's is tried.

    Raises:
        UserError: as for `mini_lima.sft.optimizers.chosen`.
    """
    return optimizers.chosen(config.optimizer, config.scheduler, optimizer_place(config))


def server(evaluation: EvaluationConfig) -> dict[str, Any]:
    """How a server of models is started or reached."""
    engine = evaluation.engine
    connection = ("api_key_env", "concurrency", "timeout", "total_timeout", "max_retries")
    return {
        "command": engine.command,
        "base_url": engine.base_url,
        "connection": {key: getattr(engine, key) for key in connection}
        | {"most_failed": evaluation.most_failed},
    }


def interval(config: Config) -> dict[str, Any]:
    """How an interval is made."""
    return {
        "bootstrap_samples": config.evaluation.bootstrap_samples,
        "confidence": config.evaluation.confidence,
    }


def seeds(config: Config, step: Step) -> Path:
    """The file of the seed tasks that ``step`` reads.

    Raises:
        UserError: as for `references`.
    """
    source, sha256 = step.seeds
    assert source is not None, "arms.last_step refuses a step without the seeds it reads"
    with _set_by("data.seeds"):
        return sources.checked_file(source, sha256, downloads(config))


@contextmanager
def _set_by(key: str) -> Iterator[None]:
    """Say of a file that cannot be had which ``key`` asked for it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}={error}") from error


def downloads(config: Config) -> Path:
    """The folder that keeps what was fetched."""
    return Path(config.store) / "downloads"


def chat(config: Config, given: ChatConfig) -> Chat:
    """A model behind an endpoint, with the cache, the prices and the budget of its calls.

    Raises:
        UserError: its cassette cannot be had.
    """
    sampling = {each.name: getattr(given, each.name) for each in fields(ChatModel)}
    connection = {each.name: getattr(given, each.name) for each in fields(Connection)}
    if not given.cassette and os.environ.get("OPENAI_BASE_URL", given.base_url) != given.base_url:
        _not_redirected()
    prices = given.prices if given.prices.are_known else config.prices.get(given.model, Prices())
    return Chat(
        model=ChatModel(**sampling),
        endpoint=Endpoint(
            given.endpoint,
            given.base_url,
            cassette=sources.local_file(given.cassette) if given.cassette else None,
            **connection,
        ),
        cache=Path(config.store) / "responses.sqlite",
        prices=prices if prices.are_known else None,
        budget=_budget(config.budget_usd),
    )


def recording(source: str) -> Path:
    """The file of recorded answers, read through.

    Raises:
        UserError: it cannot be had, or is no recording.
    """
    path = sources.local_file(source)
    read_cassette(path)
    return path


def judge_chat(config: Config, key: str, given: AnnotatorConfig) -> Chat | None:
    """The model that the judge under ``key`` asks; None for a rule, which asks none.

    Raises:
        UserError: as for `chat`.
    """
    if given.chat and not given.asks_model:
        _unused(f"{key}.chat")
    return chat(config, given.chat) if given.chat and given.asks_model else None


@cache
def _not_redirected() -> None:
    log.warning(
        "OPENAI_BASE_URL is set and not used: teacher.base_url and annotator.chat.base_url say"
        " who is asked"
    )


@cache
def _unused(key: str) -> None:
    log.warning("%s is not used: the judge is a rule, which asks no model", key)


@cache
def _budget(limit_usd: float | None) -> Budget:
    """One for the whole process: teacher, annotator and all cells of a sweep spend from it."""
    return Budget() if limit_usd is None else Budget(limit_usd)
