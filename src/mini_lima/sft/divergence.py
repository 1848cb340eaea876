"""A loss or gradient that is no number any more ends the run: what follows would be lost work."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima.errors import UserError

SHOWN = 32


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
