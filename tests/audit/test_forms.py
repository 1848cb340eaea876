"""The audit on one folder in many forms: what is written in another way is read all the same."""

import csv
import gzip
import json

import pytest
from tests.audit.audited import (
    edit,
    in_rows,
    preference_as,
    report,
    said,
)
from tests.audit.folders import Made

from mini_lima.audit.folder import read_folder
from mini_lima.audit.text import as_text
from mini_lima.errors import UserError


def in_bytes(change):
    def apply(folder):
        for path in folder.glob("*.*"):
            path.write_bytes(change(path.read_bytes()))

    return apply


def without(*names):
    return in_rows(lambda row: {k: v for k, v in row.items() if k not in names})


def as_lines(folder):
    rows = json.loads((folder / "annotations.json").read_text())
    (folder / "annotations.json").write_text("\r\n".join(map(json.dumps, rows)))


def with_empty_columns(folder):
    in_rows(lambda row: {**row, "output_1": None, "output_2": None})(folder)


def by_columns_alone(folder):
    without("output_1", "output_2", "generator_1", "generator_2", "annotator")(folder)


def board(text):
    def write(folder):
        header, figures = (folder / "leaderboard.csv").read_text().splitlines()
        lines = text.format(h=header, f=figures, hn=header[1:], fn=figures.split(",", 1)[1])
        (folder / "leaderboard.csv").write_text(lines)

    return write


def nested(folder):
    inner = folder / "judge"
    inner.mkdir()
    for name in ("annotations.json", "leaderboard.csv"):
        (folder / name).rename(inner / name)


SAME = {
    "Windows line endings": in_bytes(lambda text: text.replace(b"\n", b"\r\n")),
    "a byte order mark": in_bytes(lambda text: b"\xef\xbb\xbf" + text),
    "NaN": preference_as(lambda p: float("nan") if p is None else p),
    "whole numbers": preference_as(lambda p: p and int(p)),
    "numbers as text": preference_as(lambda p: p and f" {p} "),
    "JSON lines, ended as on Windows": as_lines,
    "no names and no outputs": by_columns_alone,
    "outputs that are null": with_empty_columns,
    "no dataset, no dates": without("dataset", "preference_time_per_example"),
    "leaderboard with a named index": board("model{h}\n{f}\n"),
    "leaderboard of pandas without an index": board("Unnamed: 0{h}\n{f}\n"),
    "leaderboard without names": board("{hn}\n{fn}\n"),
    "leaderboard with the name last": board("{hn},generator\n{fn},our model\n"),
    "leaderboard of many": board("{h}\nother,1,1,1,1,1,1,1,1\n{f}\n"),
    "leaderboard of Windows with an empty line": board("\ufeff{h}\r\n{f}\r\n\r\n"),
    "leaderboard with other metrics": board("{h},kappa,mode\n{f},0.3,community\n"),
}


@pytest.mark.parametrize("form", SAME)
def test_the_form_of_the_files_changes_nothing(tmp_path, form):
    folder = Made().into(tmp_path / "run")
    usual = report(folder)
    SAME[form](folder)
    found = report(folder)
    assert (found.found, found.stated, found.missing.n) == (
        usual.found,
        usual.stated,
        usual.missing.n,
    )
    assert len(found.stated) > 6
    assert found.order == usual.order
    assert found.consistency.order_effect == usual.consistency.order_effect
    assert said(found, "alarm") == said(usual, "alarm")


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("{hn}\n{fn}\n{fn}\n", "no row for our model, only for no name, no name"),
        ("{h}\n{f}\n{f}\n", "2 rows for our model"),
        ("{h}\nx,1\ny,2\n", "no row for our model, only for x, y"),
    ],
)
def test_a_leaderboard_that_could_be_anyones_is_not_compared(tmp_path, text, remark):
    folder = Made(n=20).into(tmp_path / "run")
    board(text)(folder)
    found = report(folder)
    assert found.stated == []
    assert remark in said(found)


def test_a_leaderboard_without_win_rate_is_compared_in_what_it_has(tmp_path):
    folder = Made(n=20, loses=lambda *_: 0).into(tmp_path / "run")
    (folder / "leaderboard.csv").write_text("model,n_total\nour model,20\n")
    assert [(s.figure, s.agrees) for s in report(folder).stated] == [("n_total", True)]


def test_outputs_two_files_away_are_found_or_not_needed(tmp_path):
    folder = Made().into(tmp_path / "results" / "our model")
    usual = report(folder)
    nested(folder)
    found = report(folder / "judge")
    assert (found.found, found.health, found.stated) == (usual.found, usual.health, usual.stated)
    (folder / "reference_outputs.json").rename(tmp_path / "reference_outputs.json")
    assert report(folder / "judge").found == usual.found


def test_half_characters_are_no_obstacle(tmp_path):
    folder = Made(n=30).into(tmp_path / "run")

    def break_off(rows):
        rows[3]["instruction"] += "\ud83d"
        rows[4].update(output="\ude00" * 3) if "output" in rows[4] else None

    for name in ("annotations.json", "model_outputs.json", "reference_outputs.json"):
        edit(folder, name, break_off)
    (folder / "leaderboard.csv").unlink()
    as_text([report(folder)], None).encode()


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        (
            "annotations.json.gz",
            gzip.compress(b"[]", mtime=0),
            "if annotations.json.gz has the verdicts",
        ),
        ("annotations_seed0_configs.json", b"[]", "if annotations_seed0_configs.json has"),
        ("annotations.json", gzip.compress(b"[]", mtime=0), "cannot be read"),
        ("annotations.json", "[]".encode("utf-16"), "cannot be read"),
        ("annotations.json", b"[]", "holds no rows"),
        ("annotations.json", b"\r\n", "neither a JSON list"),
        ("annotations.json", b"[{}]", "row 1: has no instruction and no preference"),
        ("annotations.json", b'[{"instruction": "i", "preference": 1}, 7]', "row 2"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(tmp_path, name, content, hint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        read_folder(tmp_path)
    assert hint in str(error.value)
    assert "\n" not in str(error.value)


def test_the_leaderboard_is_read_as_csv_is_written(tmp_path):
    made = Made(n=30, model='a "quoted", model\u2028 é')
    folder = made.into(tmp_path / "run")
    header, figures = list(csv.reader((folder / "leaderboard.csv").open(newline="")))[:2]
    with (folder / "leaderboard.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, [made.model, *figures[-len(header) + 1 :]]])
    found = report(folder)
    assert found.stated
    assert all(stated.agrees for stated in found.stated)
