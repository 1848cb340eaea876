"""The store looked into and tidied, from the command line."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.store import index
from mini_lima.store.lock import locked
from mini_lima.store.stages import Stage, Store, walk


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
    (item,) = (each for each in index.take(study.store.root) if not each.users)
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
    deadline = time.monotonic() + 20
    while "the list of cells: waiting" not in caplog.text:
        assert time.monotonic() < deadline, "it does not wait"
        time.sleep(0.01)
    return thread


def test_a_run_that_begins_while_something_is_pruned_finds_out_that_it_is_gone(study, caplog):
    wanted = stage("nobody's")
    (item,) = (each for each in index.take(study.store.root) if not each.users)

    def run() -> None:
        study.cell("third", "unfinished", [wanted])
        study.store.build(wanted)

    with index.nobody_registers(study.store.root):
        run_of_it = waiting(caplog, run)
        index.clear(index.take_away(item))
        assert "nobody-s" not in study.left()
    run_of_it.join(20)
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
        (study.store.root / index.CELLS / "third").write_text(str(folder))
    pruning.join(20)
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
