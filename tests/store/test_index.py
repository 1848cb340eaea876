"""The store looked into and tidied, from the command line."""

import hashlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.experiment import cell
from mini_lima.experiment.time_estimates import Experience
from mini_lima.store import index
from mini_lima.store.lock import locked
from mini_lima.store.stages import Stage, Store, walk
from tests.harm import BAD


def write(output_dir: Path, text: str, before: Path | None = None) -> None:
    (output_dir / "text").write_text(text)


def stage(text, **inputs):
    return Stage(name="write", label=text, function=write, params={"text": text}, inputs=inputs)


class Study:
    """Two cells that share a stage: first → shared, second → shared, and a stage of nobody's."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, Store(root / "store")
        shared = stage("shared")
        self.stages = {text: stage(text, before=shared) for text in ("first", "second")}
        for text, last in self.stages.items():
            self.store.build(last)
            self.cell(text, "finished", walk([last])[-1:])
        self.store.build(stage("nobody's"))

    def cell(self, name: str, status: str, stages: list[Stage]) -> Path:
        folder = self.root / "runs" / name
        folder.mkdir(parents=True)
        paths = {str(each): str(self.store.path(each)) for each in stages}
        (folder / "cell.json").write_text(json.dumps({"status": status, "stages": paths}))
        index.register(self.store.root, folder)
        return folder

    def ask(self, capsys, *arguments: str) -> str:
        assert main(["store", *arguments, "--store", str(self.store.root)]) == 0
        return capsys.readouterr().out

    def left(self) -> set[str]:
        return {path.parent.name.rpartition("-")[0] for path in self.store.root.glob("*/*/text")}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_a_list_says_of_every_stage_who_uses_it(study, capsys):
    lines = {line.split()[1]: line for line in study.ask(capsys, "list").splitlines()[1:-1]}
    users = {name.rpartition("-")[0]: line for name, line in lines.items()}
    assert "runs/first, runs/second" in users["shared"], "it is an input of what they name"
    assert "runs/first" in users["first"]
    assert "runs/" not in users["nobody-s"]


def test_what_is_in_use_is_never_pruned_and_nothing_without_being_asked(study, capsys):
    assert "nobody-s" in study.ask(capsys, "prune")
    assert "nobody-s" in study.left()
    study.ask(capsys, "prune", "--yes")
    assert study.left() == {"first", "second", "shared"}
    assert "nothing to remove" in study.ask(capsys, "prune")


@pytest.mark.parametrize("status", ["failed", "unfinished"])
def test_what_a_failed_or_running_cell_needs_stays(study, capsys, status):
    study.cell("third", status, [stage("nobody's"), stage("not built yet")])
    study.ask(capsys, "prune", "--yes")
    assert "nobody-s" in study.left()


def test_without_the_folder_of_a_run_its_own_stages_go_and_shared_ones_stay(study, capsys):
    shutil.rmtree(study.root / "runs/first")
    study.ask(capsys, "prune", "--yes")
    assert study.left() == {"second", "shared"}
    assert study.store.build(study.stages["first"]).is_dir(), "it can be made again"


def test_a_stage_that_somebody_is_at_is_left_alone_and_so_is_their_work(study, capsys):
    (item,) = (each for each in index.take(study.store.root).items if not each.users)
    key = item.fingerprint[:12]
    folder = study.store.root / "write"
    for name in (f".partial/{key}-1", f".work/{key}", ".work/0123456789ab"):
        (folder / name).mkdir(parents=True)
    with locked(folder / ".locks" / f"{key}.lock", "a test"):
        told = study.ask(capsys, "prune", "--yes")
    assert "somebody is at it" in told
    assert "nobody-s" in study.left()
    left = {path.name for kind in (".partial", ".work") for path in (folder / kind).iterdir()}
    assert left == {f"{key}-1", key}
    study.ask(capsys, "prune", "--yes")
    assert "nobody-s" not in study.left()


def waiting(caplog, work) -> threading.Thread:
    """``work`` in a thread that has come to the list of cells, which somebody has."""
    caplog.clear()
    caplog.set_level("INFO")
    thread = threading.Thread(target=work)
    thread.start()
    while "the list of cells: waiting" not in caplog.text:
        assert thread.is_alive(), "it does not wait"
        time.sleep(0.01)
    return thread


def test_a_run_that_begins_while_something_is_pruned_finds_out_that_it_is_gone(study, caplog):
    wanted = stage("nobody's")
    (item,) = (each for each in index.take(study.store.root).items if not each.users)

    def run() -> None:
        study.cell("third", "unfinished", [wanted])
        study.store.build(wanted)

    with index.nobody_registers(study.store.root):
        run_of_it = waiting(caplog, run)
        index.clear(index.take_away(item))
        assert "nobody-s" not in study.left()
    run_of_it.join()
    assert "nobody-s" in study.left()
    assert study.store.path(wanted) == item.folder


def test_what_a_run_needs_that_began_before_anything_was_removed_stays(study, caplog):
    def prune() -> None:
        assert main(["store", "prune", "--yes", "--store", str(study.store.root)]) == 0

    shutil.rmtree(study.root / "runs/first")
    with index.nobody_registers(study.store.root):
        pruning = waiting(caplog, prune)
        folder = study.root / "runs/third"
        folder.mkdir()
        needed = {"write": str(study.store.path(stage("nobody's")))}
        (folder / "cell.json").write_text(json.dumps({"stages": needed}))
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        (study.store.root / index.CELLS / name).write_text(str(folder))
    pruning.join()
    assert study.left() == {"second", "shared", "nobody-s"}


def test_a_checkpoint_that_a_cell_goes_on_from_stays_until_the_cell_goes(study, capsys):
    trained = stage("half-way")
    folder = study.cell("third", "unfinished", [trained])
    checkpoint = study.store.work_dir(trained) / "checkpoint"
    checkpoint.mkdir(parents=True)
    study.ask(capsys, "prune", "--yes")
    assert checkpoint.exists()
    shutil.rmtree(folder)
    study.ask(capsys, "prune", "--yes")
    assert not checkpoint.exists()


def test_a_store_that_nothing_can_be_written_into_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nothing can be written there") as told:
        index.register(tmp_path / "file" / "store", tmp_path)
    assert f"store={tmp_path / 'file' / 'store'}" in str(told.value)


@pytest.mark.parametrize("harm", BAD.values(), ids=BAD.keys())
def test_a_bad_record_is_named_and_passed_over(study, capsys, harm):
    (bad,) = study.store.root.glob("write/nobody-s-*/stage.json")
    bad.unlink()
    harm(bad)
    told = study.ask(capsys, "list").splitlines()
    assert [line for line in told if "nobody-s" in line] == [told[-2]]
    assert str(bad) in told[-2]
    assert "3 stages" in told[-3]
    assert told[-1] == "1 passed over"
    assert Experience(study.store).passed_over == index.take(study.store.root).passed_over
    assert "nothing to remove" in study.ask(capsys, "prune")
    assert main(["store", "verify", "--store", str(study.store.root)]) == 2
    assert str(bad) in capsys.readouterr().err


@pytest.mark.parametrize("harm", BAD.values(), ids=BAD.keys())
def test_what_a_run_uses_whose_record_is_bad_is_not_removed(study, capsys, harm):
    record = study.root / "runs/first/cell.json"
    record.unlink()
    harm(record)
    assert "1 passed over" in study.ask(capsys, "list")
    assert main(["store", "prune", "--yes", "--store", str(study.store.root)]) == 2
    assert str(record) in capsys.readouterr().err
    assert study.left() == {"first", "second", "shared", "nobody-s"}
    assert cell.stages_before(record.parent) == {}
    shutil.rmtree(record.parent)
    study.ask(capsys, "prune", "--yes")
    assert study.left() == {"second", "shared"}


def test_verifying_reads_everything_and_names_what_to_remove(study, capsys):
    assert "4 stages were read, no damage found" in study.ask(capsys, "verify")
    (file,) = study.store.root.glob("write/shared-*/text")
    before = file.stat()
    file.write_text("Shared")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert main(["store", "verify", "--store", str(study.store.root)]) == 2
    said = capsys.readouterr().err
    assert f"{file.parent} is damaged: text has another content" in said
    assert "remove the folder" in said
