"""Whether what is about to train is the DeepSpeed engine that was asked for.

Accelerate falls back without a word: with ACCELERATE_USE_CPU in the environment, for one, it trains
by plain data parallelism whatever its DeepSpeed configuration says.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from deepspeed import DeepSpeedEngine
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


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
