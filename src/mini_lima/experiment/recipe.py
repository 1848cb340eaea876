"""What a cell was made by, as values: which cells are alike, and what sets the others apart.

Taken from the stages, whose parameters are all that changes what they make. So ``1e-4`` and
``0.0001`` are the same, and what changes no result, such as a batch size of generation, is not
here at all. Names are the configuration's where there is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mini_lima.evaluation.result import FIRST, verdicts_of
from mini_lima.store.stages import Stage

OF_THE_MODEL = (
    "model",
    "revision",
    "init_seed",
    "micro_batch_size_per_gpu",
    "chat_template",
    "template_kwargs",
)
OF_THE_SET = ("limit", "bootstrap_samples", "confidence", "reference_outputs", "difficulties")
OF_THE_OUTPUTS = ("generator", "model", "revision", "init_seed")
"""Which answers they are, and not how they were made."""
NAMED = {"model.model": "model.source", "evaluation.difficulties": "evaluation.length_difficulties"}
DIGITS = 12
"""Of the hash that stands for a file."""

Recipe = dict[str, Any]


def recipe_of(inputs: Mapping[str, Stage], judges: Sequence[str] = ()) -> Recipe:
    """Return what changes results beside the data and the training seed, by dotted name.

    Args:
        inputs: Of the stage that summarises a cell, as far as there are any.
        judges: The keys of its judges.
    """
    recipe: Recipe = {}
    for keyword, stage in inputs.items():
        if keyword == "sft":
            recipe |= _named(stage, "", without=("seed",))
            if (unpacked := stage.inputs.get("model")) is not None:
                recipe["model.source"] = unpacked.identity["files"]["gguf"][:DIGITS]
        elif keyword == "sft_outputs":
            recipe |= _named(stage, "evaluation.", without=OF_THE_OUTPUTS)
        elif keyword == "sft_metrics":
            own = _named(stage, "metrics.", without=("limit", "max_new_tokens"))
            recipe |= {key.replace("metrics.metrics.", "metrics."): own[key] for key in own}
        elif keyword == "baseline_outputs" and "template" in stage.files:
            recipe["model.baseline_template"] = stage.identity["files"]["template"][:DIGITS]
    for key in judges:
        stage = inputs[verdicts_of("sft", key)]
        recipe |= _named(stage, f"{key}.")
        if key == FIRST:
            recipe["annotator"] = stage.params["judge"].name
    if recipe.get("evaluation.precision") == recipe.get("precision"):
        recipe.pop("evaluation.precision", None)
    return dict(sorted(recipe.items()))


def steps_of(data: Stage) -> dict[str, Recipe]:
    """Return what a data set was made by: the values of each of its steps, the first one first."""
    steps: dict[str, Recipe] = {}
    stage: Stage | None = data
    while stage is not None:
        before = stage.inputs.get("data") or next(iter(stage.inputs.values()), None)
        name = str(stage.params.get("name") or stage.label)
        own = _named(stage, "", without=("name", "inputs"))
        others = {k: each.key for k, each in stage.inputs.items() if each is not before}
        steps[name] = dict(sorted((own | others).items()))
        stage = before
    return dict(reversed(steps.items()))


def one_step_apart(one: Mapping[str, Recipe], other: Mapping[str, Recipe]) -> bool:
    """Whether a single step was added, removed or changed between two arms."""
    differing = [name for name in {*one, *other} if one.get(name) != other.get(name)]
    shared = [name for name in one if name in other]
    return len(differing) == 1 and shared == [name for name in other if name in one]


def _named(stage: Stage, prefix: str, without: tuple[str, ...] = ()) -> Recipe:
    """Return the parameters and the hashes of the files of ``stage`` by dotted name."""
    given = {k: v for k, v in stage.identity["params"].items() if k not in without}
    found: Recipe = {}
    for key, value in given.items():
        found |= dict(_leaves(_prefix(key, prefix) + key, value))
    for key, sha256 in stage.identity["files"].items():
        found[_prefix(key, prefix) + key] = sha256.removeprefix("tree:")[:DIGITS]
    return {NAMED.get(key, _configured(key)): value for key, value in found.items()}


def _configured(key: str) -> str:
    """Return ``key`` without the levels that a configuration does not have."""
    return ".".join(part for part in key.split(".") if part not in ("keywords", "params"))


def _prefix(key: str, prefix: str) -> str:
    if not prefix and key in OF_THE_MODEL:
        return "model."
    return "evaluation." if prefix and key in OF_THE_SET else prefix


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values in ``value`` by dotted name, without the marks of a fingerprint."""
    if isinstance(value, dict):
        for mark in ("!value", "!identity"):
            if mark in value:
                yield from _leaves(name, value[mark])
                return
        inner = {key: each for key, each in value.items() if not key.startswith("!")}
        for key, each in inner.items():
            yield from _leaves(f"{name}.{key}", each)
    else:
        yield name, value
