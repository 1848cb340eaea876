"""What the audit finds by statistics: it finds planted faults, and accuses no clean folder."""

import shutil

import pytest

from mini_lima.audit.folder import read_folder
from mini_lima.audit.single import audit
from tests.audit.audited import report, said
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
