"""Runs while training goes on, and when the server fails: the real client against a recorder."""

import logging
import sys
import threading

import pytest

from mini_lima.files import read_json, write_jsonl
from mini_lima.report import wandb_run
from mini_lima.report.wandb_run import METRICS, RUN_FILE, not_sent
from tests.report import tracked
from tests.report.recorder import KEY
from tests.report.tracked import CONFIG, RUN, append, row, track


def test_rows_arrive_while_training_writes_them_and_a_training_goes_on_in_its_run(
    server, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WANDB_X_STATS_SAMPLING_INTERVAL", "0.2")
    monkeypatch.delenv("TMPDIR")  # the library's monitor has a socket there: its path must be short
    hooks = sys.exit, sys.excepthook, list(sys.meta_path)
    work = tmp_path / "work"
    folders = [tmp_path / "done", work]

    def killed():
        with wandb_run.live(RUN, CONFIG, folders):
            append(work, 1)
            append(work, 2)
            server.wait_until(lambda: server.steps(RUN.id) == [1, 2])
            server.wait_until(lambda: server.events[RUN.id])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        killed()
    assert server.exits[RUN.id] == [1]
    assert "system.proc.memory.rssMB" in server.events[RUN.id][0]
    assert "live in Weights & Biases: http" in caplog.text

    write_jsonl(work / METRICS, [row(1)])  # as its last checkpoint has it
    with wandb_run.live(RUN, CONFIG, folders):
        append(work, 2)
        append(work, 3)
    assert server.steps(RUN.id) == [1, 2, 3]
    assert server.exits[RUN.id] == [1, 0]
    assert (sys.exit, sys.excepthook, list(sys.meta_path)) == hooks
    sent = [*server.requests, caplog.text.encode()]
    assert [body for body in sent if KEY.encode() in body] == []

    before = len(server.requests)
    with wandb_run.live(RUN, CONFIG, [tmp_path / "nothing"]):
        pass
    assert len(server.requests) == before


def test_no_server_takes_half_a_minute():
    connect, leave = wandb_run.SECONDS_TO_CONNECT, 3 * wandb_run.SECONDS_TO_LEAVE
    dead_while_live = connect + wandb_run.SECONDS_TO_FINISH
    assert max(wandb_run.SECONDS, 2 * connect, dead_while_live) + leave < 30


def test_a_server_that_dies_costs_neither_the_work_nor_what_there_is_to_log(
    server, finished, tmp_path, monkeypatch
):
    for limit, seconds in {"SECONDS": 2, "SECONDS_TO_FINISH": 1, "SECONDS_TO_LEAVE": 0.2}.items():
        monkeypatch.setattr(wandb_run, limit, seconds)
    server.hang_at = "CommitArtifact"
    track(finished, artifacts="uploads")
    done = read_json(finished["output"] / RUN_FILE)
    assert done["mode"] == "offline"
    reason = not_sent(finished["output"])
    *_, folder = reason.split()
    assert f"; it was written offline, and this brings it: wandb sync {folder}" in reason

    server.live_again()
    tracked.sync(folder, tmp_path)
    assert set(server.steps(RUN.id)) == {1, 2, 3, 4, 5}  # the library repeats what had arrived
    assert server.summary[RUN.id]["sft/win_rate"] == 33.25
    assert b"weights" in server.uploads.values()
    assert not_sent(finished["output"]) is None


def test_a_login_that_is_refused_is_a_line_without_the_key(
    server, finished, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_API_KEY", "far-too-short")
    said = threading.Event()
    monkeypatch.setattr(wandb_run.log, "filter", lambda record: said.set() or True)
    append(tmp_path, 1)
    with wandb_run.live(RUN, CONFIG, [tmp_path]):
        assert said.wait(600)
    track(finished)
    for line in (caplog.text, not_sent(finished["output"])):
        assert "API key" in line
        assert "far-too-short" not in line
    assert server.history == {}
