"""Memory that a training on a processor frees, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import os, tempfile
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments
from mini_lima.sft.memory import KeepMemory

def given_back():
    large = torch.ones(50_000_000)
    before = pages()
    del large
    return (before - pages()) * os.sysconf("SC_PAGE_SIZE") > 100e6

def pages():
    return int(open("/proc/self/statm").read().split()[1])

by_default = given_back()
args = TrainingArguments(tempfile.gettempdir(), use_cpu=True)
KeepMemory().on_train_begin(args, TrainerState(), TrainerControl())
print(by_default, given_back())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is glibc on Linux alone")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    command = [sys.executable, "-c", PROGRAM]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ended.stdout.split()[-2:] == ["True", "False"]
