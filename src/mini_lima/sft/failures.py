"""What a person can do about a training that ran out of memory or disk."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mini_lima.errors import UserError

OUT_OF_MEMORY = ("out of memory", "allocate memory", "alloc_failed", "bad_alloc")
"""How CUDA, PyTorch's CPU allocator, cuBLAS and C++ say it, in lower case."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITE_FAILED = ("inline_container", *(f"(os error {number})" for number in DISK_FULL))
"""How PyTorch's writer says it (with a line of its source), and that of safetensors."""


@contextmanager
def as_user_errors(settings: Mapping[str, Any]) -> Iterator[None]:
    """Turn what ran out during the block into a UserError; other failures pass as they are.

    Args:
        settings: Those of `mini_lima.sft.training.train`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = explained(error, settings)
        if told is None:
            raise
        raise UserError(told) from error


def explained(error: Exception, settings: Mapping[str, Any]) -> str | None:
    """Say what ran out and what to change, in one line; None for any other failure."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or any(words in reason.lower() for words in OUT_OF_MEMORY):
        return f"out of memory ({reason}): {less_memory(settings)}"
    if disk_full(error):
        return f"the disk is full ({reason}): make room and run the same command again"
    return None


def disk_full(error: Exception) -> bool:
    """Whether ``error`` says that a file could not be written to its end."""
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    return any(words in str(error) for words in WRITE_FAILED)


def less_memory(settings: Mapping[str, Any]) -> str:
    """Say what would need less memory than ``settings``, in the order in which to try it."""
    micro, zero = settings["micro_batch_size_per_gpu"], settings["deepspeed"]
    ways = []
    if micro > 1:
        ways.append(f"model.micro_batch_size_per_gpu={micro // 2} (the result stays the same)")
    if not settings["activation_checkpointing"]:
        ways.append("sft.activation_checkpointing=true (slower)")
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
