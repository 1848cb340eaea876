"""Weights & Biases: the real client, in its own process, against a recorder on loopback."""

import json
import logging
import threading
import time

import pytest
from tests.composing import configured
from tests.report.recorder import KEY
from tests.report.records import result
from tests.report.tracked import CONFIG, RUN, append, row, track, verdicts

from mini_lima import pipeline
from mini_lima.experiment import cell
from mini_lima.files import write_jsonl
from mini_lima.redact import without_secrets
from mini_lima.report import live, tracking, wandb_process
from mini_lima.report.answers import table
from mini_lima.results import write_result
from mini_lima.store.stages import Store


def test_rows_arrive_while_training_writes_them_and_the_same_run_is_completed_afterwards(
    server, finished, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.2")
    monkeypatch.delenv("TMPDIR")  # the library's monitor has a socket there: its path must be short
    work = tmp_path / "work"
    with live.following(RUN, CONFIG, [tmp_path / "done", work]):
        append(work, 1)
        server.wait_until(lambda: server.steps(RUN.id) == [1])
        append(work, 2)
        append(work, 3)
        server.wait_until(lambda: server.steps(RUN.id) == [1, 2, 3])
        server.wait_until(lambda: server.events[RUN.id])
        assert server.exits[RUN.id] == []
    assert "system.proc.memory.rssMB" in server.events[RUN.id][0]
    assert server.exits[RUN.id] == [0]
    assert "live at http" in caplog.text

    track(finished)

    assert server.steps(RUN.id) == [1, 2, 3, 4, 5]
    losses = [each["sft/loss"] for each in server.history[RUN.id] if "sft/loss" in each]
    assert losses == [row(step)["loss"] for step in range(1, 6)]
    told = server.runs[RUN.id]
    assert (told["displayName"], told["groupName"], told["project"]) == (
        "tiny-naive",
        "grid",
        "study",
    )
    said = server.summary[RUN.id]
    for figure, value in {
        "win_rate": 33.25,
        "low": 20,
        "high": 48,
        "n_total": 3,
        "n_failed": 1,
    }.items():
        assert said[f"sft/{figure}"] == said[f"baseline/{figure}"] == value
    assert said["sft/length_controlled_winrate"] == 30
    assert said["sft_minus_baseline/difference"] == -12.5
    assert said["longest/sft/win_rate"] == 60
    assert "longest/sft/length_controlled_winrate" not in said
    assert (said["strict/baseline/value"], said["strict/sft/value"]) == (30, 36.5)
    assert said["strict/sft_minus_baseline/difference"] == 6.5
    [measured] = [json.loads(body) for name, body in server.uploads.items() if "measures.t" in name]
    rows = [dict(zip(measured["columns"], row, strict=True)) for row in measured["data"]]
    assert {(row["arm"], row["value"]) for row in rows if row["measure"] == "strict"} == {
        ("baseline", 30),
        ("naive", 36.5),
    }
    [answers, *_] = [body for name, body in server.uploads.items() if "answers.table" in name]
    assert json.loads(answers)["data"][0] == [
        *("question 0", "reference"),
        *("baseline answer 0", 50, 2, 0, "won", "lost"),
        *("sft answer 0", 100, 1, 1, "won", "failed"),
    ]

    assert server.keys_seen > 0
    assert json.loads(told["config"])["teacher"]["value"]["base_url"] == "https://host/(hidden)/v1"
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    sent = [*server.requests, *written, caplog.text.encode()]
    assert [body for body in sent if KEY.encode() in body] == []


def test_without_a_judge_a_run_has_lengths_and_metrics(server, finished):
    found = result("tiny", "naive", judges=[], metrics=[("strict", "percent", (30.0, 36.5))])
    write_result(finished["result"] / "result.json", found)
    for which in ("baseline", "sft"):
        del finished[f"{which}_annotations"]
    track(finished)
    said = server.summary[RUN.id]
    assert (said["strict/sft/value"], said["sft/avg_length"]) == (36.5, 120)
    assert not [name for name in said if "win_rate" in name]


def test_a_cell_follows_the_training_that_it_runs_and_goes_on_in_its_run_when_started_again(
    server, tmp_path
):
    store = Store(tmp_path / "store")

    def laid_out(mode):
        config = configured("experiment=embedded", f"tracking={mode}", f"store={store.root}")
        return pipeline.build_cell(config, {"seed": 1})

    online = laid_out("wandb")
    run = online.last[0].params["run"].id
    training = online.result.inputs["sft"]
    work = store.work_dir(training)

    def killed():
        with cell._live(online, store):
            append(work, 1)
            append(work, 2)
            server.wait_until(lambda: server.steps(run) == [1, 2])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        killed()
    assert server.exits[run] == [1]
    write_jsonl(work / tracking.METRICS, [row(1)])  # as its last checkpoint has it
    with cell._live(online, store):
        append(work, 2)
        append(work, 3)
        server.wait_until(lambda: server.steps(run) == [1, 2, 3])
    assert server.exits[run] == [1, 0]

    before = len(server.requests)
    store.path(training).mkdir(parents=True)
    for nothing_to_follow in (online, laid_out("offline"), laid_out("disabled")):
        with cell._live(nothing_to_follow, store):
            pass
    assert len(server.requests) == before


def test_a_server_that_dies_costs_neither_the_work_nor_half_a_minute(
    server, finished, tmp_path, monkeypatch
):
    assert live.SECONDS_TO_END + wandb_process.SECONDS < 30
    monkeypatch.setattr(live, "SECONDS_TO_END", 1)
    monkeypatch.setattr(wandb_process, "SECONDS", 2)
    with live.following(RUN, CONFIG, [tmp_path / "work"]):
        append(tmp_path / "work", 1)
        server.wait_until(lambda: server.steps(RUN.id) == [1])
        server.hang = True
        append(tmp_path / "work", 2)
        began = time.monotonic()
    with pytest.raises(wandb_process.NotTracked, match="more than 2 s"):
        track(finished)
    assert time.monotonic() - began < 10


def test_a_login_that_is_refused_is_a_line_of_the_log_without_the_key(
    server, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("WANDB_API_KEY", "far-too-short")
    said = threading.Event()
    monkeypatch.setattr(live.log, "filter", lambda record: said.set() or True)
    append(tmp_path, 1)
    with live.following(RUN, CONFIG, [tmp_path]):
        assert said.wait(20), "nothing was said"
    assert "API key" in caplog.text
    assert "far-too-short" not in caplog.text
    assert server.history == {}


def test_a_run_is_the_same_for_the_same_result_and_another_for_another():
    names = ("study", "grid", "tiny-naive", "f" * 64)
    assert tracking.run_id(*names) == tracking.run_id(*names)
    others = [tracking.run_id(*names[:at], "other", *names[at + 1 :]) for at in range(4)]
    assert len({tracking.run_id(*names), *others}) == 5


def test_a_key_that_was_composed_into_the_configuration_is_hidden_wherever_it_stands():
    config = {
        "engine": {"api_key_env": "A", "command": "serve --key secret-a"},
        "chats": [{"base_url": "https://secret-b@host"}, 3, None],
        "teacher": {"api_key_env": "B"},
        "annotator": {"api_key_env": None},
    }
    cleaned = without_secrets(config, {"A": "secret-a", "B": "secret-b", "C": "serve"})
    assert cleaned["engine"]["command"] == "serve --key (hidden)"
    assert cleaned["chats"] == [{"base_url": "https://(hidden)@host"}, 3, None]
    assert cleaned["teacher"] == config["teacher"]


def test_an_answer_without_a_readable_verdict_stays_in_the_table():
    judged = {"baseline": verdicts("b", [(None, None)]), "sft": verdicts("s", [(1, 1.5)])}
    found = table(judged)
    assert found["columns"][2:8] == [
        *("baseline answer", "baseline win %", "baseline verdicts", "baseline failed"),
        *("baseline when first", "baseline when second"),
    ]
    assert found["rows"] == [
        [
            *("question 0", "reference"),
            *("b answer 0", None, 0, 2, "failed", "failed"),
            *("s answer 0", 25.0, 2, 0, "tie", "lost"),
        ]
    ]
