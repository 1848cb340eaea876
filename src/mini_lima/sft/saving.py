"""What a finished training leaves: an ordinary model, and everything that tells how it was made."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mini_lima.errors import UserError
from mini_lima.files import read_json, write_json, write_jsonl, write_text
from mini_lima.models.gguf import origin_of
from mini_lima.sft import lora
from mini_lima.sft.resuming import ResumingTrainer
from mini_lima.sft.training_log import METRICS
from mini_lima.text import as_code, as_markdown

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
LIBRARIES = ("torch", "transformers", "deepspeed")


def try_saving(network: Any, tokenizer: Any) -> None:
    """Save all but the weights into a folder that is removed: what fails must fail before training.

    Raises:
        UserError: something of it cannot be saved.
    """
    with TemporaryDirectory(prefix="mini-lima-") as folder:
        for each in (network.config, network.generation_config, tokenizer):
            try:
                each.save_pretrained(folder)
            except Exception as error:  # what a library finds wrong with a model's own files
                reason = " ".join(str(error).split())[:300]
                raise UserError(
                    f"{network.config.name_or_path}: the trained model could not be saved, since"
                    f" its {type(each).__name__} cannot be: {reason}"
                ) from error


def save_model(folder: Path, trainer: ResumingTrainer, network: Any, tokenizer: Any) -> None:
    """Save weights, configurations and tokenizer; every process calls this, the first one writes.

    Args:
        folder: Receives the files.
        trainer: Its training is over.
        network: The model; with an adapter, the base model in which that is.
        tokenizer: The model's.
    """
    trained: Any = trainer.model
    engine: Any = trainer.model_wrapped
    adapted = trained is not network
    if adapted:
        lora.merge(trained)
    if engine.zero_optimization_partition_weights():
        weights = trainer.accelerator.get_state_dict(engine)
    else:
        weights = trained.state_dict()
    if trainer.is_world_process_zero():
        whole = lora.without_adapter(weights) if adapted else weights
        network.save_pretrained(folder, state_dict=whole)
        tokenizer.save_pretrained(folder)


def save_record(
    folder: Path,
    rows: list[dict[str, Any]],
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
    engine_config: Mapping[str, Any],
) -> None:
    """Save the loss curve, DeepSpeed's configuration, the summary and the model card.

    Args:
        folder: Receives the files.
        rows: One for each optimizer step.
        figures: What is known of the data and the model.
        settings: Those of `mini_lima.sft.training.train`.
        engine_config: What DeepSpeed was given.
    """
    losses = {"first_loss": rows[0]["loss"], "last_loss": rows[-1]["loss"]}
    if "held_out_loss" in rows[-1]:
        losses["held_out_loss"] = rows[-1]["held_out_loss"]
    summary = {**figures, "steps": len(rows), **losses}
    write_jsonl(folder / METRICS, rows)
    write_json(folder / "deepspeed.json", engine_config)
    write_json(folder / "summary.json", summary)
    write_text(folder / "README.md", model_card(settings, summary, engine_config))


def model_card(
    settings: Mapping[str, Any], summary: Mapping[str, Any], engine_config: Mapping[str, Any]
) -> str:
    """Return the model card, as the Hugging Face hub reads it.

    The YAML at its head is the hub's; a base model is named there only if the hub has it, since
    the hub refuses anything else.

    Args:
        settings: Those of the training.
        summary: Its figures.
        engine_config: What DeepSpeed was given.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    origin = None if settings["revision"] else origin_of(settings["model"])
    base = settings["model"] if settings["revision"] else Path(settings["model"]).name
    if origin is not None:
        base = origin.file.removesuffix(".gguf")
    stage = Path(settings["data"]) / "stage.json"
    made = read_json(stage) if stage.exists() else None
    environment = Environment(
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else as_markdown(value),
    )
    environment.filters["code"] = lambda text: Markup(as_code(text))
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        base=base,
        origin=origin,
        data=made["provenance"]["label"] if made else Path(settings["data"]).name,
        fingerprint=made and made["identity"]["fingerprint"],
        settings=settings,
        summary=summary,
        deepspeed=Markup(json.dumps(engine_config, indent=2)),
        versions={library: version(library) for library in LIBRARIES},
    )
