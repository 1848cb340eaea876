"""When a training run writes a checkpoint, and how it goes on from one.

transformers' Trainer finds its place in the data and the random states again, DeepSpeed its
weights, optimizer and learning rate. What is ours is when to write, that it is whole
(`checkpoints`), and that all processes stop after the same step.

And what DeepSpeed's Adam for CPUs remembers and no checkpoint holds (`RestoreAdam`). Its C++ keeps
the powers of the betas, by which it corrects the moments' bias, and multiplies them up step by
step. A process that goes on from a checkpoint would raise the betas to the power instead, which
rounds differently: equal to seven digits, and not to the last bit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from deepspeed.ops.adam import DeepSpeedCPUAdam
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from mini_lima.errors import Stopped
from mini_lima.files import write_jsonl
from mini_lima.sft import checkpoints
from mini_lima.sft.checkpoints import Launch
from mini_lima.sft.trainer import SftTrainer
from mini_lima.sft.training_log import METRICS, TrainingLog
from mini_lima.workers.stopping import Request


class Checkpointing(TrainerCallback):
    """Asks for a checkpoint at an interval, and for the last one when the run is to stop."""

    def __init__(self, every: int | None, stop: Request) -> None:
        """Ask after ``every`` optimizer steps, and once ``stop`` is asked of any process."""
        self._every = every
        self._stop = stop
        self._stopping = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Decide; after the last step the model itself is saved."""
        self._stopping = self._asked_of_any(args)
        due = self._every and not state.global_step % self._every
        control.should_save = self._stopping or bool(due and state.global_step < state.max_steps)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Stop, now that the checkpoint is there."""
        if self._stopping:
            raise Stopped(f"stopped by SIGTERM at step {state.global_step} of {state.max_steps}")

    def _asked_of_any(self, args: TrainingArguments) -> bool:
        if args.world_size == 1:
            return self._stop.asked
        asked = torch.tensor(int(self._stop.asked), device=args.device)
        torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
        return bool(asked)


class RestoreAdam(TrainerCallback):
    """Restores, when training goes on, what of the optimizer is in no checkpoint."""

    def __init__(self, optimizer: Callable[[], Any]) -> None:
        """Restore it to what ``optimizer`` returns when training begins."""
        self._optimizer = optimizer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The checkpoint has been read by now."""
        if state.global_step and isinstance(optimizer := self._optimizer(), DeepSpeedCPUAdam):
            _repeat_steps(optimizer, state.global_step)


class ResumingTrainer(SftTrainer):
    """`SftTrainer` with checkpoints that are whole and hold nothing twice."""

    def __init__(
        self, *, work_dir: Path, launch: Launch, record: TrainingLog, **given: Any
    ) -> None:
        super().__init__(**given)
        self._work_dir = work_dir
        self._launch = launch
        self._record = record
        self.add_callback(RestoreAdam(self._basic_optimizer))

    def resume(self) -> None:
        """Train from the last checkpoint on, or from the beginning if there is none."""
        found = checkpoints.last(self._work_dir)
        if found:
            checkpoints.refuse_other_launch(found, self._launch)
            self._record.resume(found.folder)
        self.train(resume_from_checkpoint=str(found.folder) if found else None)

    def _basic_optimizer(self) -> Any:
        engine: Any = self.model_wrapped
        return engine.basic_optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write what Trainer would, less the copy of the weights that DeepSpeed's files repeat."""
        checkpoints.write(self._work_dir, self.state.global_step, self._launch, self._fill)

    def _fill(self, folder: Path) -> None:
        # Of an adapter's model the frozen weights are the base model's, which is read again.
        engine: Any = self.model_wrapped
        frozen = any(not each.requires_grad for each in engine.parameters())
        engine.save_checkpoint(str(folder), exclude_frozen_parameters=frozen)
        self._save_rng_state(str(folder))
        if self.is_world_process_zero():
            self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            write_jsonl(folder / METRICS, self._record.rows)


def _repeat_steps(optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Bring the memory of ``optimizer`` to where it was after ``steps`` updates.

    A parameter that nobody has takes them, in place of its own.
    """
    groups, stand_in = optimizer.param_groups, torch.nn.Parameter(torch.zeros(1))
    optimizer.param_groups = [{**groups[0], "params": [stand_in]}]
    stand_in.grad = torch.zeros(1)
    for _ in range(steps):
        optimizer.step()
    del optimizer.state[stand_in]
    optimizer.param_groups = groups
