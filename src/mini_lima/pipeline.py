"""The experiment as a graph of stages: the page from which the rest can be understood.

    seed tasks, teacher, files ─→ the arm's steps, one after the other ─→ data set
                                            ┌────────────────────────────────┘
    base model ──────────────────────────→ SFT
        └─→ model outputs (baseline)        └─→ model outputs (SFT)
                 ├─→ metrics                         ├─→ metrics
                 └─→ annotations                     └─→ annotations
                          └────────────┬──────────────────┘
                                    result ─→ tracking

`params` is what changes a stage's output and `files` are the files it reads: they, the stage's
version and its inputs are its identity. `settings` say how the work is done and change nothing.
Cells of a grid share every stage whose identity they share.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from mini_lima import evaluation, sft
from mini_lima.config import arms, judges, resolve, sources
from mini_lima.config.schema import (
    AdapterMethod,
    Config,
    Engine,
    TrackingMode,
    Until,
)
from mini_lima.data import contamination, run_step
from mini_lima.evaluation import annotation, metrics, result
from mini_lima.report import tracking, wandb_run
from mini_lima.store.stages import Stage


@dataclass(frozen=True)
class Cell:
    """The stages of one cell.

    Attributes:
        last: Building them builds all.
        parts: What the result is made of, by keyword, as far as the cell goes.
        result: None of a cell that stops before it (``until``).
        judges: The keys of the judges; `result.verdicts_of` names their parts.
    """

    last: tuple[Stage, ...]
    parts: Mapping[str, Stage]
    result: Stage | None = None
    judges: tuple[str, ...] = ()


def build_cell(config: Config, resolved: Mapping[str, Any]) -> Cell:
    """Lay out the stages of ``config``; nothing runs, but the model's commit is looked up.

    Args:
        config: A checked configuration.
        resolved: The same as plain data, for the tracker.

    Raises:
        UserError: a file or model that does not exist.
    """
    data_set = _data_set(config, arms.last_step(asdict(config.data)))
    if config.until is Until.data:
        return Cell((data_set,), {"data": data_set})

    base_model = resolve.base_model(config)
    tuned = _sft(config, base_model, data_set)
    parts = {"data": data_set, "sft": tuned}
    if config.until is Until.sft:
        return Cell((tuned,), parts)

    template = config.model.baseline_template or config.model.chat_template
    asked = replace(
        base_model,
        files={**base_model.files, **resolve.file("template", template)},
        params={**base_model.params, **({} if config.model.baseline_template else _kwargs(config))},
    )
    outputs = {
        "baseline": _outputs(config, asked, label=f"{config.model.name}-baseline"),
        "sft": _outputs(config, resolve.Model(inputs={"model": tuned}), label=tuned.label),
    }
    parts |= {f"{which}_outputs": each for which, each in outputs.items()}
    parts |= {f"{which}_metrics": _metrics(config, each) for which, each in outputs.items()}
    if config.until is Until.outputs:
        return Cell((parts["baseline_metrics"], parts["sft_metrics"]), parts)

    parts["contamination"] = _contamination(config, data_set)
    keys = tuple(config.judges())
    parts |= {
        result.verdicts_of(which, key): _annotations(config, key, outputs[which])
        for key in keys
        for which in result.BOTH
    }
    found = _result(config, label=tuned.label, **parts)
    last = found
    if config.tracking.mode is not TrackingMode.disabled:
        last = _tracking(config, resolved, tuned, found)
    return Cell((last,), parts, found, keys)


def lookups(config: Config) -> list[Callable[[], object]]:
    """Return the calls by which `build_cell` finds files and models, each on its own."""
    last = arms.last_step(asdict(config.data))
    downloads = resolve.downloads(config)
    steps = last.all().values()
    files = [source for step in steps for source in step.files.values()]
    files += filter(None, [config.model.chat_template, config.model.baseline_template])
    recordings = [
        chat.cassette
        for who, chat in config.chats().items()
        if chat.cassette and (who != "teacher" or last.wants("teacher"))
    ]
    found: list[Callable[[], object]] = [
        *(partial(resolve.seeds, config, step) for step in steps if "seeds" in step.target.wants),
        *(partial(sources.data_file, file, downloads) for file in dict.fromkeys(files)),
        *(partial(resolve.recording, source) for source in dict.fromkeys(recordings)),
    ]
    if config.until is not Until.data:
        found += [
            partial(resolve.check_model_files, config),
            partial(resolve.optimizer_and_scheduler, config),
        ]
    if config.until not in (Until.data, Until.sft) or last.wants("evaluation_set"):
        found.append(partial(resolve.references, config))
    if config.until is None:
        found.append(partial(resolve.difficulties, config))
    return found


def _data_set(config: Config, step: arms.Step) -> Stage:
    """The data set that ``step`` makes; arms that begin with the same steps share those."""
    wants = step.target.wants
    inputs = {keyword: _data_set(config, before) for keyword, before in step.inputs.items()}
    files = {
        keyword: sources.data_file(source, resolve.downloads(config))
        for keyword, source in step.files.items()
    }
    if "seeds" in wants:
        files["seeds"] = resolve.seeds(config, step)
    if "evaluation_set" in wants:
        files["evaluation_set"] = resolve.references(config)
    params: dict[str, Any] = {
        "step": step.target.name,
        "name": step.name,
        "keywords": dict(step.target.keywords),
        "code": step.target.code,
        "inputs": list(inputs),
    }
    if "teacher" in wants:
        params["teacher"] = resolve.chat(config, config.teacher)
    return Stage(
        name="data",
        label=step.name,
        function=run_step,
        params=params,
        inputs=inputs,
        files=files,
        settings={"least_used": config.data.least_used},
    )


def _contamination(config: Config, data_set: Stage) -> Stage:
    """Whether the data set holds instructions of the evaluation set; every arm is checked."""
    return Stage(
        name="contamination",
        label=data_set.label,
        function=contamination,
        inputs={"data": data_set},
        files={"evaluation_set": resolve.references(config)},
        version=2,
    )


def _sft(config: Config, base_model: resolve.Model, data_set: Stage) -> Stage:
    recipe = asdict(config.sft)
    checkpoint_steps = recipe.pop("checkpoint_steps")
    optimizer, scheduler = resolve.optimizer_and_scheduler(config)
    adapter = None if config.adapter.method is AdapterMethod.none else asdict(config.adapter)
    return Stage(
        name="sft",
        label=f"{config.model.name}-{config.arm}",
        function=sft.train,
        params={
            **base_model.params,
            **_kwargs(config),
            **recipe,
            "adapter": adapter,
            "micro_batch_size_per_gpu": config.model.micro_batch_size_per_gpu,
            "optimizer": asdict(optimizer),
            "scheduler": asdict(scheduler),
            "deepspeed": asdict(config.deepspeed),
        },
        inputs={**base_model.inputs, "data": data_set},
        files={**base_model.files, **resolve.file("chat_template", config.model.chat_template)},
        settings={**asdict(config.launch), "checkpoint_steps": checkpoint_steps},
        version=4,
    )


def _kwargs(config: Config) -> dict[str, Any]:
    """What the model's chat template is called with; the trained model's has it in itself."""
    given = config.model.template_kwargs
    return {"template_kwargs": given} if given else {}


def _outputs(config: Config, model: resolve.Model, *, label: str) -> Stage:
    engine = config.evaluation.engine
    function: Callable[..., None] = evaluation.generate
    how: dict[str, Any] = {"precision": config.sft.precision}
    settings = {key: getattr(config.launch, key) for key in ("device", "processes", "threads")}
    settings["batch_size"] = config.evaluation.batch_size
    settings["most_failed"] = config.evaluation.most_failed
    if engine.name is Engine.openai:
        function, how, settings = (
            evaluation.generate_by_server,
            {"dialect": engine.dialect},
            resolve.server(config.evaluation),
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
        files={**model.files, "reference_outputs": resolve.references(config)},
        settings=settings,
        version=4,
    )


def _metrics(config: Config, outputs: Stage) -> Stage:
    return Stage(
        name="metrics",
        label=outputs.label,
        function=evaluation.measure,
        params={
            "limit": config.evaluation.limit,
            "max_new_tokens": config.evaluation.max_new_tokens,
            "metrics": metrics.resolve(config.metrics),
        },
        inputs={"model_outputs": outputs},
        files={"reference_outputs": resolve.references(config)},
        version=2,
    )


def _annotations(config: Config, key: str, outputs: Stage) -> Stage:
    given = config.judges()[key]
    judge = judges.judge(key, given)
    chat = resolve.judge_chat(config, key, given)
    by = judge.choice.name if chat is None else f"{chat.model.model}-{judge.choice.name}"
    judging = ("orders", "repeats", "reading_attempts", "most_failed", "seed")
    return Stage(
        name="annotations",
        label=f"{outputs.label}-{by}",
        function=annotation.annotate,
        params={
            "judge": judge.choice,
            "chat": chat,
            **{setting: getattr(given, setting) for setting in judging},
            "limit": config.evaluation.limit,
            **resolve.interval(config),
        },
        inputs={"model_outputs": outputs},
        files={
            "reference_outputs": resolve.references(config),
            **({"prompt": judge.prompt} if judge.prompt else {}),
            **resolve.difficulties(config),
        },
        version=4,
    )


def _result(config: Config, *, label: str, **inputs: Stage) -> Stage:
    return Stage(
        name="result",
        label=label,
        function=result.summarise,
        params={
            "model": config.model.name,
            "arm": config.arm,
            "training_seed": config.sft.seed,
            "judges": list(config.judges()),
            "seed": config.annotator.seed if config.annotator else 0,
            **resolve.interval(config),
        },
        inputs=inputs,
        version=3,
    )


def _tracking(config: Config, resolved: Mapping[str, Any], tuned: Stage, found: Stage) -> Stage:
    given = asdict(config.tracking)
    artifacts = given.pop("artifacts")
    identity = tracking.run_id(given["project"], given["group"], tuned.label, found.fingerprint)
    name = f"{tuned.label}, seed {config.sft.seed}" if config.sft.seed else tuned.label
    shown = ["data", *(f"{each}_{what}" for each in result.BOTH for what in ("outputs", "metrics"))]
    inputs = {key: found.inputs[key] for key in shown}
    if config.annotator is not None:
        inputs |= {
            f"{which}_annotations": found.inputs[result.verdicts_of(which, result.FIRST)]
            for which in result.BOTH
        }
    return Stage(
        name="tracking",
        label=tuned.label,
        function=tracking.track,
        params={
            "run": wandb_run.Run(**given, name=name, id=identity),
            "artifacts": artifacts,
        },
        inputs={"sft": tuned, "result": found, **inputs},
        settings={"config": resolved},
        version=4,
        unchecked=("wandb",),  # `wandb sync` writes there
    )
