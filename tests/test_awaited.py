"""What becomes of the record of a cell whose process, elsewhere, has ended."""

import pytest

from mini_lima.awaited import expect
from mini_lima.files import read_json, write_json
from mini_lima.sweep import finish

BEGUN = {
    "model": "small",
    "method": "naive",
    "overrides": ["model=small", "data=naive"],
    "status": "unfinished",
    "exit_code": 1,
    "config": {"model": {"weights": "pretrained"}},
}
EARLIER = {**BEGUN, "status": "finished", "exit_code": 0, "stages": {"sft 1": "/store/sft/1"}}


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "job.out"
    path.write_text("CANCELLED")
    return path


def test_a_cell_that_never_began_is_killed(tmp_path, log):
    cell = expect(tmp_path / "cell", BEGUN)
    assert read_json(tmp_path / "cell/cell.json") == BEGUN, "a comparison knows of it by now"
    record = cell.ended("its node was lost", tmp_path / "nothing.out")
    assert (record["status"], record["reason"]) == ("killed", "its node was lost")
    assert "log" not in record
    assert read_json(tmp_path / "cell/cell.json") == record


def test_an_earlier_run_s_record_counts_until_the_cell_begins_and_not_when_it_is_killed(
    tmp_path, log
):
    (tmp_path / "cell").mkdir()
    write_json(tmp_path / "cell/cell.json", EARLIER)
    cell = expect(tmp_path / "cell", BEGUN)
    assert read_json(tmp_path / "cell/cell.json") == EARLIER
    record = cell.ended("cancelled", log)
    assert (record["status"], record["exit_code"], record["log"]) == ("killed", 1, str(log))
    assert record["stages"] == EARLIER["stages"], "the store still keeps them for it"


@pytest.mark.parametrize("status", ["finished", "failed", "stopped"])
def test_what_the_cell_says_itself_stays(tmp_path, log, status):
    cell = expect(tmp_path / "cell", BEGUN)
    said = {**BEGUN, "status": status, "reason": "its own"}
    write_json(tmp_path / "cell/cell.json", said)
    assert cell.ended("cancelled", log) == said
    assert read_json(tmp_path / "cell/cell.json") == said


def test_a_cell_that_is_killed_while_it_runs_keeps_what_it_had_noted(tmp_path, log):
    cell = expect(tmp_path / "cell", BEGUN)
    write_json(tmp_path / "cell/cell.json", {**BEGUN, "stages": {"sft 2": "/store/sft/2"}})
    record = cell.ended("cancelled", log)
    assert record["status"] == "killed"
    assert record["stages"] == {"sft 2": "/store/sft/2"}


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([("failed", 2), ("failed", 2)], 2),
        ([("failed", 1), ("failed", 2)], 2),
        ([("killed", 1), ("failed", 1)], 1),
        ([("unfinished", 1)], 1),
        ([], 0),
    ],
)
def test_the_exit_code_is_that_of_the_worst_cell_and_a_summary_tells_of_work(
    tmp_path, capsys, ends, code
):
    for number, (status, own) in enumerate(ends):
        (tmp_path / str(number)).mkdir()
        write_json(tmp_path / f"{number}/cell.json", {**BEGUN, "status": status, "exit_code": own})
    assert finish(tmp_path) == code
    began = any(own < 2 for _, own in ends)
    assert (tmp_path / "report.md").exists() is began
    assert ("small" in capsys.readouterr().out) is began
