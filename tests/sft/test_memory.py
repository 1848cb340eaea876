"""Memory that a training on a processor frees, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, sys, tempfile
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments
from mini_lima.sft.memory import KeepMemory

def pages():
    return int(open("/proc/self/statm").read().split()[1])

if sys.argv[1] == "kept":
    args = TrainingArguments(tempfile.gettempdir(), use_cpu=True)
    KeepMemory().on_train_begin(args, TrainerState(), TrainerControl())
large = torch.ones(50_000_000)
before = pages()
del large
print((before - pages()) * os.sysconf("SC_PAGE_SIZE"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is glibc on Linux alone")
@pytest.mark.parametrize(("how", "given_back"), [("kept", False), ("by default", True)])
def test_freed_memory_is_kept_for_the_next_step(how: str, given_back: bool) -> None:
    command = [sys.executable, "-c", PROGRAM, how]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    assert (int(ended.stdout.split()[-1]) > 100e6) is given_back
