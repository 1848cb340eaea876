"""A grid of one's own from the command line, with every library real: killed, then twice at once.

The study under examples/, as docs/extending.md runs it, with a second model: an arm, a metric and a
judge of a user's own, and nothing of ours is edited. One set of processes serves all tests of this
module: in the first grid a worker of the first training is killed and then, in its second
training, the grid; two others start together on the store it left behind.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
import yaml

from mini_lima import pipeline
from mini_lima.experiment import plan_table
from mini_lima.experiment.plan import Plan
from mini_lima.experiment.time_estimates import Amount
from mini_lima.files import read_json, read_jsonl
from mini_lima.report.figures import duration
from mini_lima.store.stages import Store, walk
from tests.chat.server import FakeOpenAI
from tests.composing import ROOT, configured

SMALL = (
    "evaluation.limit=8",
    "evaluation.max_new_tokens=24",
    "evaluation.bootstrap_samples=200",
    "sft.epochs=1",
)
OTHER_MODEL = """# As the tiny one, of other random weights.
defaults: [qwen-tiny, _self_]
name: other
init_seed: 1
"""
SECRET = "sk-0123456789abcdef0123456789abcdef01234567"
HALVED = "halved − naive"
SFT = "mini_lima.sft.training"
STAGES_OF_A_GRID = {
    "data": 2,
    "sft": 4,
    "contamination": 2,
    "outputs": 6,
    "metrics": 6,
    "annotations": 6,
    "result": 4,
    "tracking": 4,
}


@dataclass
class Grids:
    folder: Path
    killed: subprocess.Popen[str]
    finished: list[subprocess.CompletedProcess[str]]
    arguments: str
    """Of all processes while the first training ran."""

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def sweep(self, name: str) -> Path:
        return self.folder / name

    def run(self, name: str, *changes: str) -> subprocess.CompletedProcess[str]:
        return finish(start(self.folder, name, *changes))


def start(folder: Path, name: str, *changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, ROOT / "run.py", "--config-dir", folder / "study/conf"]
    command += ["experiment=halving", "model=qwen-tiny,other", *SMALL, f"store={folder / 'store'}"]
    secrets = dict.fromkeys(("OPENAI_API_KEY", "WANDB_API_KEY", "HF_TOKEN"), SECRET)
    return subprocess.Popen(
        [*command, f"hydra.sweep.dir={folder / name}", "hydra.job.name=test", *changes],
        env={**os.environ, **secrets},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    output, _ = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def training_of(grid: subprocess.Popen[str], after: int = 0) -> tuple[int, int]:
    """The launcher of the training that ``grid`` comes to, another than ``after``, and a worker."""
    while grid.poll() is None:
        for launcher in set(trainings_of(grid.pid)) - {after}:
            if workers := trainings_of(launcher):
                return launcher, workers[0]
        time.sleep(0.02)
    raise AssertionError(finish(grid).stdout)


def command_lines() -> str:
    """Of all processes that run now."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(lines)


def trainings_of(parent: int) -> list[int]:
    """The processes of a training that are children of ``parent``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            of = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if of == parent and SFT.encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.fixture(scope="module")
def grids(tmp_path_factory) -> Iterator[Grids]:
    folder = tmp_path_factory.mktemp("grids")
    shutil.copytree(ROOT / "examples", folder / "study")
    (folder / "study/conf/model").mkdir()
    (folder / "study/conf/model/other.yaml").write_text(OTHER_MODEL)
    killed = start(folder, "killed")
    launcher, worker = training_of(killed)
    arguments = command_lines()
    os.kill(worker, signal.SIGKILL)
    training_of(killed, after=launcher)
    waiting = start(folder, "0")
    os.kill(killed.pid, signal.SIGKILL)
    other = start(folder, "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "study")
        yield Grids(folder, killed, [finish(waiting), finish(other)], arguments)


def records(sweep: Path) -> dict[str, dict]:
    return {path.parent.name: read_json(path) for path in sweep.glob("*/cell.json")}


def executed(sweep: Path) -> list[str]:
    return [stage for record in records(sweep).values() for stage in record["executed"]]


def test_all_grids_finish_with_the_same_report(grids):
    assert [each.returncode for each in grids.finished] == [0, 0], grids.finished[0].stdout[-3000:]
    reports = {(grids.sweep(str(n)) / "report.md").read_text() for n in range(2)}
    assert len(reports) == 1


def test_grids_at_once_do_every_stage_exactly_once(grids):
    by_all = [stage for number in range(2) for stage in executed(grids.sweep(str(number)))]
    assert max(Counter(by_all).values()) == 1
    for kind, count in Counter(stage.split()[0] for stage in by_all).items():
        assert 0 < count <= STAGES_OF_A_GRID[kind]
    for kind, count in STAGES_OF_A_GRID.items():
        folders = [
            path for path in (grids.store / kind).iterdir() if (path / "stage.json").exists()
        ]
        assert len(folders) == count, kind


def test_a_secret_in_the_environment_is_found_nowhere_else(grids):
    written = [path for path in grids.folder.rglob("*") if path.is_file()]
    assert any("wandb" in str(path) for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SFT in grids.arguments
    assert SECRET not in grids.arguments + "".join(each.stdout for each in grids.finished)


def test_a_killed_worker_costs_its_cell_alone_and_a_killed_grid_leaves_nothing_half_done(grids):
    assert grids.killed.wait() == -signal.SIGKILL
    found = list(records(grids.sweep("killed")).values())
    assert Counter(record["status"] for record in found) == {"failed": 1, "unfinished": 1}
    [failed] = [record for record in found if record["status"] == "failed"]
    assert re.search("worker 0.* was ended by SIGKILL", failed["reason"])
    assert f"(log: {failed['log']})" in failed["reason"]
    assert Path(failed["log"]).is_file()
    assert not list(grids.store.glob("*/.partial/*"))


def test_a_changed_annotator_setting_repeats_annotation_and_report_only(grids):
    _, rows = planned(grids, "annotator.seed=1")
    assert set(rows) == {"annotations", "result"}


def test_a_search_finds_the_highest_win_rate_and_survives_trials_that_fail(grids):
    pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")
    searched = grids.run(
        "searched",
        "hydra/sweeper=win_rate",
        "hydra.sweeper.n_trials=3",
        *("model=qwen-tiny", "tracking=disabled"),
        "data.seeds=choice('embedded:seed_tasks.jsonl',/nowhere.jsonl)",
    )
    cells = records(grids.sweep("searched"))
    assert executed(grids.sweep("searched")) == [], "the trials are cells of the grid"
    results = [c["result"] for c in cells.values() if c["status"] == "finished"]
    rates = [result["judges"][0]["sft"]["win_rate"] for result in results]
    assert 0 < len(rates) < len(cells)
    best = yaml.safe_load((grids.sweep("searched") / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(rates)
    assert searched.returncode == 2
    assert "/nowhere.jsonl: no such file" in (grids.sweep("searched") / "report.md").read_text()


def test_the_report_states_every_win_rate_with_its_interval_n_and_failures(grids):
    report = read_json(grids.sweep("0") / "report.json")
    assert report["columns"] == ["baseline", "naive", "halved"]
    assert set(report["rows"]) == {"qwen-tiny", "other"}
    for cell in report["cells"]:
        result = cell["result"]
        [judge] = result["judges"]
        for which in ("baseline", "sft"):
            found = judge[which]
            assert found["low"] <= found["win_rate"] <= found["high"]
            assert (found["n_total"], found["n_failed"]) == (16, 0), "8 instructions in both orders"
            assert found["annotator"] == "plain"
        difference = result["differences"]["win rate by plain"]
        expected = judge["sft"]["win_rate"] - judge["baseline"]["win_rate"]
        assert difference["difference"] == pytest.approx(expected)
        assert difference["n"] == 8
    shown = grids.finished[0].stdout
    assert "baseline" in shown
    assert "say nothing about Qwen" in " ".join(shown.split())
    judged = [each for each in report["contrasts"] if each["measure"] == "win rate by plain"]
    assert Counter(each["kind"] for each in judged) == {"sft": 2, "data": 2}
    page = (grids.sweep("0") / "report.html").read_text(encoding="utf-8")
    assert len(page) < 2e6
    text = (grids.sweep("0") / "report.md").read_text(encoding="utf-8")
    for said in ("halved", HALVED, "exclamation_marks", "plain"):
        assert said in page
        assert said in text


def test_the_step_of_the_user_cut_every_output_and_says_what_it_was(grids):
    [folder] = grids.store.glob("data/halve-*")
    for example in read_jsonl(folder / "examples.jsonl"):
        was = example["earlier"][-1]["output"] if example["earlier"] else example["output"]
        assert len(example["output"].split()) == max(1, round(0.5 * len(was.split())))


def planned(grids, *changes):
    """A plan on the grids' store, and its rows of work to do by the kind of stage."""
    config = configured(
        f"hydra.searchpath=[{grids.folder / 'study/conf'}]",
        *("experiment=halving", *SMALL, "tracking=disabled", f"store={grids.store}"),
        *("model=qwen-tiny", "data=naive", *changes),
    )
    plan = Plan()
    stages = walk(pipeline.build_cell(config, {}).last)
    plan.add("cell", stages, Store(grids.store))
    return plan, {row.stage.name: row for row in plan.rows.values() if not row.done}


def test_what_the_grids_took_tells_tokens_and_time_of_the_next_run(grids):
    [folder] = grids.store.glob("sft/qwen-tiny-naive-*")
    tokens = read_json(folder / "summary.json")["tokens"]
    took = [
        read_json(path / "stage.json")["provenance"]["seconds"]
        / read_json(path / "summary.json")["tokens"]
        for path in grids.store.glob("sft/*-*")
    ]
    plan, rows = planned(grids, "seed=1")
    assert set(rows) == {"sft", "outputs", "metrics", "annotations", "result"}
    assert rows["sft"].tokens == Amount(tokens)
    assert rows["sft"].seconds.value == pytest.approx(tokens * median(took))
    assert all(row.seconds.value > 0 for row in rows.values())
    total = sum(row.seconds.value for row in rows.values())
    assert plan_table.lines(plan)[-1][3:5] == (f"{tokens / 1000:,.0f}k", duration(total))

    _, twice = planned(grids, "seed=1", "sft.epochs=2", "evaluation.limit=16")
    assert twice["sft"].tokens == Amount(2 * tokens)
    assert twice["sft"].seconds.value == pytest.approx(2 * rows["sft"].seconds.value)
    assert twice["outputs"].seconds.value == pytest.approx(2 * rows["outputs"].seconds.value)


def test_any_multirun_composes_and_its_plan_names_what_cells_share(grids):
    grid = ("model=glob(qwen-*,exclude=*b)", "data=naive,improved", "optimizer.lr=1e-5,2e-5")
    plan = grids.run("planned", *grid, "plan=true", "tracking=disabled")
    assert plan.returncode == 0, plan.stdout[-3000:]
    lines = [each.split("\t") for each in plan.stdout.splitlines() if "\t" in each[:6]]
    lines = [line for line in lines if line[0] in ("done", "to do")]
    cells = 2 * 2 * 2
    users = {line[1]: line[2] for line in lines}
    assert users["data self_instruct"] == f"{cells} of {cells}"
    for shared in ("data lengthen", "outputs qwen-tiny-baseline"):
        said, _, numbers = users[shared].partition(": ")
        assert said == f"{cells // 2} of {cells}"
        ends = [range(int(low), int(high) + 1) for low, high in re.findall(r"(\d+)–(\d+)", numbers)]
        named = [f"# Cell {number}: " for each in ends for number in each]
        lines_of = [line for line in plan.stdout.splitlines() if line.startswith(tuple(named))]
        assert len(lines_of) == cells // 2
        assert all(re.search("improved|qwen-tiny", line) for line in lines_of)
    trained = [line for line in lines if line[1].startswith("sft ")]
    assert len(trained) == cells
    assert all(line[2].startswith(f"1 of {cells}: ") for line in trained)
    assert all(line[3] and line[4] for line in trained), "tokens and time are known from the grids"
    assert executed(grids.sweep("planned")) == []


def test_each_cell_is_a_weights_and_biases_run_that_can_be_read_back(grids):
    run, *_ = grids.store.glob("tracking/qwen-tiny-naive-*/wandb/offline-run-*")
    command = [Path(sys.executable).parent / "wandb", "leet", "inspect", run, "--json"]
    read_back = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in read_back.splitlines()]
    [started] = [row["run"] for row in rows if row["type"] == "run"]
    assert (started["display_name"], started["run_group"]) == ("qwen-tiny-naive", "test")
    assert started["config"]["update"]["sft"]["global_batch_size"] == 8
    for logged in (
        "sft/loss",
        "sft/win_rate",
        "baseline/n_failed",
        "sft_minus_baseline/low",
        "answers",
    ):
        assert logged in read_back


def test_the_comparison_is_a_run_of_its_own_once(grids):
    assert len(list(grids.sweep("0").glob("tracking/wandb/offline-run-*"))) == 1
    tables = read_json(grids.sweep("0") / "tracking" / "tables.json")
    assert len(tables["comparison"]["rows"]) == 6
    measured = Counter(row[2] for row in tables["contrasts"]["rows"])
    assert set(measured.values()) == {4}, "a family for every measure"


def test_a_model_that_judges_is_asked_over_http_and_its_unreadable_verdicts_are_counted(grids):
    def verdict(call):
        return "I cannot say." if "A train leaves at 14:47" in call.last_message else "Output (a)"

    with FakeOpenAI(verdict) as server:
        url = f"annotator.chat.base_url={server.base_url}"
        cell = ("model=qwen-tiny", "data=naive", "tracking=disabled")
        judged = grids.run("judged", "annotator=local", "annotator.chat.model=judge", url, *cell)
    assert judged.returncode == 0, judged.stdout[-3000:]
    [cell] = records(grids.sweep("judged")).values()
    [folder] = grids.store.glob("annotations/qwen-tiny-naive-*chatgpt-*")
    assert str(folder) in cell["stages"].values()
    rows = read_json(folder / "annotations.json")
    read = [row for row in rows if not row["is_failed"]]
    found = cell["result"]["judges"][0]["sft"]
    assert (found["n_total"], found["n_failed"]) == (len(read), 2) == (14, 2)
    first = sum(row["model_first"] for row in read)
    assert found["win_rate"] == pytest.approx(100 * first / len(read))
