"""What the audit finds by statistics: it finds planted faults, and accuses no clean folder."""

import json
import shutil
from dataclasses import replace

import pytest

from mini_lima.audit.folder import read_folder
from mini_lima.audit.several import spread
from mini_lima.audit.single import audit
from mini_lima.errors import UserError
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


@pytest.mark.parametrize(("every", "is_mixed"), [(24, False), (3, True)])
def test_a_few_verdicts_that_were_asked_for_again_are_no_mixture_of_passes(
    tmp_path, every, is_mixed
):
    """Batches of 50; what failed at first is asked again later, here every 24th, or every third."""
    folder = Made(n=200).into(tmp_path / "run")

    def ask_again(rows):
        for k, row in enumerate(rows):
            row["preference_time_per_example"] = (
                0.7712345 if k % every == 0 else 1 / (7.3 + k // 50)
            )

    edit(folder, "annotations.json", ask_again)
    assert ("several passes" in said(report(folder))) is is_mixed


def test_accidents_do_not_turn_a_folder_and_a_null_model_is_found(tmp_path):
    folder = Made(n=100).into(tmp_path / "run")
    usual = report(folder)

    def again(rows):  # another generation, of which six answers are the reference's by accident
        for k, row in enumerate(rows):
            row["output"] = f"Sure 🙂 {k} " + "Well then, " * 30 + "🙂"

    judged = json.loads((folder / "annotations.json").read_text())
    edit(folder, "model_outputs.json", again)
    edit(
        folder,
        "model_outputs.json",
        lambda rows: [
            {**row, "output": each["output_1"]} if k < 6 else row
            for k, (row, each) in enumerate(zip(rows, judged, strict=True))
        ],
    )
    found = report(folder)
    assert found.found == usual.found
    assert "model_outputs.json has nothing in common" in said(found)
    edit(
        folder,
        "annotations.json",
        lambda rows: [{**row, "output_2": "I would rather not say 🙂"} for row in rows],
    )
    (folder / "model_outputs.json").unlink()
    found = report(folder)
    assert "100 of 100 answers are one and the same text" in said(found, "alarm")
    assert found.health.ends_mid_sentence == found.health_of_reference.identical == 0


def test_the_quoted_verdict_is_a_doubtful_one_and_no_effect_is_told_that_rounds_to_none(tmp_path):
    folder = Made(n=60).into(tmp_path / "run")

    def explain(rows):
        for k, row in enumerate(rows):
            raw = row["preference_raw_completion"]
            if k < 5 and raw != "Neither.":
                row["preference_raw_completion"] = f"{raw}: it is the better one."
        row = next(r for r in rows[5:] if r["preference_raw_completion"] == "Output (a)")
        row["preference_raw_completion"] = "Output (a) is wrong."

    edit(folder, "annotations.json", explain)
    found = report(folder)
    assert (found.readings.n_doubtful, found.readings.examples) == (1, ["Output (a) is wrong."])
    assert "such as “Output (a) is wrong.”" in said(found)
    for low, told in ((0.04, False), (0.06, True)):
        seen = replace(
            found.consistency, order_effect=4.3, order_effect_low=low, order_effect_high=8.7
        )
        assert ("the place decides" in said(replace(found, consistency=seen))) is told


def test_runs_that_share_a_few_answers_by_accident_are_not_runs_of_the_same_outputs(tmp_path):
    folders = [Made(n=40).into(tmp_path / name) for name in ("one", "other")]
    edit(
        folders[1],
        "annotations.json",
        lambda rows: [
            {**r, "output_2": f"{r['output_2']} {k}" if k > 4 else r["output_2"]}
            for k, r in enumerate(rows)
        ],
    )
    with pytest.raises(UserError, match="only runs on the same outputs"):
        spread([read_folder(folder) for folder in folders], samples=50)


def test_columns_that_are_not_looked_at_are_named(tmp_path):
    folder = Made(n=20).into(tmp_path / "run")
    edit(folder, "annotations.json", lambda rows: [{**row, "rubric": 3} for row in rows])
    assert "not looked at, with the number of rows: rubric (20)" in said(report(folder))
