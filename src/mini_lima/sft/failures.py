"""What a person can do about a training that ran out of memory or disk."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mini_lima.errors import UserError

OUT_OF_MEMORY = ("out of memory", "allocate memory", "alloc_failed", "bad_alloc")
"""How CUDA, PyTorch's CPU allocator, cuBLAS and C++ say it, in lower case."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def in_words(settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn what ran out during the block into a UserError; other failures pass as they are.

    Args:
        settings: Those of `mini_lima.sft.training.train`.
    """
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        told = explained(error, settings)
        if told is None:
            raise
        raise UserError(told) from error


def explained(error: Exception, settings: Mapping[str, Any]) -> str | None:
    """Say what ran out and what to change, in one line; None for any other failure."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or any(words in reason.lower() for words in OUT_OF_MEMORY):
        return f"out of memory ({reason}): {less_memory(settings)}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the disk is full ({reason}): make room and run the same command again"
    return None


def less_memory(settings: Mapping[str, Any]) -> str:
    """Say what would need less memory than ``settings``, in the order in which to try it."""
    micro, zero = settings["micro_batch_size_per_gpu"], settings["deepspeed"]
    ways = []
    if micro > 1:
        ways.append(f"model.micro_batch_size_per_gpu={micro // 2} (the result stays the same)")
    if settings["device"] == "cuda" and not zero["offload_optimizer"]:
        ways.append("deepspeed=zero2_offload")
    if settings["device"] == "cuda" and not zero["offload_parameters"]:
        ways.append("deepspeed=zero3_offload")
    if settings["precision"] == "fp32":
        ways.append("sft.precision=bf16")
    ways.append(f"sft.max_length below {settings['max_length']} with sft.overlong=drop")
    if not settings["adapter"]:
        ways.append("adapter=lora")
    return "try " + ", ".join(ways)
