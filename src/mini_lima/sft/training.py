"""The training run of one worker process.

The data set is rendered, DeepSpeed's configuration is written, `SftTrainer` trains, and the model
is saved with everything that generation needs.
"""

import os
from pathlib import Path
from typing import Any

import torch
import transformers
from deepspeed import init_distributed
from transformers import TrainingArguments

from mini_lima import launch
from mini_lima.files import read_jsonl, write_json, write_jsonl
from mini_lima.language_model import load_model, load_tokenizer
from mini_lima.rendering import ChatTemplate
from mini_lima.sft import ops
from mini_lima.sft.batches import render
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.record import Record
from mini_lima.sft.trainer import SftTrainer


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
    loss_reduction: str = "global_batch",
    activation_checkpointing: bool = False,
    chat_template: str | None = None,
) -> None:
    """Fine-tune ``model`` on the data set in ``data``.

    Writes the model (safetensors), its tokenizer and generation config, ``metrics.jsonl`` (a row
    per optimizer step), ``deepspeed.json`` (what DeepSpeed was given) and ``summary.json``.

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
        loss_reduction: ``global_batch`` or ``micro_batch``; see `SftTrainer`.
        activation_checkpointing: Keep only each layer's input, and compute the rest again.
        chat_template: File with a chat template to use in place of the tokenizer's own.

    Raises:
        UserError: the data set or the tokenizer does not fit; see `render` and `ChatTemplate`.
        RuntimeError: something other than DeepSpeed would have trained.
    """
    transformers.utils.logging.set_verbosity_warning()  # type: ignore[no-untyped-call]
    ops.load(device, offload_optimizer=deepspeed["offload_optimizer"])
    tokenizer = load_tokenizer(model, revision, chat_template)
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
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    # Drawn before ZeRO-3 is announced: drawn in shards, random weights would not be the baseline's.
    network = None if init_seed is None else load_model(model, revision, init_seed, dtype)
    arguments = TrainingArguments(
        output_dir=str(output_dir),
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
        activation_checkpointing=activation_checkpointing,
        warmup_steps=optimizer["warmup_num_steps"],
        seed=seed,
        average_tokens_across_devices=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
    )
    init_distributed()  # or ZeRO-3 takes itself for the only process
    network = network or load_model(model, revision, init_seed, dtype)
    network.generation_config.eos_token_id = template.stops(network.generation_config.eos_token_id)
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    # ZeRO-3 leaves an empty tensor on every process and its size beside it.
    parameters = sum(getattr(each, "ds_numel", each.numel()) for each in network.parameters())
    lengths = [each.tokens for each in rendered.conversations]
    order = Order(len(lengths), global_batch_size, seed)
    record = Record(
        f"SFT of {parameters / 1e6:.3g}M parameters",
        tokens=[
            sum(lengths[i] for i in members)
            for epoch in range(epochs)
            for members in order.global_batches(epoch)
        ],
    )
    trainer = SftTrainer(
        micro_batches=MicroBatches(order, batches, lengths, rank=int(os.environ["RANK"])),
        loss_reduction=loss_reduction,
        model=network,
        args=arguments,
        train_dataset=rendered.conversations,
        callbacks=[record],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    with record:
        trainer.train()
    engine: Any = trainer.model_wrapped
    assert engine_config == {key: engine.config[key] for key in engine_config}

    if deepspeed["zero_stage"] == 3:
        trainer.save_model(str(output_dir))  # gathers the sharded parameters first
    elif trainer.is_world_process_zero():
        network.save_pretrained(output_dir)
    if trainer.is_world_process_zero():
        tokenizer.save_pretrained(output_dir)
        (output_dir / "training_args.bin").unlink(missing_ok=True)
        write_jsonl(output_dir / "metrics.jsonl", record.rows)
        write_json(output_dir / "deepspeed.json", engine_config)
        write_json(
            output_dir / "summary.json",
            {
                "parameters": parameters,
                "examples": len(rendered.conversations),
                "examples_dropped_as_too_long": rendered.dropped,
                "tokens": sum(lengths),
                "supervised_tokens": sum(len(e.response) for e in rendered.conversations),
                "steps": len(record.rows),
                "first_loss": record.rows[0]["loss"],
                "last_loss": record.rows[-1]["loss"],
            },
        )
    torch.distributed.barrier()  # no rank leaves while another still talks to it
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    launch.work(train)
