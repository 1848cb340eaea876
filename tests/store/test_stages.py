import contextlib
import importlib.util
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mini_lima
from mini_lima.errors import UserError
from mini_lima.store.contents import damage
from mini_lima.store.fingerprint import digest
from mini_lima.store.stages import Stage, StageFailed, Store, walk

JOB = Path(__file__).with_name("stage_job.py")
_spec = importlib.util.spec_from_file_location("stage_job", JOB)
assert _spec is not None
assert _spec.loader is not None
stage_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stage_job)


class Study:
    """A store, the file its stages read, and the record of what was run."""

    def __init__(self, root: Path) -> None:
        self.root = root / "store"
        self.calls = root / "calls"
        self.seeds = root / "seeds.json"
        self.seeds.write_text('"seed tasks"')

    def stage(self, **changed: Any) -> Stage:
        return stage_job.study(self.seeds, self.calls, **changed)

    def run(self) -> Counter[str]:
        return Counter(self.calls.read_text().splitlines() if self.calls.exists() else [])

    def finished(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob("*/*/stage.json"))

    def unfinished(self) -> list[Path]:
        return list(self.root.glob("*/.partial/*"))

    @contextlib.contextmanager
    def job(self, environment: dict[str, str] | None = None, **options: Any) -> Iterator[Any]:
        paths = {"store": str(self.root), "calls": str(self.calls), "seeds": str(self.seeds)}
        source = str(Path(mini_lima.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, JOB, json.dumps(paths | options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": source} | (environment or {}),
        )
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def go(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def names(stages: list[Stage]) -> list[str]:
    return [f"{stage.name} {stage.label}" for stage in stages]


def write(output_dir: Path, *, text: str = "", break_with: Any = None, **_: Any) -> None:
    (output_dir / "text").write_text(text)
    if break_with is not None:
        raise break_with


# Several processes


def test_four_parallel_processes_do_every_stage_exactly_once(study: Study) -> None:
    with contextlib.ExitStack() as stack:
        jobs = [stack.enter_context(study.job(first=3 * index)) for index in range(4)]
        for job in jobs:
            go(job)
        ends = [job.communicate() for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 4, ends
    assert study.run() == Counter({label: 1 for label in study.run()})
    assert len(study.run()) == len(study.finished()) == 11
    assert sum(json.loads(out)["executed"] for out, _ in ends) == 11
    assert study.unfinished() == []


@pytest.mark.parametrize("fork", [False, True], ids=["alone", "with a forked worker"])
def test_a_killed_job_is_taken_over_at_once_by_the_waiting_one(study: Study, fork: bool) -> None:
    with (
        study.job(hold="sft improved", fork=fork) as holder,
        study.job() as waiter,
    ):
        go(holder)
        assert holder.stdout.readline() == "holding\n"
        finished_before = len(study.finished())
        go(waiter)
        waiting = next(line for line in waiter.stderr if "waiting" in line)
        assert f"pid {holder.pid} on " in waiting
        assert "sft improved-" in waiting
        assert len(study.unfinished()) == 1
        assert len(study.finished()) == finished_before

        holder.send_signal(signal.SIGKILL)
        out, err = waiter.communicate()
        assert waiter.returncode == 0, err
    assert json.loads(out)["executed"] == 11 - finished_before
    assert {label: n for label, n in study.run().items() if n != 1} == {"sft improved": 2}
    assert len(study.finished()) == 11
    assert study.unfinished() == []
    for directory in study.finished():
        json.loads((directory / "result.json").read_text())


def test_what_a_killed_job_left_does_not_count_and_is_removed(study: Study) -> None:
    with study.job(hold="outputs baseline") as job:
        go(job)
        assert job.stdout.readline() == "holding\n"
        job.kill()
        job.wait()
    assert len(study.unfinished()) == 1
    assert study.finished() == []
    store = Store(study.root)
    assert not any(store.is_finished(stage) for stage in walk([study.stage()]))
    store.build(study.stage())
    assert study.unfinished() == []
    assert len(store.executed) == 11


def test_a_full_disk_leaves_nothing_that_counts(study: Study) -> None:
    # The limit lets the stage's own small file pass and stops the store's record of it.
    with study.job(file_limit=150) as job:
        go(job)
        _, err = job.communicate()
    assert job.returncode == 1
    assert "StageFailed: outputs baseline-" in err
    assert "Logging error" not in err
    assert study.run() == {"outputs baseline": 1}
    assert study.finished() == study.unfinished() == []
    assert not Store(study.root).is_finished(walk([study.stage()])[0])


def test_fingerprints_are_the_same_in_every_process(study: Study) -> None:
    here = [stage.fingerprint for stage in walk([study.stage()])]
    for seed in ("0", "1"):
        with study.job({"PYTHONHASHSEED": seed}) as job:
            go(job)
            out, _ = job.communicate()
        assert json.loads(out)["fingerprints"] == here


# What runs


def test_a_second_run_runs_nothing(study: Study) -> None:
    Store(study.root).build(study.stage())
    again = Store(study.root)
    path = again.build(study.stage())
    assert again.executed == []
    assert path == again.path(study.stage())
    assert sum(study.run().values()) == 11


def test_a_changed_param_reruns_its_stage_and_what_depends_on_it(study: Study) -> None:
    Store(study.root).build(study.stage())
    verdicts = ["annotations baseline", "annotations naive", "annotations improved"]

    judged = Store(study.root)
    judged.build(study.stage(annotator="chatgpt"))
    assert names(judged.executed) == [*verdicts, "report report"]

    trained = Store(study.root)
    trained.build(study.stage(learning_rate=2e-5))
    through = [f"{name} {data}" for data in ("naive", "improved") for name in ("sft", "outputs")]
    assert sorted(names(trained.executed)) == sorted([*through, *verdicts[1:], "report report"])

    back = Store(study.root)
    back.build(study.stage())
    assert back.executed == []


def test_changed_content_of_a_file_reruns_what_reads_it(study: Study) -> None:
    Store(study.root).build(study.stage())
    study.seeds.write_text('"other tasks"')
    store = Store(study.root)
    store.build(study.stage())
    assert names(store.executed)[0] == "data naive"
    assert len(store.executed) == 9  # not the baseline's answers and verdicts


def test_a_finished_stage_does_not_look_at_its_inputs(study: Study) -> None:
    store = Store(study.root)
    store.build(study.stage())
    for stage in walk([study.stage()])[:-1]:
        shutil.rmtree(store.path(stage))
    assert Store(study.root).build(study.stage()) == store.path(study.stage())
    assert sum(study.run().values()) == 11


# Failures


def finished_by_another_node(output_dir: Path, *, theirs: Path, target: Path) -> None:
    """Our node has looked before they were done, and does it once more."""
    (output_dir / "text").write_text("ours")
    shutil.copytree(theirs, target)


def test_who_comes_second_takes_what_the_first_has_made(tmp_path: Path, caplog: Any) -> None:
    store = Store(tmp_path / "store")
    theirs = Store(tmp_path / "other").build(Stage("work", "theirs", write, {"text": "theirs"}))
    settings = {"theirs": theirs, "target": tmp_path}
    stage = Stage("work", "done twice", finished_by_another_node, settings=settings)
    settings["target"] = store.path(stage)
    assert (store.build(stage) / "text").read_text() == "theirs"
    assert "another has finished it meanwhile" in caplog.text
    assert not list(store.root.glob("work/.partial/*"))


def test_a_failing_stage_leaves_no_output_and_names_itself_and_its_log(tmp_path: Path) -> None:
    store = Store(tmp_path)
    settings = {"break_with": RuntimeError("out of luck\nand more")}
    stage = Stage("sft", "naive", write, settings=settings)
    report = Stage("report", "all", write, inputs={"model": stage})
    with pytest.raises(StageFailed) as caught:
        store.build(report)
    assert caught.value.stage is stage
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(stage), "RuntimeError: out of luck", str(caught.value.log)):
        assert part in message
    logged = caught.value.log.read_text()
    assert "Traceback" in logged
    assert "and more" in logged
    assert not store.is_finished(stage)
    assert not list(tmp_path.glob("*/.partial/*"))
    assert store.executed == []

    repaired = Stage("sft", "naive", write)
    assert (store.build(repaired) / "text").exists()


@pytest.mark.parametrize("error", [UserError("no key"), KeyboardInterrupt(), SystemExit(3)])
def test_what_speaks_to_the_person_or_ends_the_process_passes_through(
    tmp_path: Path, error: BaseException
) -> None:
    store = Store(tmp_path)
    stage = Stage("data", "naive", write, settings={"break_with": error})
    with pytest.raises(type(error)) as caught:
        store.build(stage)
    assert caught.value is error
    assert not store.is_finished(stage)
    assert not list(tmp_path.glob("*/.partial/*"))


def test_a_file_that_changes_under_a_running_stage_spoils_it(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.write_text("old")

    def edited_meanwhile(output_dir: Path, *, seeds: Path) -> None:
        seeds.write_text("new")

    store = Store(tmp_path / "store")
    stage = Stage("data", "naive", edited_meanwhile, files={"seeds": seeds})
    with pytest.raises(UserError, match="changed while it ran"):
        store.build(stage)
    assert not store.is_finished(stage)


# Identity


def test_identity_leaves_out_label_settings_place_and_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "elsewhere/two"
    two.parent.mkdir()
    one.write_text("seeds")
    two.write_text("seeds")
    first = Stage(
        "data", "a", write, {"x": 1, "y": {"p": 1, "q": 2}}, files={"f": one}, settings={"s": 1}
    )
    same = Stage("data", "b", write, {"y": {"q": 2, "p": 1}, "x": 1}, files={"f": two})
    assert first.fingerprint == same.fingerprint


def test_all_that_changes_the_output_enters_identity(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("seeds")
    other = tmp_path / "other"
    other.write_text("weeds")
    needed = Stage("data", "naive", write)
    stages = [
        Stage("data", "a", write, {"x": 1}),
        Stage("data", "a", write, {"x": 1.0}),
        Stage("data", "a", write, {"x": True}),
        Stage("data", "a", write, {"y": 1}),
        Stage("other", "a", write, {"x": 1}),
        Stage("data", "a", write, {"x": 1}, version=2),
        Stage("data", "a", write, {"x": 1}, inputs={"i": needed}),
        Stage("data", "a", write, {"x": 1}, inputs={"j": needed}),
        Stage("data", "a", write, {"x": 1}, files={"i": file}),
        Stage("data", "a", write, {"x": 1}, files={"i": other}),
        Stage("data", "a", write, {"x": 1, "i": needed.fingerprint}),
    ]
    assert len({stage.fingerprint for stage in stages}) == len(stages)


def strict(output_dir: Path, *, seeds: Path, rounds: int = 1) -> None: ...


def test_keywords_are_checked_when_the_stage_is_made() -> None:
    seeds = {"seeds": Path("seeds")}
    with pytest.raises(ValueError, match="more than once: seeds"):
        Stage("data", "naive", strict, {"seeds": 1}, files=seeds)
    with pytest.raises(ValueError, match="'round'"):
        Stage("data", "naive", strict, {"round": 1}, files=seeds)
    with pytest.raises(ValueError, match="'seeds'"):
        Stage("data", "naive", strict)
    with pytest.raises(ValueError, match="'output_dir'"):
        Stage("data", "naive", strict, {"output_dir": "x"}, files=seeds)
    with pytest.raises(ValueError, match=r"data naive: params\.text\.lr"):
        Stage("data", "naive", write, {"text": {"lr": math.nan}})


# Records


def test_the_record_proves_the_identity_and_keeps_settings_out(tmp_path: Path) -> None:
    seeds = tmp_path / "seeds"
    seeds.write_text("x")
    needed = Stage("data", "naive", write)
    stage = Stage(
        "sft", "naive", write, {"lr": 1e-5}, {"i": needed}, {"f": seeds}, {"key": "sk-secret"}, 3
    )
    store = Store(tmp_path / "store", packages=["pytest"])
    text = (store.build(stage) / "stage.json").read_text()
    identity = json.loads(text)["identity"]
    assert identity.pop("fingerprint") == stage.fingerprint == digest(identity)
    assert identity["inputs"] == {"i": needed.fingerprint}
    found = json.loads(text)["provenance"]
    assert found["label"] == "naive"
    assert found["packages"] == {"pytest": pytest.__version__}
    assert found["started"] <= found["finished"]
    assert "secret" not in text


def test_progress_is_told_and_the_log_holds_what_the_stage_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def talks(output_dir: Path) -> None:
        logging.getLogger("some.library").info("half-way")

    caplog.set_level(logging.INFO)
    stage = Stage("data", "naive", talks)
    Store(tmp_path).build(stage)
    told = [line for line in caplog.messages if str(stage) in line]
    assert len(told) == 2
    assert "done in" in told[1]
    logging.getLogger("some.library").info("afterwards")
    logged = (tmp_path / "data/logs" / f"{stage.directory}.log").read_text()
    assert "half-way" in logged
    assert told[1] in logged
    assert "afterwards" not in logged


def count_to_three(output_dir: Path, work_dir: Path, fail_at: list[int]) -> None:
    for number in range(3):
        (work_dir / str(number)).touch()
        if fail_at and fail_at[0] == number:
            raise OSError(f"failed at {fail_at.pop(0)}")
    left = sorted(path.name for path in work_dir.iterdir())
    (output_dir / "counted").write_text(" ".join(left))


def test_what_a_failed_attempt_left_in_its_work_folder_is_there_for_the_next_and_then_gone(
    tmp_path,
):
    store, fail_at = Store(tmp_path), [1]
    stage = Stage(
        name="count", label="three", function=count_to_three, settings={"fail_at": fail_at}
    )
    with pytest.raises(StageFailed, match="failed at 1"):
        store.build(stage)
    (folder,) = tmp_path.glob("count/.work/*")
    (folder / "from the first attempt").touch()
    assert (store.build(stage) / "counted").read_text() == "0 1 2 from the first attempt"
    assert not list(tmp_path.glob("count/.work/*"))


# Damage


def flip(file: Path) -> None:
    """Change a bit, as a disk would: neither size nor time tell."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda folder: (folder / "text").write_text("seed"), "text has 4 bytes instead of 10"),
        (lambda folder: (folder / "text").write_text("weed tasks"), "text has another content"),
        (lambda folder: (folder / "text").unlink(), "text is gone"),
        (lambda folder: (folder / "generation_config.json").touch(), "_config.json was added"),
        (lambda folder: flip(folder / "stage.json"), "stage.json has another"),
        (lambda folder: (folder / "stage.json").write_text("{}"), "stage.json has another"),
        (lambda folder: (folder / "stage.json").unlink(), "stage.json cannot be read"),
    ],
)
def test_what_is_damaged_is_not_used(tmp_path: Path, harm: Any, named: str) -> None:
    needed = Stage("data", "naive", write, {"text": "seed tasks"})
    folder = Store(tmp_path).build(needed)
    harm(folder)
    for stage in (needed, Stage("sft", "naive", write, {}, {"model": needed})):
        store = Store(tmp_path)
        with pytest.raises(UserError) as caught:
            store.build(stage)
        assert str(folder) in str(caught.value)
        assert named in str(caught.value)
        assert store.executed == []
    shutil.rmtree(folder)
    assert (Store(tmp_path).build(needed) / "text").read_text() == "seed tasks"


def test_a_copy_is_as_good_and_a_flipped_bit_is_found_by_reading(tmp_path: Path) -> None:
    stage = Stage("data", "naive", write, {"text": "seed tasks"})
    Store(tmp_path / "one").build(stage)
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    folder = Store(tmp_path / "two").build(stage)
    assert damage(folder, content=True) == []
    flip(folder / "text")
    assert damage(folder, content=True) == ["text has another content"]


def test_a_stage_of_before_files_were_listed_is_used_and_others_may_write_where_they_must(
    tmp_path: Path,
) -> None:
    def in_a_folder(output_dir: Path) -> None:
        (output_dir / "wandb").mkdir()

    store = Store(tmp_path)
    for stage in (
        Stage("data", "naive", write),
        Stage("tracking", "naive", in_a_folder, unchecked=("wandb",)),
    ):
        folder = store.build(stage)
        if stage.unchecked:
            (folder / "wandb" / "run.synced").touch()
            assert damage(folder) == []
        else:
            record = json.loads((folder / "stage.json").read_text())
            del record["contents"]
            (folder / "stage.json").write_text(json.dumps(record))
            (folder / "text").write_text("other")
            assert damage(folder) is None
        assert store.build(stage) == folder
