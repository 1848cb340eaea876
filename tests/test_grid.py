"""The embedded 2×2 grid from the command line, twice at once, with every library real.

One set of processes serves all tests of this module: a grid that is killed in the middle of its
first training, then two grids that start together on the store it left behind.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

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
from tests.composing import configured

ROOT = Path(__file__).parent.parent
SMALL = (
    "evaluation.limit=8",
    "evaluation.max_new_tokens=24",
    "evaluation.bootstrap_samples=200",
    "sft.epochs=1",
)
SECRET = "sk-0123456789abcdef0123456789abcdef01234567"
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
    command = [ROOT / "sweep.sh", "experiment=embedded", *SMALL, f"store={folder / 'store'}"]
    secrets = dict.fromkeys(("OPENAI_API_KEY", "WANDB_API_KEY", "HF_TOKEN"), SECRET)
    environment = {**os.environ, **secrets, "PYTHON": sys.executable}
    return subprocess.Popen(
        [*command, f"hydra.sweep.dir={folder / name}", "hydra.job.name=test", *changes],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    output, _ = process.communicate(timeout=400)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def poll(condition, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.02)


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
def grids(tmp_path_factory) -> Grids:
    folder = tmp_path_factory.mktemp("grids")
    killed = start(folder, "killed")
    training = folder / "store/sft/.partial"
    poll(lambda: killed.poll() is not None or any(training.glob("*")), seconds=60)
    assert killed.poll() is None, finish(killed).stdout
    poll(lambda: SFT in command_lines(), seconds=60)
    arguments = command_lines()
    waiting = start(folder, "0")
    os.kill(killed.pid, signal.SIGKILL)
    other = start(folder, "1")
    return Grids(folder, killed, [finish(waiting), finish(other)], arguments)


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
    kinds = Counter(stage.split()[0] for stage in by_all)
    # The two data stages may have been finished by the grid that was killed.
    assert kinds - Counter(data=2) == Counter(STAGES_OF_A_GRID) - Counter(data=2)


def test_a_secret_in_the_environment_is_found_nowhere_else(grids):
    written = [path for path in grids.folder.rglob("*") if path.is_file()]
    assert any("wandb" in str(path) for path in written)
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []
    assert SFT in grids.arguments
    assert SECRET not in grids.arguments + "".join(each.stdout for each in grids.finished)


def test_a_killed_grid_leaves_nothing_half_finished(grids):
    assert grids.killed.wait() == -signal.SIGKILL
    assert {record["status"] for record in records(grids.sweep("killed")).values()} == {
        "unfinished"
    }
    for kind, count in STAGES_OF_A_GRID.items():
        folders = [
            path for path in (grids.store / kind).iterdir() if (path / "stage.json").exists()
        ]
        assert len(folders) == count
        assert not list((grids.store / kind).glob(".partial/*"))


def test_a_second_grid_does_nothing_and_shows_the_same_table(grids):
    again = grids.run("again")
    assert again.returncode == 0
    assert executed(grids.sweep("again")) == []
    report = (grids.sweep("again") / "report.md").read_text()
    assert report == (grids.sweep("0") / "report.md").read_text()


def test_a_changed_annotator_setting_repeats_annotation_and_report_only(grids):
    _, rows = planned(grids, "annotator.seed=1")
    assert set(rows) == {"annotations", "result"}


def test_a_search_finds_the_highest_win_rate_and_survives_trials_that_fail(grids):
    pytest.importorskip("optuna", reason="pip install -e '.[optuna]'")
    searched = grids.run(
        "searched",
        "hydra/sweeper=win_rate",
        "hydra.sweeper.n_trials=4",
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
    assert report["columns"] == ["baseline", "naive", "improved"]
    assert list(report["rows"]) == ["qwen-tiny", "qwen-mini"]
    for cell in report["cells"]:
        result = cell["result"]
        [judge] = result["judges"]
        for which in ("baseline", "sft"):
            found = judge[which]
            assert found["low"] <= found["win_rate"] <= found["high"]
            assert (found["n_total"], found["n_failed"]) == (16, 0), "8 instructions in both orders"
            assert found["annotator"] == "longest"
        difference = result["differences"]["win rate by longest"]
        expected = judge["sft"]["win_rate"] - judge["baseline"]["win_rate"]
        assert difference["difference"] == pytest.approx(expected)
        assert difference["n"] == 8
    shown = grids.finished[0].stdout
    assert "baseline" in shown
    assert "say nothing about Qwen" in " ".join(shown.split())
    judged = [each for each in report["contrasts"] if each["measure"] == "win rate by longest"]
    assert Counter(each["kind"] for each in judged) == {
        "sft": 4,
        "data": 2,
        "interaction": 1,
    }
    assert (grids.sweep("0") / "report.html").stat().st_size < 2e6


def planned(grids, *changes):
    """A plan on the grids' store, and its rows of work to do by the kind of stage."""
    config = configured(
        *("experiment=embedded", *SMALL, "tracking=disabled", f"store={grids.store}"),
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
        for path in grids.store.glob("sft/qwen-tiny-*")
    ]
    plan, rows = planned(grids, "seed=1")
    assert set(rows) == {"sft", "outputs", "metrics", "annotations", "result"}
    assert rows["sft"].tokens == Amount(tokens)
    assert rows["sft"].seconds.value == pytest.approx(tokens * sum(took) / 2)
    assert all(row.seconds.value > 0 for row in rows.values())
    total = sum(row.seconds.value for row in rows.values())
    assert plan_table.lines(plan)[-1][3:5] == (f"{tokens / 1000:,.0f}k", duration(total))

    _, twice = planned(grids, "seed=1", "sft.epochs=2", "evaluation.limit=16")
    assert twice["sft"].tokens == Amount(2 * tokens)
    assert twice["sft"].seconds.value == pytest.approx(2 * rows["sft"].seconds.value)
    assert twice["outputs"].seconds.value == pytest.approx(2 * rows["outputs"].seconds.value)


def test_data_that_are_still_to_be_made_are_forecast_and_other_work_has_no_time(grids):
    [folder] = grids.store.glob("sft/qwen-tiny-naive-*")
    tokens = read_json(folder / "summary.json")["tokens"]
    # As many examples as there can be, each about as long: fewer than the whole.
    _, fewer = planned(grids, "data.steps.self_instruct.instances_per_new_task=2")
    assert 0.4 * tokens < fewer["sft"].tokens.value < 0.9 * tokens
    assert not fewer["sft"].tokens.at_least
    plan, longer = planned(
        grids, "data=improved", "data.steps.self_instruct.instances_per_new_task=2"
    )
    assert longer["sft"].tokens == Amount(fewer["sft"].tokens.value, at_least=True)
    assert plan_table.lines(plan)[-1][3].startswith("≥ ")

    for other in ("deepspeed=zero1", "launch.threads=1"):
        plan, rows = planned(grids, "seed=1", other)
        assert rows["sft"].seconds is None, other
        lines = {line[1]: line for line in plan_table.lines(plan)}
        assert lines["sft qwen-tiny-naive"][4] == "not known"
        assert any("The time of sft" in note for note in plan_table.notes(plan))
        assert lines["sum"][4].startswith("≥ ")


def test_a_killed_worker_costs_its_cell_alone_and_the_same_again_makes_two_seeds_one_row(grids):
    changes = ("model=qwen-tiny", "data=naive", "tracking=disabled", "seed=1,0")
    sweep = start(grids.folder, "seeds", *changes)
    poll(lambda: (first := trainings_of(sweep.pid)) and trainings_of(first[0]), seconds=60)
    [launcher] = trainings_of(sweep.pid)
    os.kill(trainings_of(launcher)[0], signal.SIGKILL)
    ended = finish(sweep)
    assert ended.returncode == 1, ended.stdout
    folder = grids.sweep("seeds")
    found = {record["config"]["seed"]: record for record in records(folder).values()}
    assert {seed: each["status"] for seed, each in found.items()} == {1: "failed", 0: "finished"}
    assert re.search("worker 0.* was ended by SIGKILL", found[1]["reason"])
    assert f"(log: {found[1]['log']})" in found[1]["reason"]
    assert Path(found[1]["log"]).is_file()
    assert found[1]["reason"] in (folder / "report.md").read_text()

    again = grids.run("seeds", *changes)
    assert again.returncode == 0, again.stdout[-3000:]
    assert Counter(stage.split()[0] for stage in executed(folder)) == {
        **{"sft": 1, "outputs": 1, "metrics": 1, "annotations": 1, "result": 1}
    }
    report = read_json(folder / "report.json")
    assert list(report["rows"]) == ["qwen-tiny, 2 seeds"]
    [together] = [each for each in report["together"] if each["measure"].startswith("win rate")]
    judged = [cell["result"]["judges"][0] for cell in report["cells"]]
    over = together["over"]
    assert over["value"] == pytest.approx(sum(each["sft"]["win_rate"] for each in judged) / 2)
    assert over["low"] <= over["value"] <= over["high"]
    [contrast] = [each for each in report["contrasts"] if each["measure"].startswith("win rate")]
    assert (contrast["seeds"], contrast["difference"]) == (
        2,
        pytest.approx(over["value"] - judged[0]["baseline"]["win_rate"]),
    )


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


def test_the_tuned_model_is_a_checkpoint_that_transformers_loads(grids):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    [folder] = grids.store.glob("sft/qwen-mini-improved-*")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert 3.5e6 < model.num_parameters() < 4.5e6
    end_of_turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.generation_config.eos_token_id == [end_of_turn]
    losses = [row["loss"] for row in read_jsonl(folder / "metrics.jsonl")]
    assert len(losses) == read_json(folder / "summary.json")["steps"] == 24
    assert losses[-1] < losses[0]


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
    assert set(measured.values()) == {7}, "a family for every measure"


def test_a_model_that_judges_is_asked_over_http_and_its_unreadable_verdicts_are_counted(grids):
    def verdict(call):
        return "I cannot say." if "A train leaves at 14:47" in call.last_message else "Output (a)"

    def judged_by(server, name):
        url = f"annotator.chat.base_url={server.base_url}"
        cell = ("model=qwen-tiny", "data=improved", "tracking=disabled")
        return grids.run(name, "annotator=local", "annotator.chat.model=judge", url, *cell)

    with FakeOpenAI(verdict) as server:
        assert judged_by(server, "judged").returncode == 0
        asked = len(server.calls)
        assert judged_by(server, "judged again").returncode == 0
        assert len(server.calls) == asked, "a verdict was paid for twice"
    [improved] = records(grids.sweep("judged")).values()
    [folder] = grids.store.glob("annotations/qwen-tiny-improved-*chatgpt-*")
    assert str(folder) in improved["stages"].values()
    rows = read_json(folder / "annotations.json")
    read = [row for row in rows if not row["is_failed"]]
    found = improved["result"]["judges"][0]["sft"]
    assert (found["n_total"], found["n_failed"]) == (len(read), 2) == (14, 2)
    first = sum(row["model_first"] for row in read)
    assert found["win_rate"] == pytest.approx(100 * first / len(read))
