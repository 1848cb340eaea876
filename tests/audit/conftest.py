"""Runs that several tests look at."""

import random

import pytest

from tests.audit.alpaca import Run
from tests.audit.audited import EVIL, N


def judged_by(likes, seed):
    """A judge who prefers ours with probability ``likes(instruction)``."""
    chance = random.Random(seed)

    def prefers(instruction, first, second):
        wins = chance.random() < likes(instruction)
        return 1 if first.startswith("ours") == wins else 2

    return prefers


def hardness(instruction):
    return random.Random(instruction).uniform(0.1, 0.5)


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The same outputs judged three times by one judge, and once by a kinder one."""
    folder = tmp_path_factory.mktemp("runs")
    answers = {f"question {k}": (f"ours {k}", f"theirs {k}") for k in range(N)}
    judges = {name: judged_by(hardness, k) for k, name in enumerate(("a", "b", "c"))}
    judges["kinder"] = judged_by(lambda i: hardness(i) + 0.25, 3)
    for name, prefers in judges.items():
        Run(answers, prefers, model=EVIL).into(folder / name)
    return folder
