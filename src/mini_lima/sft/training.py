"""The training run of one worker process.

The data set is rendered, DeepSpeed's configuration is written, `ResumingTrainer` trains, and the
model is saved with everything that generation needs.
"""

import os
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import transformers
from deepspeed import init_distributed
from transformers import TrainingArguments

from mini_lima.files import read_jsonl
from mini_lima.models.language_model import context_length, load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Turns
from mini_lima.sft import checkpoints, lora, ops
from mini_lima.sft.batches import render
from mini_lima.sft.checkpoints import Launch
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
from mini_lima.sft.failures import as_user_errors
from mini_lima.sft.held_out import HeldOutLoss, divide
from mini_lima.sft.optimizers import Choice
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.resuming import Checkpointing, ResumingTrainer
from mini_lima.sft.saving import save_model, save_record, try_saving
from mini_lima.sft.training_log import METRICS, Divergence, TrainingLog
from mini_lima.workers import launch
from mini_lima.workers.stopping import stop_request


def train(
    output_dir: Path,
    *,
    work_dir: Path,
    model: str,
    revision: str | None,
    init_seed: int | None,
    data: Path,
    optimizer: dict[str, Any],
    scheduler: dict[str, Any],
    deepspeed: dict[str, Any],
    adapter: dict[str, Any] | None,
    micro_batch_size_per_gpu: int,
    global_batch_size: int,
    epochs: int,
    max_length: int,
    overlong: str,
    turns: Turns,
    precision: str,
    gradient_clipping: float,
    held_out: float,
    seed: int,
    loss_reduction: str,
    activation_checkpointing: bool,
    checkpoint_steps: int | None,
    device: str,
    chat_template: Path | None = None,
    template_kwargs: dict[str, Any] | None = None,
) -> None:
    """Fine-tune ``model`` on the data set in ``data``, from the last checkpoint on.

    Writes the model (safetensors), its tokenizer, generation config and card, ``metrics.jsonl`` (a
    row per optimizer step), ``deepspeed.json`` (what DeepSpeed was given) and ``summary.json``.

    Args:
        output_dir: Receives the files.
        work_dir: Keeps the last checkpoint between attempts, and ``metrics.jsonl`` as it grows.
        model: Folder or hub id of the base model.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights; None reads the model's own.
        data: A finished data set.
        optimizer: Fields of a `Choice`.
        scheduler: The same.
        deepspeed: Fields of the deepspeed group.
        adapter: Fields of the adapter group; None trains all weights.
        micro_batch_size_per_gpu: Examples per forward pass on one device.
        global_batch_size: Examples per optimizer step.
        epochs: Passes over the data.
        max_length: Tokens of prompt and response together.
        overlong: ``refuse`` or ``drop`` longer examples.
        turns: ``all`` answers of a conversation are supervised, or the ``last`` alone.
        precision: ``fp32`` or ``bf16``.
        gradient_clipping: Largest norm of the gradient.
        held_out: Share of the tasks that are kept from training, and their loss looked at after
            each epoch; 0 for none.
        seed: Draws the order of the examples, and an adapter's weights and dropout.
        checkpoint_steps: Optimizer steps between checkpoints; None writes one on SIGTERM alone.
        loss_reduction: ``global_batch`` or ``micro_batch``; see `SftTrainer`.
        activation_checkpointing: Keep only each layer's input, and compute the rest again.
        device: ``cpu`` or ``cuda``.
        chat_template: File with a chat template to use in place of the tokenizer's own.
        template_kwargs: What the template is called with; it is saved with them.

    Raises:
        UserError: the data set or the tokenizer does not fit (see `render` and `ChatTemplate`),
            training diverged, or memory or disk ran out.
        RuntimeError: something other than DeepSpeed would have trained.
        Stopped: SIGTERM asked for it; a checkpoint is written.
    """
    settings = dict(locals())
    with as_user_errors(settings), stop_request() as stop:
        chosen, schedule = Choice(**optimizer), Choice(**scheduler)
        offload = deepspeed["offload_optimizer"]
        ops.load(device, chosen.builders(offload=offload, device=device))
        tokenizer = load_tokenizer(model, revision, chat_template, template_kwargs)
        template = ChatTemplate(tokenizer)
        rows = read_jsonl(data / "examples.jsonl")
        tasks = {row["id"]: row.get("task") or row["id"] for row in rows}
        rendered, kept = divide(
            render(
                rows,
                template,
                max_length=max_length,
                overlong=overlong,
                turns=turns,
                context=context_length(model, revision),
            ),
            tasks,
            held_out,
        )
        batches = _batches(micro_batch_size_per_gpu, global_batch_size)
        lengths = [each.tokens for each in rendered.conversations]
        order = Order(len(lengths), global_batch_size, seed)
        in_epochs = [order.global_batches(epoch) for epoch in range(epochs)]
        steps = [members for epoch in in_epochs for members in epoch]
        engine_config = deepspeed_config(
            optimizer=chosen,
            scheduler=schedule,
            total_steps=len(steps),
            zero=deepspeed,
            batches=batches,
            precision=precision,
            gradient_clipping=gradient_clipping,
            device=device,
        )
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        # Drawn before ZeRO-3 is announced: in shards, random weights would not be the baseline's.
        network = None if init_seed is None else load_model(model, revision, init_seed, dtype)
        arguments = _arguments(work_dir, settings, engine_config, batches)
        rank = int(os.environ["RANK"])
        init_distributed()  # or ZeRO-3 takes itself for the only process
        network = network or load_model(model, revision, init_seed, dtype)
        stops = template.stops(network.generation_config.eos_token_id)
        network.generation_config.eos_token_id = stops
        network.generation_config.pad_token_id = tokenizer.pad_token_id
        if rank == 0:
            try_saving(network, tokenizer)
        # ZeRO-3 leaves an empty tensor on every process and its size beside it.
        sizes = [getattr(each, "ds_numel", each.numel()) for each in network.parameters()]
        evaluate = HeldOutLoss(kept.conversations, batches, rank, lambda: trainer)
        record = TrainingLog(
            f"SFT of {sum(sizes) / 1e6:.3g}M parameters",
            tokens=[sum(lengths[i] for i in members) for members in steps],
            live=work_dir / METRICS,
            epoch_ends=list(accumulate(map(len, in_epochs))),
            held_out_loss=evaluate if kept.ids else None,
        )
        trainer = ResumingTrainer(
            work_dir=work_dir,
            launch=Launch(batches.processes, device),
            record=record,
            micro_batches=MicroBatches(order, batches, lengths, rank=rank),
            loss_reduction=loss_reduction,
            optimizer=chosen,
            scheduler=schedule,
            model=lora.added(network, adapter, seed) if adapter else network,
            args=arguments,
            train_dataset=rendered.conversations,
            callbacks=[
                record,
                Divergence(
                    [[rendered.ids[i] for i in members] for members in steps],
                    lambda: checkpoints.describe(work_dir),
                ),
                Checkpointing(checkpoint_steps, stop),
            ],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        with record:
            trainer.resume()

        save_model(output_dir, trainer, network, tokenizer)
        if trainer.is_world_process_zero():
            figures = {
                "parameters": sum(sizes),
                "examples": len(lengths),
                "examples_dropped_as_too_long": rendered.dropped,
                "tokens": sum(lengths),
                "supervised_tokens": sum(each.supervised for each in rendered.conversations),
                "micro_batches": str(trainer.layout),
            }
            if kept.ids:
                figures["held_out_examples"] = len(kept.ids)
            save_record(output_dir, record.rows, figures, settings, engine_config)
        torch.distributed.barrier()  # no rank leaves while another still talks to it
        torch.distributed.destroy_process_group()


def _batches(micro: int, global_batch_size: int) -> Batches:
    processes = int(os.environ["WORLD_SIZE"])
    accumulation, rest = divmod(global_batch_size, micro * processes)
    assert not rest, "the configuration's checks let a global batch pass that does not divide"
    return Batches(micro, accumulation, processes)


def _arguments(
    work_dir: Path, settings: dict[str, Any], engine_config: dict[str, Any], batches: Batches
) -> TrainingArguments:
    """Trainer's settings: what is DeepSpeed's is said twice, since Trainer compares the two."""
    told = engine_config.get("optimizer", {}).get("params", {})
    warmup = engine_config.get("scheduler", {}).get("params", {}).get("warmup_num_steps", 0)
    repeated: dict[str, Any] = {
        name: told[key]
        for name, key in (("adam_epsilon", "eps"), ("weight_decay", "weight_decay"))
        if key in told
    }
    if "betas" in told:
        repeated["adam_beta1"], repeated["adam_beta2"] = told["betas"]
    return TrainingArguments(
        output_dir=str(work_dir),
        deepspeed=engine_config,
        use_cpu=settings["device"] == "cpu",
        bf16=settings["precision"] == "bf16",
        per_device_train_batch_size=batches.micro,
        gradient_accumulation_steps=batches.accumulation,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["optimizer"]["params"]["lr"],
        **repeated,
        max_grad_norm=settings["gradient_clipping"],
        activation_checkpointing=settings["activation_checkpointing"],
        warmup_steps=warmup,
        seed=settings["seed"],
        average_tokens_across_devices=True,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # `Checkpointing` asks for it
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=settings["device"] == "cuda",
    )


if __name__ == "__main__":
    launch.work(train)
