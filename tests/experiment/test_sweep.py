"""What is said of the cells of a sweep by the records that they left."""

from dataclasses import replace

import pytest

from mini_lima.experiment.sweep import finish
from mini_lima.files import read_json
from mini_lima.results import CellRecord, write_cell

BEGUN = CellRecord(
    model="small",
    arm="naive",
    seed=0,
    overrides=["model=small", "data=naive"],
    config={"model": {"weights": "pretrained"}},
    folder="cell",
)


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([("failed", 2), ("failed", 2)], 2),
        ([("failed", 1), ("failed", 2)], 2),
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
    printed = capsys.readouterr()
    began = any(own < 2 for _, own in ends)
    assert (tmp_path / "report.md").exists() is began
    assert ("small" in printed.out) is began


def test_a_key_that_was_composed_into_a_record_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-0123456789")
    config = {"teacher": {"api_key_env": "SOME_KEY", "base_url": "https://sk-0123456789@host"}}
    path = tmp_path / "cell.json"
    write_cell(path, replace(BEGUN, config=config, reason="refused sk-0123456789"))
    assert "sk-0123456789" not in path.read_text()
    assert read_json(path)["reason"] == "refused (hidden)"
