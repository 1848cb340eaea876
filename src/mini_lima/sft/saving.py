"""What a finished training leaves: an ordinary model, and everything that tells how it was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mini_lima.files import write_json, write_jsonl, write_text
from mini_lima.sft import lora
from mini_lima.sft.model_card import Lineage, model_card
from mini_lima.sft.record import METRICS
from mini_lima.sft.resuming import ResumingTrainer


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
    write_text(folder / "README.md", model_card(Lineage.of(settings, summary, engine_config)))
