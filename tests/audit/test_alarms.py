"""What the audit finds by statistics: it finds planted faults, and accuses no clean folder."""

import shutil

import pytest

from mini_lima.audit.folder import read_folder
from mini_lima.audit.several import spread
from mini_lima.audit.single import audit
from tests.audit.audited import edit, report, said
from tests.audit.folders import Made

RUNS = 60


def test_a_clean_judge_gives_no_more_false_alarms_than_chance_allows(tmp_path):
    """Each warning that rests on a p-value or an interval may come once in twenty runs."""
    alarms = dict.fromkeys(("place decides", "not missing at random", "another length"), 0)
    alarms |= dict.fromkeys(("they differ", "says", "repeat", "several passes", "answers"), 0)
    for seed in range(RUNS):
        made = Made(n=80, seed=seed, paying=0.5, loses=lambda *_: 0.05, words=12)
        folder = made.into(tmp_path / str(seed))
        text = said(audit(read_folder(folder), samples=60))
        shutil.rmtree(folder)
        for name in alarms:
            alarms[name] += name in text.replace("missing on answers", "missing on")
    for name in ("says", "repeat", "several passes", "answers"):
        assert alarms.pop(name) == 0, name
    assert max(alarms.values()) <= 0.13 * RUNS, alarms  # 5 percent and three standard errors


def test_answers_whose_verdicts_fail_together_are_no_false_alarm(tmp_path):
    """All six verdicts on an answer are missing, whatever its length: that is one accident."""
    alarms = 0
    for seed in range(20):
        folder = Made(n=40, seed=seed, loses=lambda *_: 0.2, words=30).into(tmp_path / str(seed))
        edit(
            folder,
            "annotations.json",
            lambda rows: [
                {**r, "model_first": first, "repeat": repeat}
                for r in rows
                for first in (True, False)
                for repeat in range(3)
            ],
        )
        alarms += report(folder).missing.length_p < 0.05
        shutil.rmtree(folder)
    assert alarms <= 4


FAULTS = {
    "the place decides": {"likes": lambda first, paid, rng: 0.6 if first else 0.4},
    "and they differ": {"paying": 0.5, "likes": lambda first, paid, rng: 0.45 if paid else 0.2},
    "not missing at random": {"loses": lambda first, length: 0.08 * first},
    "of another length": {"loses": lambda first, length: 0.15 * (length > 350)},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(tmp_path, fault):
    found = 0
    for seed in range(2):
        folder = Made(n=500, seed=seed, **FAULTS[fault]).into(tmp_path / str(seed))
        found += fault in said(report(folder))
    assert found == 2


def test_a_coarse_clock_is_no_sign_of_several_passes(tmp_path):
    folder = Made(n=200).into(tmp_path / "run")

    def round_off(rows):
        for k, row in enumerate(rows):
            row["preference_time_per_example"] = round(k * 0.37 % 1, 1)

    edit(folder, "annotations.json", round_off)
    assert report(folder).reuse.n_stretches == 0
    same = spread([read_folder(folder), read_folder(folder)], samples=50)
    assert same.pairs[0].n_copied == 0, "nobody knows"


def test_a_missing_verdict_on_an_empty_answer_counts_among_the_short_ones(tmp_path):
    folder = Made(loses=lambda *_: 0).into(tmp_path / "run")

    def empty(rows):
        for row in rows[:15]:
            row.update(output_2="", preference=None)

    edit(folder, "annotations.json", empty)
    found = report(folder).missing
    assert found.median_length == 0
    assert found.length_p < 0.01
