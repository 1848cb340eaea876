"""Metrics over model outputs: those that ship, and one of a user's own."""

import pytest

from mini_lima.errors import UserError
from mini_lima.evaluation import measure
from mini_lima.evaluation.metrics import resolve
from mini_lima.files import read_json, read_jsonl, write_json, write_jsonl

OURS = "mini_lima.evaluation.metrics"
TWO_CHECKS = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3, "relation": "at least"}],
}
ROWS = [
    {"instruction": "Name a colour of the sky.", "output": "It is blue.", "dataset": "d"},
    {"instruction": "Say three words.", "output": "Well, here they are.", **TWO_CHECKS},
    {"instruction": "Say three words.", "output": "One two three."},
]


def questions(answers, *, most: int = 1):
    """A metric of a user's own."""
    return [answer.output.count("?") if most else None for answer in answers]


def broken(answers, *, returns: list | str | float):
    return returns if isinstance(returns, list) else [float(returns)] * len(answers)


@pytest.fixture
def run(tmp_path):
    """Measure ``outputs``; returns the rows of scores, the units, and the health."""

    def run(outputs, metrics, *, rows=ROWS, facts=None, at=""):
        made, folder = tmp_path / at / "outputs", tmp_path / at / "metrics"
        made.mkdir(parents=True)
        folder.mkdir()
        write_json(tmp_path / "rows.json", rows)
        answers = [
            {"instruction": row["instruction"], "output": output, "generator": "mine"}
            for row, output in zip(rows, outputs, strict=True)
        ]
        write_json(made / "model_outputs.json", answers)
        usual = {"tokens": 7, "cut": False, "room": 50}
        facts = facts or [{}] * len(rows)
        write_jsonl(made / "answers.jsonl", [usual | fact for fact in facts])
        measure(
            folder,
            model_outputs=made,
            reference_outputs=tmp_path / "rows.json",
            limit=None,
            max_new_tokens=50,
            metrics=resolve(metrics),
        )
        return (
            read_jsonl(folder / "scores.jsonl"),
            read_json(folder / "metrics.json"),
            read_json(folder / "health.json"),
        )

    return run


def test_the_metrics_that_ship_say_what_they_count(run):
    names = ("characters", "words", "tokens", "ended", "repetition", "language", "chrf")
    metrics = {name: {"_target_": f"{OURS}.{name}"} for name in names}
    for level in ("prompt", "instruction"):
        followed = {"_target_": f"{OURS}.instructions_followed", "level": level}
        metrics |= {f"{level}_strict": followed, f"{level}_loose": {**followed, "loose": True}}
    outputs = ["It is blue.", "Sure, gladly:\nSome words, three", "la " * 200]
    scores, _, health = run(outputs, metrics, facts=[{}, {"cut": True}, {}])
    assert [row["repeat"] for row in scores] == [0, 0, 1]
    first, second, third = (row["scores"] for row in scores)
    assert (first["characters"], first["words"], first["tokens"], first["chrf"]) == (11, 3, 7, 100)
    assert [row["scores"]["ended"] for row in scores] == [1, 0, 1]
    assert [row["scores"]["repetition"] for row in scores] == [0, 0, 1]
    assert 0 < second["chrf"] < 50
    assert first["prompt_strict"] is third["prompt_strict"] is None
    assert (second["prompt_strict"], second["instruction_strict"]) == (0, 0.5)
    assert (second["prompt_loose"], second["instruction_loose"]) == (0, 0.5)
    assert (health["n"], health["cut_at_limit"], health["repeats_itself"]) == (3, 1, 1)
    assert [row["faults"] for row in scores] == [[], ["cut_at_limit"], ["repeats_itself"]]


def test_a_metric_of_ones_own_counts_and_what_failed_is_not_a_number(run):
    metrics = {
        "questions": {"_target_": f"{__name__}.questions", "_unit_": "points", "_better_": "lower"},
        "none": {"_target_": f"{__name__}.questions", "most": 0},
        "nan": {"_target_": f"{__name__}.broken", "returns": "nan"},
        "gone": None,
    }
    scores, units, _ = run(["Why? Who?", "", "No."], metrics, facts=[{}, {"error": "down"}, {}])
    assert units == {
        "questions": {"unit": "points", "better": "lower"},
        "none": {"unit": "points", "better": None},
        "nan": {"unit": "points", "better": None},
    }
    assert scores[0]["scores"] == {"questions": 2, "none": None, "nan": None}
    assert [row["failed"] for row in scores] == [["nan"], ["questions", "nan"], ["nan"]]
    assert scores[1]["scores"]["questions"] is None
    code = resolve(metrics)["questions"].code
    assert code is not None, "its source is part of the stage's identity"
    assert resolve({"a": {"_target_": f"{OURS}.words"}})["a"].code is None


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"_target_": f"{OURS}.word"}, "did you mean words"),
        ({"_target_": f"{OURS}.chrf", "word_order": 3}, r"metrics\.mine\.word_order=3"),
        ({"_target_": f"{OURS}.chrf", "order": 2}, "did you mean word_order"),
        ({"_target_": f"{OURS}.words", "_unit_": "<b>"}, r"metrics\.mine\._unit_='<b>'"),
        ({"_target_": f"{OURS}.words", "_better_": "more"}, r"metrics\.mine\._better_=more"),
        ({"_target_": f"{OURS}.words", "_units_": "words"}, r"metrics\.mine\._units_"),
        ("words", "must be a table"),
    ],
)
def test_a_metric_that_cannot_be_had_is_said_before_anything_runs(given, complaint):
    with pytest.raises(UserError, match=complaint):
        resolve({"mine": given})


def test_what_is_no_number_for_each_answer_is_said(run):
    for number, (returns, complaint) in enumerate(
        (
            ([1.0], "returned 1 numbers for 3 answers"),
            (["a", "b", "c"], "returned 'a'"),
            (2.0, "share from 0 to 1"),
            ("inf", "share from 0 to 1"),
        )
    ):
        given = {"_target_": f"{__name__}.broken", "returns": returns, "_unit_": "percent"}
        with pytest.raises(UserError, match=rf"metrics\.mine: .*broken.*{complaint}"):
            run(["a", "b", "c"], {"mine": given}, at=f"{number}")
