"""The audit on folders that nobody here made: forms, faults and judges, each with its truth."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.audit.findings import as_text
from mini_lima.audit.folder import read_folder
from mini_lima.audit.order import find_order
from mini_lima.errors import UserError
from tests.audit import folders
from tests.audit.audited import agrees_with_the_library, edit, preference_as, report, said
from tests.audit.folders import Made, by_the_library

STYLES = {
    "chatgpt": ({}, "seed"),
    "chatgpt, seed 2": ({"order_seed": 2}, "seed"),
    "chatgpt, a seed that nobody would guess": ({"order_seed": 4711}, "read"),
    "davinci003": ({"says": folders.bare}, "seed"),
    "gpt4_turbo_clf": ({"says": folders.letter}, "seed"),
    "chatgpt_fn": ({"says": folders.function}, "seed"),
    "alpaca_eval_gpt4": ({"says": folders.ranking}, "seed"),
    "alpaca_eval_cot_gpt4_turbo_fn": ({"says": folders.ordered}, "seed"),
    "alpaca_farm, as JSON": ({"says": folders.boolean}, "seed"),
    "weighted": ({"says": folders.weighted, "weights": True}, "seed"),
    "weighted, seed 3": ({"says": folders.weighted, "weights": True, "order_seed": 3}, "seed"),
    "longest": ({"says": folders.nothing, "loses": lambda *_: 0}, "assumed"),
}


def test_every_annotators_way_of_answering_tells_who_stood_first(tmp_path):
    for style, (options, source) in STYLES.items():
        made = Made(**options)
        folder = made.into(tmp_path / style)
        found = report(folder)
        agrees_with_the_library(folder, found)
        assert found.order.source == source, style
        right = [
            made.firsts[row.instruction] == row.model_first
            for row in find_order(read_folder(folder))[1]
            if row.model_first is not None
        ]
        assert all(right), style
        assert len(right) > 100


VALUES = [0, 1.5, 1, 2, 1.25, None, 0, 2.5, -1, 1.5, 3, 1.999, 2, 1, 1]


def test_ties_weights_and_what_is_no_preference_are_counted_as_the_library_counts_them(tmp_path):
    folder = Made(n=len(VALUES), words=9).into(tmp_path / "run")
    edit(
        folder,
        "annotations.json",
        lambda rows: [{**r, "preference": p} for r, p in zip(rows, VALUES, strict=True)],
    )
    (folder / "leaderboard.csv").unlink()
    found = report(folder)
    agrees_with_the_library(folder, found)
    assert (found.missing.n, found.missing.n_invalid) == (4, 2)
    for value, invalid in (("NaN", 0), ("", 0), (float("-inf"), len(VALUES)), ("yes", len(VALUES))):
        preference_as(lambda _, value=value: value)(folder)
        none = report(folder)
        assert (none.missing.n_invalid, none.found.win_rate) == (invalid, None)


unusual = st.sampled_from([None, float("nan"), -1, 0, 1, 1.5, 2, 2.5, "1.0", "2", "1.25"])


@settings(max_examples=20)
@given(verdicts=st.lists(unusual | st.floats(1, 2), min_size=2, max_size=30))
def test_whatever_stands_there_the_win_rate_is_the_librarys(tmp_path_factory, verdicts):
    folder = tmp_path_factory.mktemp("verdicts")
    rows = [{"instruction": str(k), "preference": p} for k, p in enumerate([*verdicts, 1.0])]
    (folder / "annotations.json").write_text(json.dumps(rows))
    found, theirs = report(folder).found, by_the_library(folder)
    assert found.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert found.n_total == theirs["n_total"]
    if found.n_total > 1:
        assert found.standard_error == pytest.approx(theirs["standard_error"], abs=1e-9)


def test_instructions_that_repeat_are_one_cluster_and_nothing_is_lost(tmp_path):
    folder = Made(n=60, loses=lambda *_: 0).into(tmp_path / "run")

    def repeat(rows):
        return [{**row, "instruction": f"question {k % 20}"} for k, row in enumerate(rows)]

    for name in ("annotations.json", "model_outputs.json", "reference_outputs.json"):
        edit(folder, name, repeat)
    found = report(folder)
    agrees_with_the_library(folder, found)
    assert (found.n_instructions, found.found.n_total, found.missing.n) == (20, 60, 0)
    assert found.health.n == 60


def test_names_cannot_command_a_terminal(tmp_path):
    folder = Made(n=20, model="mine\x1b[2J\x07\r\n").into(tmp_path / "run")

    def colour(rows):
        for row in rows:
            row["annotator"] = "\x1b]0;title\x07judge"
            row["preference_raw_completion"] = "Output (a) \x1b[31m is best because\x00 it is"

    edit(folder, "annotations.json", colour)
    (folder / "leaderboard.csv").unlink()
    found = report(folder)
    assert all(each.isprintable() for each in as_text([found], None).split("\n"))
    assert found.model == r"mine\x1b[2J\x07"


def test_a_number_that_does_not_follow_is_an_alarm(tmp_path):
    folder = Made().into(tmp_path / "run")
    board = folder / "leaderboard.csv"
    header, figures = board.read_text().splitlines()
    model, _, rest = figures.split(",", 2)
    board.write_text(f"{header}\n{model},61.5,{rest}\n")
    found = report(folder)
    assert [s.figure for s in found.stated if not s.agrees] == ["win_rate"]
    assert "says win_rate 61.5" in said(found, "alarm")


def test_a_model_that_stands_as_output_1_is_turned(tmp_path):
    folder = Made(loses=lambda *_: 0).into(tmp_path / "run")
    usual = report(folder)

    def turn(rows):
        for row in rows:
            for name in ("output", "generator"):
                row[f"{name}_1"], row[f"{name}_2"] = row[f"{name}_2"], row[f"{name}_1"]
            row["preference"] = 3 - row["preference"]

    edit(folder, "annotations.json", turn)
    found = report(folder)
    assert (found.found, found.model) == (usual.found, "our model")
    assert "output 1" in found.remarks[0]


def test_rows_that_are_no_verdict_of_their_own_are_counted(tmp_path):
    folder = Made().into(tmp_path / "run")
    usual = report(folder)
    edit(folder, "annotations.json", lambda rows: [*rows, *rows[:7]])
    again = report(folder)
    assert (usual.reuse.n_repeated, again.reuse.n_repeated) == (0, 7)
    assert again.n_instructions == usual.n_instructions


def test_files_that_do_not_belong_together_are_noticed(tmp_path):
    folder = Made().into(tmp_path / "run")

    def change(rows):
        rows[0]["output"] = "written later"
        rows[1]["instruction"] = "asked later"

    edit(folder, "model_outputs.json", change)
    remarks = " ".join(report(folder).remarks)
    assert "1 of 120 instructions: was judged with another answer" in remarks
    assert "1 of 120 instructions: was judged and is not in model_outputs.json" in remarks


def test_whose_place_or_model_is_not_clear_is_refused_or_told_apart(tmp_path):
    folder = Made(n=60).into(tmp_path / "run")
    usual = report(folder)

    def add_another(rows):
        return rows + [{**row, "generator_2": "another", "preference": 2} for row in rows]

    edit(folder, "annotations.json", add_another)
    assert report(folder).found == usual.found, "model_outputs.json is of this one"
    (folder / "model_outputs.json").unlink()
    with pytest.raises(UserError, match="name one with --model: our model, another"):
        report(folder)
    assert report(folder, model="another").found.win_rate == 100

    folder = Made(n=60).into(tmp_path / "turned")

    def turn_some(rows):
        for row in rows[::3]:
            for name in ("output", "generator"):
                row[f"{name}_1"], row[f"{name}_2"] = row[f"{name}_2"], row[f"{name}_1"]

    edit(folder, "annotations.json", turn_some)
    with pytest.raises(UserError, match=r"as output 1 in some rows .* \(20 and 40\)"):
        read_folder(folder)

    def leave_names_out(rows):
        for row in rows:
            del row["generator_1"], row["generator_2"]

    edit(folder, "annotations.json", leave_names_out)
    with pytest.raises(UserError, match=r"as output 1 in some rows .* \(20 and 40\)"):
        read_folder(folder)  # both outputs files say it


def test_verdicts_that_were_dropped_are_missing_and_a_share_of_a_completion_tells_no_order(
    tmp_path,
):
    folder = Made().into(tmp_path / "run")
    usual = report(folder)
    edit(folder, "annotations.json", lambda rows: [r for r in rows if r["preference"] is not None])
    found = report(folder)
    assert usual.missing.n == found.missing.n == found.missing.n_absent > 0
    assert (found.found, found.missing.median_length) == (usual.found, usual.missing.median_length)

    def share(rows):  # as an answer to several pairs at once
        for start in range(0, len(rows), 5):
            together = "\n\n".join(r["preference_raw_completion"] for r in rows[start : start + 5])
            for row in rows[start : start + 5]:
                row["preference_raw_completion"] = together

    edit(folder, "annotations.json", share)
    assert report(folder).order.source == "assumed"
