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

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mini_lima import evaluation, sft, sources
from mini_lima.chat import ChatModel, Endpoint
from mini_lima.config.schema import ChatConfig, Config, Method, TrackingMode, Weights
from mini_lima.data import improved, naive
from mini_lima.evaluation import annotation
from mini_lima.report import result, tracking
from mini_lima.stages import Stage

SAMPLING = ("model", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed")
CONNECTION = ("base_url", "api_key_env", "concurrency", "timeout", "max_retries")


@dataclass(frozen=True)
class Cell:
    """The stages of one cell; building ``last`` builds them all."""

    data: Stage
    sft: Stage
    result: Stage
    last: Stage


def build_cell(config: Config, resolved: dict[str, Any]) -> Cell:
    """Lay out the stages of ``config``; nothing runs, but the model's commit is looked up.

    Args:
        config: A checked configuration.
        resolved: The same as plain data, for the tracker.

    Raises:
        UserError: a file or model that does not exist.
    """
    base = _base_model(config)
    references = sources.local_file(config.evaluation.reference_outputs)
    cache = Path(config.store) / "responses.sqlite"
    workers = asdict(config.launch)

    def outputs_of(model: dict[str, Any], label: str) -> Stage:
        sampling = asdict(config.evaluation)
        for not_for_generation in ("reference_outputs", "bootstrap_samples", "confidence"):
            del sampling[not_for_generation]
        return Stage(
            name="outputs",
            label=label,
            function=evaluation.generate,
            params={
                **sampling,
                "precision": config.sft.precision,
                "generator": label,
                **model["params"],
            },
            inputs=model["inputs"],
            files={"reference_outputs": references} | model["files"],
            settings=workers,
        )

    def annotations_of(outputs: Stage) -> Stage:
        chat = config.annotator.chat
        return Stage(
            name="annotations",
            label=f"{outputs.label}-{config.annotator.name}",
            function=annotation.annotate,
            params={
                "annotator": config.annotator.name,
                "model": _chat_model(chat) if chat else None,
                "endpoint": _endpoint(chat) if chat else None,
                "seed": config.annotator.seed,
                "bootstrap_samples": config.evaluation.bootstrap_samples,
                "confidence": config.evaluation.confidence,
                "limit": config.evaluation.limit,
            },
            inputs={"model_outputs": outputs},
            files={"reference_outputs": references},
            settings={"cache": cache},
        )

    data = _data(config, cache)
    tuned = Stage(
        name="sft",
        label=f"{config.model.name}-{config.data.method}",
        function=sft.train,
        params={
            **asdict(config.sft),
            "optimizer": asdict(config.optimizer),
            "deepspeed": asdict(config.deepspeed),
            "micro_batch_size_per_gpu": config.model.micro_batch_size_per_gpu,
            **base["params"],
        },
        inputs={"data": data},
        files=base["files"],
        settings=workers,
    )
    tuned_model = {
        "params": {"revision": None, "init_seed": None},
        "inputs": {"model": tuned},
        "files": {},
    }
    baseline_outputs = outputs_of(base, f"{config.model.name}-baseline")
    tuned_outputs = outputs_of(tuned_model, tuned.label)
    results = Stage(
        name="result",
        label=tuned.label,
        function=result.summarise,
        params={
            "model": config.model.name,
            "method": config.data.method,
            "seed": config.annotator.seed,
            "bootstrap_samples": config.evaluation.bootstrap_samples,
            "confidence": config.evaluation.confidence,
        },
        inputs={
            "data": data,
            "sft": tuned,
            "baseline_outputs": baseline_outputs,
            "baseline_annotations": annotations_of(baseline_outputs),
            "sft_outputs": tuned_outputs,
            "sft_annotations": annotations_of(tuned_outputs),
        },
    )
    return Cell(data=data, sft=tuned, result=results, last=_tracked(config, resolved, tuned, results))


def lookups(config: Config) -> list[Callable[[], object]]:
    """Return the calls by which `build_cell` finds files and models, each on its own."""
    files = [config.data.seeds, config.evaluation.reference_outputs]
    files += [c.cassette for c in (config.teacher, config.annotator.chat) if c and c.cassette]
    return [
        partial(sources.model, config.model.source, config.model.revision),
        *(partial(sources.local_file, file) for file in files),
    ]


def _data(config: Config, cache: Path) -> Stage:
    teacher = {"teacher": _chat_model(config.teacher), "endpoint": _endpoint(config.teacher)}
    naive_set = Stage(
        name="data",
        label="naive",
        function=naive.build,
        params={
            **teacher,
            "shuffle_seed": config.data.shuffle_seed,
            "pairs_per_prompt": config.data.pairs_per_prompt,
            "max_rounds": config.data.max_rounds,
        },
        files={"seeds": sources.local_file(config.data.seeds)},
        settings={"cache": cache},
    )
    if config.data.method is Method.naive:
        return naive_set
    assert config.data.worked_example is not None
    worked_example = improved.WorkedExample(**asdict(config.data.worked_example))
    return Stage(
        name="data",
        label="improved",
        function=improved.build,
        params={**teacher, "worked_example": worked_example},
        inputs={"naive": naive_set},
        settings={"cache": cache},
    )


def _base_model(config: Config) -> dict[str, Any]:
    """The keywords that name the untuned model, sorted by how they enter a stage's identity."""
    found = sources.model(config.model.source, config.model.revision)
    random = config.model.weights is Weights.random
    params: dict[str, Any] = {"init_seed": config.model.init_seed if random else None}
    if isinstance(found, sources.HubModel):
        named = {"model": found.id, "revision": found.commit}
        return {"params": params | named, "inputs": {}, "files": {}}
    return {"params": params | {"revision": None}, "inputs": {}, "files": {"model": found}}


def _tracked(config: Config, resolved: dict[str, Any], tuned: Stage, results: Stage) -> Stage:
    if config.tracking.mode is TrackingMode.disabled:
        return results
    return Stage(
        name="tracking",
        label=tuned.label,
        function=tracking.track,
        params={**asdict(config.tracking), "name": tuned.label},
        inputs={"sft": tuned, "result": results},
        settings={"config": resolved},
    )


def _chat_model(chat: ChatConfig) -> ChatModel:
    return ChatModel(**{key: getattr(chat, key) for key in SAMPLING})


def _endpoint(chat: ChatConfig) -> Endpoint:
    return Endpoint(
        name=chat.endpoint,
        cassette=sources.local_file(chat.cassette) if chat.cassette else None,
        **{key: getattr(chat, key) for key in CONNECTION},
    )
