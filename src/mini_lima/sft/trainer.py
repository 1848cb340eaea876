"""transformers' Trainer, which drives DeepSpeed, without its waste.

Batches are flattened instead of padded where the model allows it (`layout`), attention stays inside
each example without a mask, and the head scores supervised positions only, chunk by chunk. The loss is the mean over all supervised
tokens of the global batch, so it depends neither on accumulation nor on the number of processes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from accelerate.utils import DeepSpeedSchedulerWrapper
from deepspeed import DeepSpeedEngine
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mini_lima.errors import UserError
from mini_lima.models.rendering import Conversation
from mini_lima.sft.batches import IGNORED, Layout
from mini_lima.sft.layout import choose_layout
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.memory import KeepMemory, replace_norms
from mini_lima.sft.optimizers import Choice, make_optimizer, make_scheduler
from mini_lima.sft.order import MicroBatches


class SftTrainer(Trainer):
    """Trainer with the batches and the loss of Mini-LIMA."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        args: TrainingArguments,
        train_dataset: Sequence[Conversation],
        micro_batches: MicroBatches,
        loss_reduction: str = "global_batch",
        optimizer: Choice | None = None,
        scheduler: Choice | None = None,
        **given: Any,
    ) -> None:
        """Prepare ``model``.

        Args:
            model: A causal language model.
            args: Trainer's.
            train_dataset: The conversations to train on.
            micro_batches: Which of them make up each micro-batch of this process.
            loss_reduction: ``global_batch``, the mean over its supervised tokens; ``micro_batch``,
                the mean of each micro-batch, and the mean of those: there a token counts for more
                the fewer stand beside it, and accumulation and processes change the result.
            optimizer: What is to be made here if it is not DeepSpeed's.
            scheduler: The same.
            **given: For Trainer.

        Raises:
            UserError: the tokenizer makes tokens that the model has no embedding for.
        """
        _check_vocabulary(model, train_dataset)
        replace_norms(model)
        data = cast("Dataset[Conversation]", train_dataset)
        super().__init__(model=model, args=args, train_dataset=data, **given)
        self.add_callback(KeepMemory())
        self.add_callback(_ChooseLayout(self))
        self.layout = Layout.flattened
        self._micro_batches = micro_batches
        self.loss_reduction = loss_reduction
        self._optimizer_choice = optimizer
        self._scheduler_choice = scheduler
        self.model_accepts_loss_kwargs = True  # it then counts the supervised tokens for us

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimizer, unless it is DeepSpeed's, which makes its own.

        Trainer's would be made where DeepSpeed is not at work, and that is refused.
        """
        choice = self._optimizer_choice
        if not self.is_deepspeed_enabled or choice is None or choice.target is None:
            return super().create_optimizer(model)
        if self.optimizer is None:
            network: Any = self.model
            trained = [each for each in network.parameters() if each.requires_grad]
            self.optimizer = make_optimizer(choice, trained)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Make the scheduler, unless it is DeepSpeed's.

        It acts on the optimizer inside DeepSpeed's, and DeepSpeed's engine steps and saves it: an
        engine that makes its own optimizer asks for it with that, the other is given it here.
        """
        choice = self._scheduler_choice
        if not self.is_deepspeed_enabled or choice is None or choice.target is None:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            engine = self.accelerator.deepspeed_engine_wrapped
            basic = optimizer or engine.engine.basic_optimizer
            made = make_scheduler(choice, basic, num_training_steps)
            if optimizer is not None:
                return made
            engine.engine.lr_scheduler = made
            self.lr_scheduler = DeepSpeedSchedulerWrapper(made, self.optimizer)
        return self.lr_scheduler

    def get_train_dataloader(self) -> DataLoader[Conversation]:
        """Return this process's micro-batches; accelerate would share them out in its own way."""
        return _Loader(
            cast("Dataset[Conversation]", self.train_dataset),
            batch_sampler=self._micro_batches,
            collate_fn=lambda conversations: self.layout.batch(conversations),
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
        _check_engine(model, self.args.deepspeed)
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


class _ChooseLayout(TrainerCallback):
    """Tries the layout of the micro-batches on the model, now that it is where it is trained."""

    def __init__(self, trainer: SftTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        trainer = self._trainer
        engine: Any = trainer.model_wrapped
        engine.eval()
        conversations = cast("Sequence[Conversation]", trainer.train_dataset)
        micro = args.per_device_train_batch_size
        network = getattr(engine, "module", engine)
        trainer.layout = choose_layout(network, conversations, args.device, micro=micro)
        engine.train()


class _Loader(DataLoader[Conversation]):
    def set_epoch(self, epoch: int) -> None:
        """Be told the epoch by Trainer, which looks for a method of this name."""
        assert isinstance(self.batch_sampler, MicroBatches)
        self.batch_sampler.set_epoch(epoch)


def _check_engine(engine: Any, config: Any) -> None:
    """Raise RuntimeError if ``engine`` is not DeepSpeed's with ``config``.

    Accelerate falls back without a word: with ACCELERATE_USE_CPU in the environment, for one, it
    trains by plain data parallelism whatever its DeepSpeed configuration says.
    """
    if not isinstance(engine, DeepSpeedEngine):
        raise RuntimeError(f"DeepSpeed was asked for, but {type(engine).__name__} would train")
    for key, value in config.items():
        if engine.config.get(key) != value:
            found = engine.config.get(key)
            raise RuntimeError(f"DeepSpeed was asked for {key} {value}, but has {found}")


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
