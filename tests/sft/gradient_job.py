"""A worker of test_gradients.py: what the optimizer of a real training run is given.

Each of its two steps sees the whole data set, and neither moves a weight, since DeepSpeed's warm-up
has a rate of 0 in the first two updates. The second reduces the loss by micro-batch.
"""

import os
from pathlib import Path
from typing import Any

import torch
from deepspeed import init_distributed
from deepspeed.utils import safe_get_full_grad
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainingArguments

from mini_lima import launch
from mini_lima.language_model import load_model
from mini_lima.rendering import Conversation
from mini_lima.sft import ops
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.trainer import SftTrainer


class Gradients(TrainerCallback):
    """Saves the whole gradient of every parameter before each update."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trainer: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        engine = self.trainer.model_wrapped
        update = engine.step

        def step() -> None:
            found = {n: safe_get_full_grad(p) for n, p in self.trainer.model.named_parameters()}
            if self.trainer.is_world_process_zero():
                save_file(found, self.folder / f"{self.trainer.loss_reduction}.safetensors")
            update()

        engine.step = step

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer.loss_reduction = "micro_batch"


def train(output_dir: Path, *, model: str, batches: dict[str, int], data: list[Any]) -> None:
    conversations = [Conversation(*each) for each in data]
    division, rank = Batches(**batches), int(os.environ["RANK"])
    size = division.micro * division.accumulation * division.processes
    ops.load("cpu", offload_optimizer=True)
    arguments = TrainingArguments(
        output_dir=str(output_dir),
        deepspeed=deepspeed_config(
            optimizer={
                "lr": 1.0,
                "betas": [0.9, 0.999],
                "eps": 1e-8,
                "weight_decay": 0.0,
                "warmup_min_lr": 0.0,
                "warmup_num_steps": 100,
                "warmup_type": "log",
            },
            zero={"zero_stage": 2, "offload_optimizer": True, "offload_parameters": False},
            batches=division,
            precision="fp32",
            gradient_clipping=1.0,
            device="cpu",
        ),
        use_cpu=True,
        per_device_train_batch_size=division.micro,
        gradient_accumulation_steps=division.accumulation,
        learning_rate=1.0,
        warmup_steps=100,
        weight_decay=0.0,
        max_steps=2,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    init_distributed()
    order = Order(len(conversations), size, seed=0)
    gradients = Gradients(output_dir)
    gradients.trainer = SftTrainer(
        micro_batches=MicroBatches(order, division, [c.tokens for c in conversations], rank=rank),
        model=load_model(model, None, 0, torch.float32),
        args=arguments,
        train_dataset=conversations,
        callbacks=[gradients],
    )
    gradients.trainer.train()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    launch.work(train)
