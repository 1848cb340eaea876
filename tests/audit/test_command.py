"""``mini-lima audit``: text, JSON and page; folders that are broken; several runs together."""

import json
import shutil

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mini_lima.audit.findings import as_document, as_text
from mini_lima.audit.folder import read_folder
from mini_lima.audit.page import as_page
from mini_lima.audit.several import spread
from mini_lima.audit.single import audit
from mini_lima.cli import main
from mini_lima.errors import UserError
from tests.audit.audited import N, folders


def test_runs_of_one_judge_fit_and_another_judges_does_not(runs):
    same = spread(folders(runs, "a", "b", "c"), samples=2000)
    assert same.fits_one_judge
    assert same.n_common == N
    assert same.expected == pytest.approx(same.observed, abs=3)
    assert [pair.n_copied for pair in same.pairs] == [0, 0, 0]
    assert all(20 < pair.flips < 60 for pair in same.pairs)
    mixed = spread(folders(runs, "a", "b", "kinder"), samples=2000)
    assert not mixed.fits_one_judge
    assert mixed.p_value < 0.01
    assert mixed.observed > 2 * mixed.expected


def test_a_run_that_reuses_verdicts_is_no_second_opinion(runs, tmp_path, capsys):
    copy = shutil.copytree(runs / "a", tmp_path / "copy")
    rows = json.loads((copy / "annotations.json").read_text())
    for row in rows[:10]:
        row["preference_time_per_example"] = 0.1234567
    (copy / "annotations.json").write_text(json.dumps(rows))
    (pair,) = spread(folders(runs, "a", copy), samples=100).pairs
    assert (pair.n_copied, pair.flips) == (N - 10, 0)
    assert main(["audit", str(runs / "a"), str(copy)]) == 0
    assert f"! {N - 10} verdicts of" in capsys.readouterr().out


def test_text_json_and_page_say_the_same(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    named = [str(runs / "a"), str(runs / "kinder")]
    assert main(["audit", *named]) == 0
    text = capsys.readouterr().out
    assert main(["audit", *named, "--json", "--page", str(page)]) == 0
    document = json.loads(capsys.readouterr().out)
    shown = page.read_text(encoding="utf-8")
    assert [found["folder"] for found in document["audits"]] == named
    for found in document["audits"]:
        rate = found["found"]["win_rate"]
        assert f"{rate:6.2f}%" in text
        assert f"of {N}: {rate:.1f}%" in shown
    assert document["spread"]["fits_one_judge"] is False
    for words in (text, shown):
        assert "do not fit one judge" in words


ROW = {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1.0}
BROKEN = {
    "no such folder": (None, "does not exist"),
    "no annotations": ({"leaderboard.csv": "x"}, "has no annotations.json"),
    "empty": ({"annotations.json": ""}, "it is empty"),
    "cut off": ({"annotations.json": '[{"instruction": "i", "pref'}, "not JSON"),
    "binary": ({"annotations.json": b"\xff\xfe\x00"}, "UTF-16"),
    "packed": ({"annotations.json": b"\x1f\x8b\x08"}, "gzip"),
    "a pointer": ({"annotations.json": "version https://git-lfs.github.com/spec/v1"}, "Git LFS"),
    "nested": ({"annotations.json": "[" * 100_000}, "nested deeper"),
    "nested less": ({"annotations.json": "[" * 200 + "]" * 200}, "nested deeper"),
    "no rows": ({"annotations.json": "[]"}, "holds no rows"),
    "an object": ({"annotations.json": '{"a": 1}'}, "row 1: has no instruction"),
    "rows that are none": ({"annotations.json": "[1, 2]"}, "row 1: has no instruction"),
    "no preference": ({"annotations.json": json.dumps([ROW, {"instruction": "i"}])}, "row 2"),
    "no text": ({"annotations.json": json.dumps([{**ROW, "instruction": None}])}, "not text"),
    "outputs cut off": (
        {"annotations.json": json.dumps([ROW]), "model_outputs.json": "[{"},
        "model_outputs.json: it is not JSON",
    ),
    "outputs without output": (
        {"annotations.json": json.dumps([ROW]), "reference_outputs.json": '[{"instruction": "i"}]'},
        "reference_outputs.json, row 1: has no output",
    ),
    "a leaderboard of text": (
        {"annotations.json": json.dumps([ROW]), "leaderboard.json": "[1]"},
        "cannot be read as a leaderboard",
    ),
    "no leaderboard": (
        {"annotations.json": json.dumps([ROW]), "leaderboard.csv": "a,b\n1,2\n"},
        "no column win_rate",
    ),
    "leaderboard without rows": (
        {"annotations.json": json.dumps([ROW]), "leaderboard.csv": ",win_rate\n"},
        "no row below its header",
    ),
}


def test_a_broken_folder_is_one_clear_line(tmp_path, capsys):
    for fault, (files, said) in BROKEN.items():
        folder = tmp_path / fault
        if files is not None:
            folder.mkdir()
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert main(["audit", str(folder)]) == 2
        told = capsys.readouterr()
        assert said in told.err, fault
        assert str(folder) in told.err
        assert (told.out, told.err.count("\n")) == ("", 1)


def test_a_broken_folder_among_others_is_named_and_passed_over(runs, tmp_path, capsys, caplog):
    assert main(["audit", "--json", str(runs / "a")]) == 0
    of_it = capsys.readouterr().out
    assert main(["audit", "--json", str(runs / "a"), str(tmp_path)]) == 0
    assert capsys.readouterr().out == of_it
    assert f"passed over: {tmp_path}" in caplog.text


def test_a_file_or_a_folder_above_gets_a_hint(runs, capsys):
    assert main(["audit", str(runs / "a" / "annotations.json")]) == 2
    assert "name the folder that it is in" in capsys.readouterr().err
    assert main(["audit", str(runs)]) == 2
    assert "a, b, c, kinder" in capsys.readouterr().err
    assert main(["audit", str(runs / "a"), "--page", str(runs / "none" / "page.html")]) == 2
    assert "the page cannot be written" in capsys.readouterr().err


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
strange_rows = st.lists(
    st.fixed_dictionaries(
        {
            "instruction": st.sampled_from(["i", "j", "\ud800", ""]),
            "preference": st.sampled_from([0, 1, 1.2, 1.5, 2, 10**400, -1, None, "2", "x", True])
            | anything,
        },
        optional={
            name: anything
            for name in (
                *("output_1", "output_2", "generator_1", "generator_2", "annotator", "date"),
                *("raw_completion", "price_per_example", "time_per_example", "model_first"),
                *("served_model", "is_switched_outputs", "referenced_models"),
            )
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50)
@given(rows=strange_rows)
def test_whatever_the_rows_hold_there_is_an_audit_or_one_clear_line(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("strange")
    (folder / "annotations.json").write_text(json.dumps(rows))
    try:
        found = read_folder(folder)
    except UserError as error:
        event("an error")
        one_line, _, rest = str(error).partition("\n")
        if rest or not one_line:
            raise
        return
    report = audit(found, samples=20)
    as_text([report], None).encode()
    as_page([report], None).encode()
    json.dumps(as_document([report], None), allow_nan=False)
    assert report.found.n_total + report.missing.n == len(found.rows)
