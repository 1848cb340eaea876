"""The command line that looks into what runs have left behind."""

import os
import shutil
import subprocess
import sys

import pytest

from mini_lima.cli import main
from mini_lima.text.streams import make_lasting
from tests.data.conftest import Study
from tests.data.teachers import Teacher
from tests.harm import BAD


@pytest.fixture
def store(tmp_path):
    """A store with a naive and, made later, an improved data set."""
    study = Study(tmp_path)
    naive = study.naive_by(Teacher())
    with study.taught_by(Teacher()) as endpoint:
        improved = study.improved(naive, endpoint)
    store = tmp_path / "outputs" / "store"
    (store / "data").mkdir(parents=True)
    for number, made in enumerate((naive, improved)):
        folder = store / "data" / f"set-{number}"
        shutil.copytree(made.folder, folder)
        os.utime(folder / "examples.jsonl", (number, number))
    shutil.copy(study.root / "cache", store / "responses.sqlite")
    return store


def test_trace_finds_the_newest_data_set_and_its_cache(store, monkeypatch, capsys):
    monkeypatch.chdir(store.parents[1])
    assert main(["trace", "new_task_0.1"]) == 0
    told = capsys.readouterr().out
    assert "output, from prompt 3" in told
    assert "output, from lengthen" in told
    assert "not in the response cache" not in told


def test_a_neighbour_that_cannot_be_read_is_named_and_passed_over(store, capsys, caplog):
    for number, harm in enumerate(BAD.values(), start=9):
        folder = store / "data" / f"bad-{number}"
        folder.mkdir()
        harm(folder / "examples.jsonl")
    assert main(["trace", "new_task_0.1", "--store", str(store)]) == 0
    assert "output, from lengthen" in capsys.readouterr().out
    assert main(["trace", "nothing.1", "--store", str(store)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert caplog.text.count("passed over") >= 5


def test_a_mistake_is_one_line_and_code_2(store, capsys):
    assert main(["trace", "nothing.1", "--store", str(store)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "nothing.1" in said.err


def test_a_sweep_that_is_not_there_is_not_taken_for_one_without_cells(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "misspelt")]) == 2
    assert "misspelt: no such folder" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 2
    assert "no cell has been started there" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["| true", ">&-", ">/dev/full"])
@pytest.mark.parametrize(("id_", "code"), [("new_task_0.1", 0), ("nothing", 2)])
def test_whatever_becomes_of_the_output_the_exit_code_is_that_of_the_work(store, output, id_, code):
    ascii_alone = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    program = f"set -o pipefail; {sys.executable} -m mini_lima.cli"
    ended = subprocess.run(
        ["bash", "-c", f"{program} trace {id_} --store {store} {output}"],
        env=os.environ | ascii_alone,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code
    assert ended.stderr.count("\n") == (code == 2 or output == ">/dev/full")


def test_what_an_encoding_does_not_have_is_spelled(monkeypatch, tmp_path):
    for name in ("stdout", "__stdout__", "stderr", "__stderr__"):
        monkeypatch.setattr(sys, name, (tmp_path / name).open("w", encoding="ascii"))
    make_lasting()
    print("┏━┓ −1.5 – 2 ± 3 世")
    sys.stdout.flush()
    assert (tmp_path / "__stdout__").read_text() == ""
    assert (tmp_path / "stdout").read_text() == "+-+ -1.5 - 2 +/- 3 \\u4e16\n"
