"""The audit on folders that the real alpaca_eval made."""

import csv
import itertools
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mini_lima.audit.findings import findings
from mini_lima.audit.folder import read_folder
from mini_lima.audit.order import find_order
from mini_lima.audit.single import audit
from mini_lima.errors import UserError
from tests.audit.alpaca import Run
from tests.audit.audited import edit
from tests.audit.audited import report as read

REFUSAL = "Neither of them answers the question."


def answers(n, seed=0):
    """Answers of 1 to 300 characters; every tenth is the reference's own."""
    rng = random.Random(seed)
    found = {}
    for k in range(n):
        ours, theirs = (side * rng.randint(1, 300) for side in "ab")
        found[f"question {k} é\u2028"] = (theirs if k % 10 == 9 else ours, theirs)
    return found


def alarms(found):
    return [finding.text for finding in findings(found) if finding.level == "alarm"]


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(
    n=st.integers(2, 40),
    likes_first=st.floats(0, 1),
    refuses=st.sampled_from([0.0, 0.1, 0.9]),
    seed=st.integers(0, 3),
    batch=st.sampled_from([9, 128]),
    chance=st.randoms(use_true_random=False),
)
def test_figures_and_order_are_the_librarys(
    tmp_path_factory, n, likes_first, refuses, seed, batch, chance
):
    shown_first = {}

    def prefers(instruction, first, second):
        shown_first[instruction] = first
        # One word that is sure to be read: the library cannot take a run without any.
        refused = chance.random() < refuses and not instruction.startswith("question 0 ")
        return REFUSAL if refused else 1 if chance.random() < likes_first else 2

    given_answers = answers(n)
    folder = tmp_path_factory.mktemp("run") / "run"
    Run(given_answers, prefers, seed=seed, batch=batch).into(folder)
    found = read_folder(folder)
    report = audit(found, samples=200)

    (row,) = csv.DictReader((folder / "leaderboard.csv").open(newline=""))
    assert report.found.win_rate == pytest.approx(float(row["win_rate"]), abs=1e-9)
    assert report.found.n_total == int(row["n_total"])
    if row["standard_error"]:
        error = float(row["standard_error"])
        assert report.found.standard_error == pytest.approx(error, abs=1e-9)
    assert all(stated.agrees for stated in report.stated)
    assert {"win_rate", "n_total", "n_draws", "avg_length"} <= {s.figure for s in report.stated}
    assert report.found.n_total + report.missing.n == n
    assert (report.reuse.n_passes <= 1, report.reuse.n_of_others) == (True, 0)

    order, rows = find_order(found)
    if order.seed == seed:
        for row in rows:
            asked = shown_first.get(row.instruction)
            assert asked is None or row.model_first == (given_answers[row.instruction][0] == asked)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of a judge who likes the first place, refuses now and then, and is of two back-ends."""
    chance, prices = random.Random(5), itertools.cycle([0.0, 0.002, 0.0, 0.0, 0.001])

    def prefers(instruction, first, second):
        likes = 0.85 if first.startswith("a") else 0.6
        if chance.random() < 0.05:
            return REFUSAL
        return (
            (1 if chance.random() < likes else 2)
            if chance.random() < 0.97
            else ("Output (a) is not good.\nOutput (b)")
        )

    run = Run(answers(240), prefers, prices=prices)
    return run.into(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def test_a_number_that_does_not_follow_is_an_alarm(folder):
    board = folder / "leaderboard.csv"
    rows = list(csv.reader(board.open(newline="")))
    rows[1][1] = "61.5"
    with board.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    report = read(folder)
    assert [s.figure for s in report.stated if not s.agrees] == ["win_rate"]
    assert any("says win_rate 61.5" in text for text in alarms(report))


def turned(row):
    """The same verdict, with the model as output 1."""
    sides = {
        f"{name}_{a}": row[f"{name}_{b}"]
        for name in ("output", "generator")
        for a, b in ("12", "21")
    }
    verdict = row["preference"]
    return {**row, **sides, "preference": verdict and 3 - verdict}


def test_a_model_that_stands_as_output_1_is_turned(folder):
    usual = read(folder)
    edit(folder, "annotations.json", lambda rows: [turned(row) for row in rows])
    report = read(folder)
    assert report.found == usual.found
    assert report.model == "our model"
    assert (report.consistency, report.order) != (usual.consistency, usual.order)  # other seats
    assert "output 1" in report.remarks[0]


def test_without_raw_completions_the_order_is_assumed_and_it_says_so(folder):
    usual = read(folder)
    edit(
        folder,
        "annotations.json",
        lambda rows: [{k: v for k, v in r.items() if "raw" not in k} for r in rows],
    )
    report = read(folder)
    assert (usual.order.source, report.order.source) == ("seed", "assumed")
    assert report.consistency == usual.consistency
    assert any("is assumed" in finding.text for finding in findings(report))


def test_mixed_back_ends_are_told_apart(folder):
    def mix(rows):
        for number, row in enumerate(rows):
            if row["preference"] is not None:
                free = number % 2
                row["preference_price_per_example"] = 0.0 if free else 0.002
                row["preference"] = 1.0 if free else row["preference"]

    edit(folder, "annotations.json", mix)
    (parts,) = read(folder).parts
    assert parts.by == "reported usage"
    assert {part.name for part in parts.parts} == {"reported", "none reported"}
    free = next(part for part in parts.parts if part.name == "none reported")
    assert (free.found.win_rate, parts.p_value < 0.01) == (0, True)
    assert any("by reported usage, and they differ" in text for text in alarms(read(folder)))


def test_rows_that_are_no_verdict_of_their_own_are_counted(folder):
    usual = read(folder)
    edit(folder, "annotations.json", lambda rows: [*rows, *rows[:7]])
    again = read(folder)
    assert (usual.reuse.n_repeated, again.reuse.n_repeated) == (0, 7)
    assert again.n_instructions == usual.n_instructions

    def interleave(every):
        def change(rows):
            for row in rows[:240:every]:
                row["preference_time_per_example"] = 0.7712345
            return rows[:240]

        return change

    # A few that failed at first and were asked again are no mixture.
    for every, is_mixed in ((24, False), (3, True)):
        edit(folder, "annotations.json", interleave(every))
        told = [finding.text for finding in findings(read(folder))]
        assert any("several passes" in text for text in told) is is_mixed


def test_files_that_do_not_belong_together_are_noticed(folder):
    def change(rows):
        rows[0]["output"] = "written later"
        rows[1]["instruction"] = "asked later"

    edit(folder, "model_outputs.json", change)
    remarks = " ".join(read(folder).remarks)
    assert "1 of 240 instructions: was judged with another answer" in remarks
    assert "1 of 240 instructions: was judged and is not in model_outputs.json" in remarks
    assert "1 of 240 instructions: is in reference_outputs.json and not in model_o" in remarks
    other = {"instruction": "of another run", "output": "x", "generator": "another"}
    edit(folder, "model_outputs.json", lambda rows: [other] * 9)
    report = read(folder)
    assert report.missing.n_absent == 0
    assert report.health.n == 240, "the answers that were judged"
    assert all(stated.agrees for stated in report.stated)
    assert "model_outputs.json has nothing in common" in " ".join(report.remarks)


def test_several_models_in_one_file_have_to_be_named(folder):
    usual = read(folder)
    edit(
        folder,
        "annotations.json",
        lambda rows: [*rows, *({**r, "generator_2": "another", "preference": 2} for r in rows)],
    )
    assert read(folder).found == usual.found  # model_outputs.json is of this one
    (folder / "model_outputs.json").unlink()
    with pytest.raises(UserError, match="name one with --model: our model, another"):
        read(folder)
    assert read(folder, model="our model").found == usual.found
    assert read(folder, model="another").found.win_rate == 100
    with pytest.raises(UserError, match="no verdicts on 'nobody'"):
        read(folder, model="nobody")
