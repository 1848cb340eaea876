"""The experiment as a graph of stages: the page from which the rest can be understood.

    seed tasks ─ teacher ─→ naive data set ─ teacher ─→ improved data set
                                    └───────┬───────────────┘ one of them
    base model ──────────────────────────→ SFT
        └─→ model outputs (baseline)        └─→ model outputs (SFT)
                 └─→ annotations                     └─→ annotations
                          └────────────┬──────────────────┘
                                    result ─→ tracking

`params` is what changes a stage's output and `files` are the files it reads: they, the stage's
version and its inputs are its identity. `settings` say how the work is done and change nothing.
Cells of a grid share every stage whose identity they share.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from mini_lima import evaluation, sft, sources
from mini_lima.chat import Budget, Chat, ChatModel, Endpoint, Prices
from mini_lima.config.schema import (
    AdapterMethod,
    AnnotatorConfig,
    ChatConfig,
    Config,
    Engine,
    EngineConfig,
    Method,
    PricesConfig,
    TrackingMode,
    Weights,
)
from mini_lima.data import filters, improved, naive
from mini_lima.errors import UserError
from mini_lima.evaluation import annotation, result
from mini_lima.evaluation.pairs import digest_of_answers, read_answers
from mini_lima.report import errand, tracking
from mini_lima.stages import Stage


@dataclass(frozen=True)
class Cell:
    """The stages of one cell; building ``last`` builds them all."""

    result: Stage
    last: Stage


def build_cell(config: Config, resolved: Mapping[str, Any]) -> Cell:
    """Lay out the stages of ``config``; nothing runs, but the model's commit is looked up.

    Args:
        config: A checked configuration.
        resolved: The same as plain data, for the tracker.

    Raises:
        UserError: a file or model that does not exist.
    """
    base_model = _base_model(config)
    data_set = _data_set(config)
    tuned = _sft(config, base_model, data_set)

    template = config.model.baseline_template or config.model.chat_template
    asked = replace(base_model, files={**base_model.files, **_file("template", template)})
    baseline_outputs = _outputs(config, asked, label=f"{config.model.name}-baseline")
    tuned_outputs = _outputs(config, _Model(inputs={"model": tuned}), label=tuned.label)

    others = {
        f"{which} by {name}": _annotations(config, judge, outputs)
        for name, judge in config.other_annotators.items()
        for which, outputs in (("baseline", baseline_outputs), ("sft", tuned_outputs))
    }
    found = _result(
        config,
        label=tuned.label,
        data=data_set,
        sft=tuned,
        baseline_outputs=baseline_outputs,
        baseline_annotations=_annotations(config, config.annotator, baseline_outputs),
        sft_outputs=tuned_outputs,
        sft_annotations=_annotations(config, config.annotator, tuned_outputs),
        **others,
    )
    if config.tracking.mode is TrackingMode.disabled:
        return Cell(result=found, last=found)
    return Cell(result=found, last=_tracking(config, resolved, tuned, found))


def lookups(config: Config) -> list[Callable[[], object]]:
    """Return the calls by which `build_cell` finds files and models, each on its own."""
    files = [chat.cassette for chat in config.chats().values() if chat.cassette]
    files += filter(None, [config.model.chat_template, config.model.baseline_template])
    return [
        partial(sources.model, config.model.source, config.model.revision),
        partial(_seeds, config),
        partial(_references, config),
        partial(_difficulties, config),
        *(partial(sources.local_file, file) for file in files),
    ]


def _data_set(config: Config) -> Stage:
    teacher = _chat(config, config.teacher)
    naive_set = Stage(
        name="data",
        label="naive",
        function=naive.build,
        params={
            "teacher": teacher,
            "shuffle_seed": config.data.shuffle_seed,
            "pairs_per_prompt": config.data.pairs_per_prompt,
            "max_rounds": config.data.max_rounds,
            "max_idle_rounds": config.data.max_idle_rounds,
            "max_new_tasks": config.data.max_new_tasks,
            "instances_per_seed": config.data.instances_per_seed,
            "instances_per_new_task": config.data.instances_per_new_task,
            "filters": filters.chosen(filters.Filters, config.data.filters),
        },
        files={"seeds": _seeds(config)},
    )
    if config.data.method is Method.naive:
        return naive_set
    assert config.data.worked_example is not None
    worked_example = improved.WorkedExample(**asdict(config.data.worked_example))
    return Stage(
        name="data",
        label="improved",
        function=improved.build,
        params={
            "teacher": teacher,
            "worked_example": worked_example,
            "filters": filters.chosen(filters.RewritingFilters, config.data.filters),
        },
        inputs={"naive": naive_set},
    )


def _sft(config: Config, base_model: "_Model", data_set: Stage) -> Stage:
    recipe = asdict(config.sft)
    checkpoint_steps = recipe.pop("checkpoint_steps")
    adapter = None if config.adapter.method is AdapterMethod.none else asdict(config.adapter)
    return Stage(
        name="sft",
        label=f"{config.model.name}-{config.data.method}",
        function=sft.train,
        params={
            **base_model.params,
            **recipe,
            "adapter": adapter,
            "micro_batch_size_per_gpu": config.model.micro_batch_size_per_gpu,
            "optimizer": asdict(config.optimizer),
            "deepspeed": asdict(config.deepspeed),
        },
        inputs={"data": data_set},
        files={**base_model.files, **_file("chat_template", config.model.chat_template)},
        settings={**asdict(config.launch), "checkpoint_steps": checkpoint_steps},
        version=3,
    )


def _outputs(config: Config, model: "_Model", *, label: str) -> Stage:
    engine = config.evaluation.engine
    function: Callable[..., None] = evaluation.generate
    how: dict[str, Any] = {"precision": config.sft.precision}
    settings = {key: getattr(config.launch, key) for key in ("device", "processes", "threads")}
    settings["batch_size"] = config.evaluation.batch_size
    if engine.name is Engine.openai:
        function, how, settings = (
            evaluation.generate_by_server,
            {"dialect": engine.dialect},
            _server(engine),
        )
    decoding = ("limit", "max_new_tokens", "temperature", "seed")
    return Stage(
        name="outputs",
        label=label,
        function=function,
        params={
            **model.params,
            **{key: getattr(config.evaluation, key) for key in decoding},
            **how,
            "generator": label,
        },
        inputs=model.inputs,
        files={**model.files, "reference_outputs": _references(config)},
        settings=settings,
        version=2,
    )


def _annotations(config: Config, judge: AnnotatorConfig, outputs: Stage) -> Stage:
    judging = ("orders", "repeats", "reading_attempts", "most_failed", "seed")
    return Stage(
        name="annotations",
        label=f"{outputs.label}-{judge.name}",
        function=annotation.annotate,
        params={
            "annotator": judge.name,
            "chat": _chat(config, judge.chat) if judge.chat else None,
            **{key: getattr(judge, key) for key in judging},
            "limit": config.evaluation.limit,
            **_interval(config),
        },
        inputs={"model_outputs": outputs},
        files={
            "reference_outputs": _references(config),
            **_difficulties(config),
        },
        version=3,
    )


def _result(config: Config, *, label: str, **inputs: Stage) -> Stage:
    return Stage(
        name="result",
        label=label,
        function=result.summarise,
        params={
            "model": config.model.name,
            "method": config.data.method,
            "seed": config.annotator.seed,
            **_interval(config),
        },
        inputs=inputs,
        version=2,
    )


def _tracking(config: Config, resolved: Mapping[str, Any], tuned: Stage, found: Stage) -> Stage:
    given = asdict(config.tracking)
    artifacts = given.pop("artifacts")
    identity = tracking.run_id(given["project"], given["group"], tuned.label, found.fingerprint)
    name = f"{tuned.label}, seed {config.sft.seed}" if config.sft.seed else tuned.label
    evaluated = ("outputs", "annotations")
    shown = ["data", *(f"{which}_{what}" for which in ("baseline", "sft") for what in evaluated)]
    return Stage(
        name="tracking",
        label=tuned.label,
        function=tracking.track,
        params={
            "run": errand.Run(**given, name=name, id=identity),
            "artifacts": artifacts,
        },
        inputs={"sft": tuned, "result": found, **{key: found.inputs[key] for key in shown}},
        settings={"config": resolved},
        version=3,
    )


@dataclass(frozen=True)
class _Model:
    """A model as stages take it: the keywords that name it, by how they enter the identity."""

    params: Mapping[str, Any] = field(default_factory=lambda: {"revision": None, "init_seed": None})
    files: Mapping[str, Path] = field(default_factory=dict)
    inputs: Mapping[str, Stage] = field(default_factory=dict)


def _base_model(config: Config) -> _Model:
    found = sources.model(config.model.source, config.model.revision)
    init_seed = config.model.init_seed if config.model.weights is Weights.random else None
    if isinstance(found, sources.HubModel):
        return _Model({"model": found.id, "revision": found.commit, "init_seed": init_seed})
    return _Model({"revision": None, "init_seed": init_seed}, files={"model": found})


def _file(keyword: str, source: str | None) -> dict[str, Path]:
    """A file that need not be configured, as a stage takes it."""
    return {} if source is None else {keyword: sources.local_file(source)}


def _references(config: Config) -> Path:
    given = config.evaluation
    with _set_by("evaluation.reference_outputs"):
        path = sources.checked_file(
            given.reference_outputs,
            given.reference_outputs_sha256,
            _downloads(config),
            given.hub_revision,
        )
    if given.reference_answers_sha256 is not None:
        _check_answers(path, given.reference_answers_sha256)
    return path


def _difficulties(config: Config) -> dict[str, Path]:
    given = config.evaluation
    if given.length_difficulties is None:
        return {}
    with _set_by("evaluation.length_difficulties"):
        path = sources.checked_file(
            given.length_difficulties,
            given.length_difficulties_sha256,
            _downloads(config),
            given.hub_revision,
        )
    return {"difficulties": path}


@cache
def _check_answers(path: Path, sha256: str) -> None:
    found = digest_of_answers(read_answers(path, unnamed="reference"))
    if found != sha256:
        raise UserError(
            f"{path}: its answers have the sha256 {found}, and not {sha256}: it is not the file"
            " that evaluation.reference_answers_sha256 means; correct the one or the other"
        )


def _server(engine: EngineConfig) -> dict[str, Any]:
    connection = ("api_key_env", "concurrency", "timeout", "total_timeout", "max_retries")
    return {
        "command": engine.command,
        "base_url": engine.base_url,
        "connection": {key: getattr(engine, key) for key in connection},
    }


def _interval(config: Config) -> dict[str, Any]:
    return {
        "bootstrap_samples": config.evaluation.bootstrap_samples,
        "confidence": config.evaluation.confidence,
    }


def _seeds(config: Config) -> Path:
    with _set_by("data.seeds"):
        return sources.checked_file(config.data.seeds, config.data.seeds_sha256, _downloads(config))


@contextmanager
def _set_by(key: str) -> Iterator[None]:
    """Say of a file that cannot be had which ``key`` asked for it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{key}={error}") from error


def _downloads(config: Config) -> Path:
    return Path(config.store) / "downloads"


def _chat(config: Config, chat: ChatConfig) -> Chat:
    sampling = ("model", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed")
    connection = (
        *("base_url", "api_key_env", "concurrency", "timeout", "total_timeout", "max_retries"),
        *("requests_per_minute", "tokens_per_minute", "mode"),
    )
    return Chat(
        model=ChatModel(**{key: getattr(chat, key) for key in sampling}),
        endpoint=Endpoint(
            name=chat.endpoint,
            cassette=sources.local_file(chat.cassette) if chat.cassette else None,
            **{key: getattr(chat, key) for key in connection},
        ),
        cache=Path(config.store) / "responses.sqlite",
        prices=_prices(chat.prices) or _prices(config.prices.get(chat.model)),
        budget=_budget(config.budget_usd),
    )


def _prices(given: PricesConfig | None) -> Prices | None:
    return None if given is None or given.input is None else Prices(**asdict(given))


@cache
def _budget(limit_usd: float | None) -> Budget:
    """One for the whole process: teacher, annotator and all cells of a sweep spend from it."""
    return Budget() if limit_usd is None else Budget(limit_usd)
