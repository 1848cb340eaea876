"""What the C library does with memory that a training on a processor frees: keep it.

Otherwise every large tensor is made of new pages from the kernel, a tenth of all processor time of
a small model with a large vocabulary.
"""

import ctypes
import sys
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names and numbers of glibc's malloc.h
NEVER, NONE = -1, 0


class KeepMemory(TrainerCallback):
    """Keeps it from the first step on: what loading the model has left is given back before."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Tell glibc, where tensors are in its memory."""
        if args.device.type == "cpu" and sys.platform == "linux":
            libc = ctypes.CDLL(None)
            libc.malloc_trim(0)
            libc.mallopt(TRIM_THRESHOLD, NEVER)
            libc.mallopt(MMAP_MAX, NONE)
