"""The model card: where a tuned model comes from, as the Hugging Face hub reads it.

The YAML at its head is the hub's; a base model is named there only if the hub has it, since the hub
refuses anything else.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mini_lima.files import read_json

SHOWN = (
    "epochs",
    "max_length",
    "overlong",
    "turns",
    "precision",
    "gradient_clipping",
    "seed",
    "device",
)
LIBRARIES = ("torch", "transformers", "deepspeed")


@dataclass(frozen=True)
class Lineage:
    """All that the card tells.

    Attributes:
        base: Name of the base model.
        revision: Its commit on the hub; None for one that came from a folder.
        init_seed: Seed of its weights if they were random.
        data: Label of the data set.
        data_fingerprint: What identifies the data set; None if it does not say.
        settings: Those of the training.
        summary: Its figures.
        deepspeed: What DeepSpeed was given.
    """

    base: str
    revision: str | None
    init_seed: int | None
    data: str
    data_fingerprint: str | None
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    deepspeed: Mapping[str, Any]

    @classmethod
    def of(
        cls, settings: Mapping[str, Any], summary: Mapping[str, Any], deepspeed: Mapping[str, Any]
    ) -> "Lineage":
        """Read from ``settings`` what the training was given, and what its data set says."""
        base, folder = settings["model"], Path(settings["data"])
        stage = folder / "stage.json"
        identity = read_json(stage) if stage.exists() else None
        return cls(
            base=base if settings["revision"] else Path(base).name,
            revision=settings["revision"],
            init_seed=settings["init_seed"],
            data=identity["provenance"]["label"] if identity else folder.name,
            data_fingerprint=identity["identity"]["fingerprint"] if identity else None,
            settings=settings,
            summary=summary,
            deepspeed=deepspeed,
        )


def model_card(lineage: Lineage) -> str:
    """Return the card as Markdown."""
    return "\n".join([*_head(lineage), *_origin(lineage), *_training(lineage)]) + "\n"


def _head(lineage: Lineage) -> Iterator[str]:
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    if lineage.revision and lineage.init_seed is None:
        yield f"base_model: {json.dumps(lineage.base)}"
        yield "base_model_relation: finetune"
    yield "tags: [sft, deepspeed, mini-lima]"
    yield "---\n"
    yield f"# {lineage.base} tuned on {lineage.data}\n"
    yield "Supervised fine-tuning on instruction data that a larger model wrote, for a comparison"
    yield "of data sets. It knows no better than that data, and is meant for nothing else.\n"


def _origin(lineage: Lineage) -> Iterator[str]:
    figures, settings = lineage.summary, lineage.settings
    drawn = "" if lineage.init_seed is None else f", random weights of seed {lineage.init_seed}"
    commit = f" at commit `{lineage.revision}`" if lineage.revision else ""
    dropped = figures["examples_dropped_as_too_long"]
    known = f", fingerprint `{lineage.data_fingerprint}`" if lineage.data_fingerprint else ""
    yield "## Where it comes from\n"
    yield f"- base model: `{lineage.base}`{commit}{drawn}"
    yield f"- data set: `{lineage.data}`{known}"
    yield f"- {figures['examples']} examples, {dropped} more left out as too long"
    if "held_out_examples" in figures:
        yield f"- {figures['held_out_examples']} examples held out, which it has not seen"
    yield f"- {figures['tokens']} tokens, of which {figures['supervised_tokens']} are supervised"
    if adapter := settings["adapter"]:
        layers = ", ".join(adapter["target_modules"])
        yield (
            f"- LoRA, merged: rank {adapter['rank']}, alpha {adapter['alpha']}, dropout"
            f" {adapter['dropout']} on {layers}"
        )
    yield ""


def _training(lineage: Lineage) -> Iterator[str]:
    figures, settings = lineage.summary, lineage.settings
    yield "## Training\n"
    yield "| | |\n|---|---|"
    yield f"| first loss | {figures['first_loss']:.4f} |"
    yield f"| last loss | {figures['last_loss']:.4f} |"
    if "held_out_loss" in figures:
        yield f"| loss on the examples held out, at the end | {figures['held_out_loss']:.4f} |"
    yield f"| optimizer steps | {figures['steps']} |"
    yield f"| examples per step | {settings['global_batch_size']} |"
    for key in SHOWN:
        yield f"| {key} | {settings[key]} |"
    for library in LIBRARIES:
        yield f"| {library} | {version(library)} |"
    yield "\nThe loss is the mean over the response tokens of a step; `metrics.jsonl` has them all."
    yield "DeepSpeed was given:\n"
    yield f"```json\n{json.dumps(lineage.deepspeed, indent=2)}\n```"
