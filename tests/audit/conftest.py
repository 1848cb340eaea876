"""Runs that several tests look at."""

import random

import pytest

from tests.audit.audited import EVIL, N, edit
from tests.audit.folders import Made, plain


def judge_again(folder, seed, kinder):
    """The verdicts of another run of one judge, or of one who is ``kinder`` to the model."""
    chance = random.Random(seed)

    def verdicts(rows):
        for k, row in enumerate(rows):
            hardness = random.Random(row["instruction"]).uniform(0.1, 0.5)
            wins = chance.random() < hardness + kinder
            row["preference"] = 2.0 if wins else 1.0
            row["preference_raw_completion"] = plain(chance, 1 + (wins != k % 2), None)
            row["preference_time_per_example"] = 1 / (3.1 + seed + k // 128)

    edit(folder, "annotations.json", verdicts)
    (folder / "leaderboard.csv").unlink()


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """The same outputs judged three times by one judge, and once by a kinder one."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, (name, kinder) in enumerate({"a": 0, "b": 0, "c": 0, "kinder": 0.25}.items()):
        Made(n=N, model=EVIL).into(folder / name)
        judge_again(folder / name, seed, kinder)
    return folder
