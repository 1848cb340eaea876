"""What is known of a training run step by step: kept as rows, and shown while it goes on."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mini_lima.progress import Bar, progress


class Record(TrainerCallback):
    """Keeps a row per optimizer step and shows the progress of the first process."""

    def __init__(self, label: str, tokens: Sequence[int]) -> None:
        """Show the progress as ``label``; ``tokens`` are those of the global batch of each step."""
        self.label = label
        self.tokens = tokens
        self.rows: list[dict[str, float]] = []
        self._rate = 0.0
        self._bar: Bar | None = None
        self._open = ExitStack()

    def __enter__(self) -> None:
        self._open.__enter__()

    def __exit__(self, *failure: Any) -> None:
        self._open.__exit__(*failure)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Begin the display."""
        assert state.max_steps == len(self.tokens)
        if state.is_world_process_zero:
            self._bar = self._open.enter_context(progress(self.label, total=state.max_steps))

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Note the rate of the coming update: Trainer logs that of the one after it."""
        self._rate = given["optimizer"].param_groups[0]["lr"]

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
        row = {
            "step": state.global_step,
            "loss": logs["loss"],
            "learning_rate": self._rate,
            "tokens": self.tokens[state.global_step - 1],
        }
        self.rows.append(row | {key: logs[key] for key in ("grad_norm", "epoch") if key in logs})
        if self._bar:
            self._bar.advance(1, loss=row["loss"], learning_rate=row["learning_rate"])
