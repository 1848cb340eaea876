"""What must hold for a training to begin and to go on; it ends where that does not.

It begins with the DeepSpeed engine that was asked for (`EngineCheck`). Accelerate falls back
without a word: with ACCELERATE_USE_CPU in the environment, for one, it trains by plain data
parallelism whatever its DeepSpeed configuration says.

It goes on while loss and gradient are numbers (`Divergence`): what follows would be lost work.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from deepspeed import DeepSpeedEngine
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima.errors import UserError

SHOWN = 32


class EngineCheck(TrainerCallback):
    """Refuses to begin with anything but the engine of ``config``."""

    def __init__(
        self,
        engine: Callable[[], Any],
        config: Mapping[str, Any],
        classes: Callable[[], tuple[str, str]],
    ) -> None:
        """Look at what ``engine`` returns when training begins.

        Args:
            engine: Returns what Trainer would train with.
            config: As `deepspeed_config` makes it.
            classes: Returns the names of the optimizer's and the scheduler's classes.
        """
        self._engine = engine
        self._config = config
        self._classes = classes

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Compare."""
        check_engine(self._engine(), self._config, self._classes())


def check_engine(engine: Any, config: Mapping[str, Any], classes: tuple[str, str]) -> None:
    """Raise RuntimeError if ``engine`` is not DeepSpeed's, or does not do what ``config`` says.

    Args:
        engine: What Trainer would train with.
        config: As `deepspeed_config` makes it.
        classes: Names of the optimizer's and the scheduler's.
    """
    if not isinstance(engine, DeepSpeedEngine):
        raise RuntimeError(f"DeepSpeed was asked for, but {type(engine).__name__} would train")
    zero = config["zero_optimization"]
    number = torch.bfloat16 if config["bf16"]["enabled"] else torch.float32
    asked = {
        **config,
        "ZeRO stage": zero["stage"],
        "optimizer": classes[0],
        "scheduler": classes[1],
        "number formats": (number, torch.float32),
    }
    found = {
        **{key: engine.config.get(key) for key in config},
        "ZeRO stage": int(engine.zero_optimization_stage()),
        "optimizer": type(engine.basic_optimizer).__name__,
        "scheduler": type(engine.lr_scheduler).__name__,
        "number formats": engine.get_data_types(),
    }
    for key, value in asked.items():
        if found[key] != value:
            raise RuntimeError(f"DeepSpeed was asked for {key} {value}, but has {found[key]}")


class Divergence(TrainerCallback):
    """Stops at the first step whose loss or gradient is not finite, before it is saved."""

    def __init__(self, examples: Sequence[Sequence[str]], last_good: Callable[[], str]) -> None:
        """Name the ``examples`` of the step, by their ids, and say what is ``last_good``."""
        self._examples = examples
        self._last_good = last_good

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **given: Any,
    ) -> None:
        """Look at the figures of the update that was made."""
        if not logs or "loss" not in logs:
            return
        # DeepSpeed reports a norm that is not finite as -1.
        norm = logs.get("grad_norm", 0.0)
        if math.isfinite(logs["loss"]) and math.isfinite(norm) and norm >= 0:
            return
        ids = list(self._examples[state.global_step - 1])
        shown = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if ids[SHOWN:] else "")
        raise UserError(
            f"training diverged at step {state.global_step} of {state.max_steps}: loss"
            f" {logs['loss']:.4g}, gradient norm {'not finite' if norm < 0 else f'{norm:.4g}'};"
            f" lower optimizer.lr, or look at the step's examples: {shown}; {self._last_good()}"
        )
