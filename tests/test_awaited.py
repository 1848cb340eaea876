"""What becomes of the record of a cell whose process, elsewhere, has ended."""

from dataclasses import replace

import pytest

from mini_lima.experiment.remote_jobs import expect
from mini_lima.experiment.sweep import finish
from mini_lima.files import read_json, write_json
from mini_lima.results import CellRecord, read_cell, write_cell

BEGUN = CellRecord(
    model="small",
    arm="naive",
    seed=0,
    overrides=["model=small", "data=naive"],
    config={"model": {"weights": "pretrained"}},
    folder="cell",
)
STAGES = {"sft 1": "/store/sft/1"}
EARLIER = replace(BEGUN, status="finished", exit_code=0, stages=STAGES)


def written(folder):
    return replace(read_cell(folder / "cell/cell.json"), sweep="")


def write(folder, record):
    (folder / "cell").mkdir(exist_ok=True)
    write_cell(folder / "cell/cell.json", record)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "job.out"
    path.write_text("CANCELLED")
    return path


def test_a_cell_that_never_began_is_killed(tmp_path, log):
    cell = expect(tmp_path / "cell", BEGUN)
    assert written(tmp_path) == BEGUN, "a comparison knows of it by now"
    record = cell.ended("its node was lost", tmp_path / "nothing.out")
    assert (record.status, record.reason, record.log) == ("killed", "its node was lost", None)
    assert written(tmp_path) == replace(record, sweep="")


def test_an_earlier_run_s_record_counts_until_the_cell_begins_and_not_when_it_is_killed(
    tmp_path, log
):
    write(tmp_path, EARLIER)
    cell = expect(tmp_path / "cell", BEGUN)
    assert written(tmp_path) == EARLIER
    record = cell.ended("cancelled", log)
    assert (record.status, record.exit_code, record.log) == ("killed", 1, str(log))
    assert record.stages == STAGES, "the store still keeps them for it"


def test_the_record_of_another_version_is_replaced_and_its_stages_are_kept(tmp_path, log):
    (tmp_path / "cell").mkdir()
    old = {"model": "small", "method": "naive", "status": "finished", "stages": STAGES}
    write_json(tmp_path / "cell/cell.json", old)
    cell = expect(tmp_path / "cell", BEGUN)
    assert written(tmp_path).stages == STAGES
    assert cell.ended("cancelled", log).stages == STAGES


@pytest.mark.parametrize("status", ["finished", "failed", "stopped"])
def test_what_the_cell_says_itself_stays(tmp_path, log, status):
    cell = expect(tmp_path / "cell", BEGUN)
    said = replace(BEGUN, status=status, reason="its own")
    write(tmp_path, said)
    assert replace(cell.ended("cancelled", log), sweep="") == said
    assert written(tmp_path) == said


def test_a_cell_that_is_killed_while_it_runs_keeps_what_it_had_noted(tmp_path, log):
    cell = expect(tmp_path / "cell", BEGUN)
    write(tmp_path, replace(BEGUN, stages={"sft 2": "/store/sft/2"}))
    record = cell.ended("cancelled", log)
    assert record.status == "killed"
    assert record.stages == {"sft 2": "/store/sft/2"}


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
        record = replace(BEGUN, status=status, exit_code=own)
        write_cell(tmp_path / f"{number}/cell.json", record)
    assert finish(tmp_path) == code
    began = any(own < 2 for _, own in ends)
    assert (tmp_path / "report.md").exists() is began
    assert ("small" in capsys.readouterr().out) is began


def test_a_key_that_was_composed_into_a_record_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-0123456789")
    config = {"teacher": {"api_key_env": "SOME_KEY", "base_url": "https://sk-0123456789@host"}}
    write(tmp_path, replace(BEGUN, config=config, reason="refused sk-0123456789"))
    assert "sk-0123456789" not in (tmp_path / "cell/cell.json").read_text()
    assert read_json(tmp_path / "cell/cell.json")["reason"] == "refused (hidden)"
