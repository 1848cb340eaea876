"""transformers' Trainer, which drives DeepSpeed, without its waste.

Batches are flattened instead of padded, and the head scores supervised positions only. The loss is
the mean over all supervised tokens of the global batch, so it depends neither on accumulation nor
on the number of processes.
"""

from typing import Any, cast

import torch
from deepspeed import DeepSpeedEngine
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer

from mini_lima.rendering import Conversation
from mini_lima.sft.batches import flatten
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.order import MicroBatches


class SftTrainer(Trainer):
    """Trainer with the batches and the loss of this house."""

    def __init__(self, *, micro_batches: MicroBatches, **given: Any) -> None:
        super().__init__(**given)
        self._micro_batches = micro_batches
        self.model_accepts_loss_kwargs = True  # it then counts the supervised tokens for us

    def get_train_dataloader(self) -> DataLoader[Conversation]:
        """Return this process's micro-batches; accelerate would share them out in its own way."""
        return _Loader(
            cast("Dataset[Conversation]", self.train_dataset),
            batch_sampler=self._micro_batches,
            collate_fn=flatten,
            pin_memory=self.args.dataloader_pin_memory,
        )

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
        loss = summed_loss(model, inputs) * self.accelerator.num_processes / num_items_in_batch
        return (loss, None) if return_outputs else loss


class _Loader(DataLoader[Conversation]):
    def set_epoch(self, epoch: int) -> None:
        """Be told the epoch by Trainer, which looks for a method of this name."""
        assert isinstance(self.batch_sampler, MicroBatches)
        self.batch_sampler.set_epoch(epoch)
