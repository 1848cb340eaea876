"""What must hold for a training to begin and to go on; it ends where that does not.

It begins with the DeepSpeed engine that was asked for (`EngineCheck`). Accelerate falls back
without a word: with ACCELERATE_USE_CPU in the environment, for one, it trains by plain data
parallelism whatever its DeepSpeed configuration says.

It goes on while loss and gradient are numbers (`Divergence`): what follows would be lost work.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepspeed import DeepSpeedEngine
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima.errors import UserError

SHOWN = 32


class EngineCheck(TrainerCallback):
    """Refuses to begin with anything but the engine of ``config``."""

    def __init__(self, engine: Callable[[], Any], config: Mapping[str, Any]) -> None:
        """Look at what ``engine`` returns when training begins.

        Args:
            engine: Returns what Trainer would train with.
            config: As `deepspeed_config` makes it.
        """
        self._engine = engine
        self._config = config

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Raise RuntimeError if it is another."""
        engine = self._engine()
        if not isinstance(engine, DeepSpeedEngine):
            raise RuntimeError(f"DeepSpeed was asked for, but {type(engine).__name__} would train")
        for key, value in self._config.items():
            if engine.config.get(key) != value:
                found = engine.config.get(key)
                raise RuntimeError(f"DeepSpeed was asked for {key} {value}, but has {found}")


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
