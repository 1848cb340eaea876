"""The training run of one worker process.

transformers' Trainer drives DeepSpeed and keeps its logging and launching; `_SftTrainer` takes out
its waste: batches are flattened instead of padded, and the head scores supervised positions only.
The loss is the mean over all supervised tokens of the global batch, so it depends neither on
accumulation nor on the number of processes.
"""

import functools
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cpuinfo
import torch
import transformers
from deepspeed import DeepSpeedEngine
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima import launch
from mini_lima.files import read_jsonl, write_json, write_jsonl
from mini_lima.language_model import load_model, load_tokenizer
from mini_lima.progress import Bar, progress
from mini_lima.rendering import ChatTemplate
from mini_lima.sft.batches import IGNORED, flatten, render
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config


def train(
    output_dir: Path,
    *,
    model: str,
    revision: str | None,
    init_seed: int | None,
    data: Path,
    optimizer: dict[str, Any],
    deepspeed: dict[str, Any],
    micro_batch_size_per_gpu: int,
    global_batch_size: int,
    epochs: int,
    max_length: int,
    overlong: str,
    precision: str,
    gradient_clipping: float,
    seed: int,
    device: str,
) -> None:
    """Fine-tune ``model`` on the data set in ``data``.

    Writes the model (safetensors), its tokenizer and generation config, ``metrics.jsonl`` (a row per
    optimizer step), ``deepspeed.json`` (what DeepSpeed was given) and ``summary.json``.

    Args:
        output_dir: Receives the files.
        model: Folder or hub id of the base model.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights; None reads the model's own.
        data: A finished data set.
        optimizer: Fields of the optimizer group.
        deepspeed: Fields of the deepspeed group.
        micro_batch_size_per_gpu: Examples per forward pass on one device.
        global_batch_size: Examples per optimizer step.
        epochs: Passes over the data.
        max_length: Tokens of prompt and response together.
        overlong: ``refuse`` or ``drop`` longer examples.
        precision: ``fp32`` or ``bf16``.
        gradient_clipping: Largest norm of the gradient.
        seed: Draws the order of the examples.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: the data set or the tokenizer does not fit; see `render` and `ChatTemplate`.
        RuntimeError: something other than DeepSpeed would have trained.
    """
    transformers.utils.logging.set_verbosity_warning()
    # DeepSpeed asks three times what the CPU is, and each answer takes a second.
    cpuinfo.get_cpu_info = functools.cache(cpuinfo.get_cpu_info)
    tokenizer = load_tokenizer(model, revision)
    template = ChatTemplate(tokenizer)
    rendered = render(
        read_jsonl(data / "examples.jsonl"), template, max_length=max_length, overlong=overlong
    )
    processes = int(os.environ["WORLD_SIZE"])
    batches = Batches(
        micro=micro_batch_size_per_gpu,
        accumulation=global_batch_size // (micro_batch_size_per_gpu * processes),
        processes=processes,
    )
    assert batches.micro * batches.accumulation * batches.processes == global_batch_size
    engine_config = deepspeed_config(
        optimizer=optimizer,
        zero=deepspeed,
        batches=batches,
        precision=precision,
        gradient_clipping=gradient_clipping,
        device=device,
    )
    arguments = TrainingArguments(
        output_dir=str(output_dir / "trainer"),
        deepspeed=engine_config,
        use_cpu=device == "cpu",
        bf16=precision == "bf16",
        per_device_train_batch_size=batches.micro,
        gradient_accumulation_steps=batches.accumulation,
        num_train_epochs=epochs,
        learning_rate=optimizer["lr"],
        adam_beta1=optimizer["betas"][0],
        adam_beta2=optimizer["betas"][1],
        adam_epsilon=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
        max_grad_norm=gradient_clipping,
        warmup_steps=optimizer["warmup_num_steps"],
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
    )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network = load_model(model, revision, init_seed, dtype)
    network.generation_config.eos_token_id = template.end_of_turn
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    record = _Record(f"SFT of {network.num_parameters() / 1e6:.3g}M parameters")
    trainer = _SftTrainer(
        model=network,
        args=arguments,
        train_dataset=rendered.conversations,
        data_collator=flatten,
        callbacks=[record],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    with record:
        trainer.train()

    if deepspeed["zero_stage"] == 3:
        trainer.save_model(str(output_dir))  # gathers the sharded parameters first
    elif trainer.is_world_process_zero():
        network.save_pretrained(output_dir)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(output_dir)
        (output_dir / "training_args.bin").unlink(missing_ok=True)
        (output_dir / "trainer").rmdir() if (output_dir / "trainer").exists() else None
        write_jsonl(output_dir / "metrics.jsonl", record.rows)
        write_json(output_dir / "deepspeed.json", engine_config)
        write_json(
            output_dir / "summary.json",
            {
                "parameters": network.num_parameters(),
                "examples": len(rendered.conversations),
                "examples_dropped_as_too_long": rendered.dropped,
                "tokens": sum(len(e.prompt) + len(e.response) for e in rendered.conversations),
                "supervised_tokens": sum(len(e.response) for e in rendered.conversations),
                "steps": len(record.rows),
                "first_loss": record.rows[0]["loss"],
                "last_loss": record.rows[-1]["loss"],
            },
        )


class _SftTrainer(Trainer):
    """Trainer with the loss of this house."""

    model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return this micro-batch's share of the global batch's mean loss.

        DeepSpeed averages gradients over the processes, hence the factor.
        """
        if not isinstance(model, DeepSpeedEngine):
            raise RuntimeError(f"DeepSpeed was asked for, but {type(model).__name__} would train")
        assert num_items_in_batch is not None
        labels = inputs["labels"][0]
        supervised = torch.nonzero(labels != IGNORED).squeeze(1)
        outputs = model(
            input_ids=inputs["input_ids"],
            position_ids=inputs["position_ids"],
            logits_to_keep=supervised - 1,  # a position predicts the token that follows it
            use_cache=False,
        )
        loss = torch.nn.functional.cross_entropy(
            outputs.logits[0].float(), labels[supervised], reduction="sum"
        )
        loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


class _Record(TrainerCallback):
    """Keeps a row per optimizer step and shows the progress."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.rows: list[dict[str, float]] = []
        self._bar: Bar | None = None
        self._open = ExitStack()

    def __enter__(self) -> None:
        self._open.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self._open.__exit__(*failure)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if state.is_world_process_zero:
            self._bar = self._open.enter_context(progress(self.label, total=state.max_steps))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **given: Any,
    ) -> None:
        if logs and "loss" in logs:
            row = {key: logs[key] for key in ("loss", "learning_rate", "grad_norm", "epoch") if key in logs}
            self.rows.append({"step": state.global_step, **row})
            if self._bar:
                self._bar.advance(1, loss=row["loss"], learning_rate=row["learning_rate"])


if __name__ == "__main__":
    launch.work(train)
