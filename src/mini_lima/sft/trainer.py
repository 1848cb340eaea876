"""transformers' Trainer, which drives DeepSpeed, without its waste.

Batches are flattened instead of padded, attention stays inside each example without a mask, and the
head scores supervised positions only, chunk by chunk. The loss is the mean over all supervised
tokens of the global batch, so it depends neither on accumulation nor on the number of processes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from deepspeed import DeepSpeedEngine
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from mini_lima.errors import UserError
from mini_lima.rendering import Conversation
from mini_lima.sft.attention import attend_per_sequence
from mini_lima.sft.batches import IGNORED, flatten
from mini_lima.sft.copies import spare_copies
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.memory import KeepMemory
from mini_lima.sft.norms import spare_normal_values
from mini_lima.sft.order import MicroBatches


class SftTrainer(Trainer):
    """Trainer with the batches and the loss of this house."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: TrainingArguments,
        train_dataset: Sequence[Conversation],
        micro_batches: MicroBatches,
        loss_reduction: str = "global_batch",
        **given: Any,
    ) -> None:
        """Prepare ``model``, which attends per sequence from now on.

        Args:
            model: A causal language model.
            args: Trainer's.
            train_dataset: The conversations to train on.
            micro_batches: Which of them make up each micro-batch of this process.
            loss_reduction: ``global_batch``, the mean over its supervised tokens; ``micro_batch``,
                the mean of each micro-batch, and the mean of those: there a token counts for more
                the fewer stand beside it, and accumulation and processes change the result.
            **given: For Trainer.

        Raises:
            UserError: the tokenizer makes tokens that the model has no embedding for.
        """
        _check_vocabulary(model, train_dataset)
        attend_per_sequence(model, args.device)
        spare_normal_values(model)
        data = cast("Dataset[Conversation]", train_dataset)
        super().__init__(model=model, args=args, train_dataset=data, **given)
        self.add_callback(KeepMemory())
        self._micro_batches = micro_batches
        self.loss_reduction = loss_reduction
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
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return this micro-batch's share of the global batch's mean loss.

        DeepSpeed averages gradients over the processes, hence the factor.
        """
        if not isinstance(model, DeepSpeedEngine):
            raise RuntimeError(f"DeepSpeed was asked for, but {type(model).__name__} would train")
        spare_copies(model, self.accelerator.num_processes)
        assert num_items_in_batch is not None
        loss = summed_loss(model, inputs) * self.accelerator.num_processes / num_items_in_batch
        if self.loss_reduction == "micro_batch":
            loss = loss / _supervised(inputs).clamp(min=1)
        return (loss, None) if return_outputs else loss

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, Any]], device: torch.device
    ) -> torch.Tensor | int | None:
        """Count what the loss is a mean of: tokens, or micro-batches that supervise anything."""
        if self.loss_reduction == "global_batch":
            return super()._get_num_items_in_batch(batch_samples, device)
        filled = torch.stack([_supervised(batch).clamp(max=1) for batch in batch_samples])
        everywhere: torch.Tensor = self.accelerator.gather(filled.sum().to(device))
        return everywhere.sum()


class _Loader(DataLoader[Conversation]):
    def set_epoch(self, epoch: int) -> None:
        """Be told the epoch by Trainer, which looks for a method of this name."""
        assert isinstance(self.batch_sampler, MicroBatches)
        self.batch_sampler.set_epoch(epoch)


def _supervised(batch: dict[str, Any]) -> torch.Tensor:
    return cast("torch.Tensor", (batch["labels"] != IGNORED).sum())


def _check_vocabulary(model: PreTrainedModel, conversations: Sequence[Conversation]) -> None:
    largest = max(max(each.prompt + each.response) for each in conversations)
    rows = model.config.get_text_config().vocab_size
    if largest >= rows:
        raise UserError(
            f"{model.config.name_or_path}: its tokenizer gave token {largest}, but the model has"
            f" {rows} embeddings: use the tokenizer that belongs to it, or another chat template"
        )
