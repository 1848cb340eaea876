"""What is known of a training run step by step: kept as rows, shown, and held to be numbers."""

import json
import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima.errors import UserError
from mini_lima.files import read_jsonl, write_jsonl
from mini_lima.workers.progress import Bar, progress

METRICS = "metrics.jsonl"
SHOWN = 32


class TrainingLog(TrainerCallback):
    """Keeps a row per optimizer step and shows the progress of the first process.

    A row has ``step``, ``loss``, ``learning_rate``, ``tokens`` (of the global batch),
    ``tokens_per_second``, ``grad_norm`` and ``epoch``; loss and norm are those before the update.
    The last of an epoch has ``held_out_loss`` too, after the update, where examples are held out.
    """

    def __init__(
        self,
        label: str,
        tokens: Sequence[int],
        live: Path,
        epoch_ends: Collection[int] = (),
        held_out_loss: Callable[[], float] | None = None,
    ) -> None:
        """Show the progress as ``label``, and have all rows so far in the file ``live``.

        Args:
            label: What is going on.
            tokens: Those of the global batch of each step.
            live: File that others may follow while the run goes on.
            epoch_ends: The last steps of the epochs.
            held_out_loss: Computes it, in all processes together; None: nothing is held out.
        """
        self.label = label
        self.tokens = tokens
        self.rows: list[dict[str, float]] = []
        self._live = live
        self._epoch_ends = epoch_ends
        self._held_out_loss = held_out_loss
        self._rate = self._began = 0.0
        self._bar: Bar | None = None
        self._open = ExitStack()

    def __enter__(self) -> None:
        self._open.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self._open.__exit__(*failure)

    def resume(self, checkpoint: Path) -> None:
        """Begin with the rows of ``checkpoint``."""
        self.rows = read_jsonl(checkpoint / METRICS)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin the display."""
        assert state.max_steps == len(self.tokens)
        assert state.global_step == len(self.rows)
        if state.is_world_process_zero:
            write_jsonl(self._live, self.rows)
            shown = progress(self.label, total=state.max_steps, done=state.global_step)
            self._bar = self._open.enter_context(shown)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Note the rate of the coming update: Trainer logs that of the one after it."""
        self._rate = float(given["optimizer"].param_groups[0]["lr"])
        self._began = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **given: Any,
    ) -> None:
        """Keep the row of the update that was made: its loss and norm are those before it."""
        if not logs or "loss" not in logs:
            return
        tokens = self.tokens[state.global_step - 1]
        row = {
            "step": state.global_step,
            "loss": logs["loss"],
            "learning_rate": self._rate,
            "tokens": tokens,
            "tokens_per_second": tokens / (time.perf_counter() - self._began),
        }
        row |= {key: logs[key] for key in ("grad_norm", "epoch") if key in logs}
        if self._held_out_loss and state.global_step in self._epoch_ends:
            row["held_out_loss"] = self._held_out_loss()
        self.rows.append(row)
        if self._bar:
            with self._live.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            shown = ("loss", "learning_rate", "tokens_per_second")
            self._bar.advance(1, **{key: row[key] for key in shown})


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
