"""Data set, checkpoint, model outputs and annotations as artifacts, in the real client's words."""

import base64
import hashlib
import json
import os
import select
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.report.tracked import RUN, fingerprint, track

from mini_lima.report import wandb_process
from mini_lima.report.run_log import MOST_BYTES_TO_DIGEST

USED = {
    *("data-naive", "outputs-tiny-baseline", "metrics-tiny-baseline"),
    "annotations-tiny-baseline-judge",
}
MADE = {
    *("sft-tiny-naive", "outputs-tiny-naive", "metrics-tiny-naive"),
    "annotations-tiny-naive-judge",
}


def ours(server):
    """The artifacts by collection, without the tables that are artifacts of W&B's own."""
    return {
        each["artifactCollectionName"]: each
        for each in server.artifacts.values()
        if each["artifactTypeName"] != "run_table"
    }


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def test_a_cell_uses_its_data_set_and_makes_its_checkpoint_and_cells_share_what_they_share(
    server, finished
):
    weights = finished["sft"] / "model" / "model.safetensors"
    with weights.open("wb") as file:
        file.truncate(MOST_BYTES_TO_DIGEST + 1)
    track(finished)
    found = ours(server)
    assert found.keys() == USED | MADE
    assert {each["state"] for each in found.values()} == {"COMMITTED"}
    for name, artifact in found.items():
        assert artifact["used"] == ([RUN.id] if name in USED else [])
        assert artifact["logged"] == ([RUN.id] if name in MADE else [None])

    data = found["data-naive"]
    assert data["artifactTypeName"] == "dataset"
    assert fingerprint("data")[:12] in {each["alias"] for each in data["aliases"]}
    assert json.loads(data["metadata"]) == {
        "fingerprint": fingerprint("data"),
        "params": {"limit": "few", "seed": 7},
        "inputs": {"naive": fingerprint("naive")},
        "counts": {"examples": 3, "by_source": {"seed": 3}, "mean_output_characters": 120.5},
    }
    checkpoint = found["sft-tiny-naive"]
    assert checkpoint["artifactTypeName"] == "model"
    files = checkpoint["manifest"]["contents"]
    assert files.keys() == {"metrics.jsonl", "model/model.safetensors", "summary.json"}
    small, large = files["summary.json"], files["model/model.safetensors"]
    assert large["ref"] == weights.as_uri()
    assert small["digest"] == md5((finished["sft"] / "summary.json").read_bytes())
    assert large["digest"] == md5(weights.as_uri().encode())  # its place: it is not read
    assert max(map(len, server.uploads.values())) < MOST_BYTES_TO_DIGEST

    other = replace(RUN, id="f" * 16, name="tiny-again")
    track(finished, run=other)
    assert ours(server).keys() == found.keys()
    assert found["data-naive"]["used"] == [RUN.id, other.id]
    assert found["sft-tiny-naive"]["logged"] == [RUN.id, other.id]
    tables = 2 * 3
    assert len(server.artifacts) == len(found) + tables, "what is shared is there twice"


def test_uploads_bring_the_files(server, finished):
    track(finished, artifacts="uploads")
    found = ours(server)
    assert found.keys() == USED | MADE
    assert "ref" not in found["sft-tiny-naive"]["manifest"]["contents"]["summary.json"]
    assert b"weights" in server.uploads.values()
    assert (finished["data"] / "examples.jsonl").read_bytes() in server.uploads.values()


def test_an_offline_run_has_its_lineage_and_wandb_sync_brings_it(server, finished, tmp_path):
    track(finished, run=replace(RUN, mode="offline"))
    assert server.requests == []
    [folder] = finished["output"].glob("wandb/offline-run-*")
    wandb = [sys.executable, "-m", "wandb"]
    seen = subprocess.run(
        [*wandb, "leet", "inspect", str(folder), "--json"], capture_output=True, check=True
    ).stdout.decode()
    assert "sft_minus_baseline/difference" in seen
    moved = finished["output"].rename(tmp_path / "moved")  # as the store does with what is complete
    [folder] = moved.glob("wandb/offline-run-*")
    subprocess.run([*wandb, "sync", str(folder)], capture_output=True, check=True, cwd=tmp_path)
    found = ours(server)
    assert found.keys() == USED | MADE
    assert found["data-naive"]["used"] == [RUN.id]
    assert found["sft-tiny-naive"]["logged"] == [RUN.id]
    assert {each["state"] for each in server.artifacts.values()} == {"COMMITTED"}
    assert server.steps(RUN.id) == [1, 2, 3, 4, 5]
    assert server.summary[RUN.id]["sft/win_rate"] == 33.25


def test_an_artifact_that_is_refused_is_said(server, finished):
    server.refuse = "CreateArtifact"
    with pytest.raises(wandb_process.NotTracked, match="not in this project"):
        track(finished)


def test_a_server_that_dies_among_the_artifacts_is_given_up_and_no_process_stays(
    server, finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(wandb_process, "SECONDS", 3)
    monkeypatch.setattr(wandb_process, "MOVES", 10_000)
    services, hung = [], []

    def on_hang():
        services.extend(processes_with(str(tmp_path)))
        hung.append(time.monotonic())

    server.hang_at, server.on_hang = "CommitArtifact", on_hang
    with pytest.raises(wandb_process.NotTracked, match="more than 3 s"):
        track(finished, artifacts="uploads")
    assert time.monotonic() - hung[0] < 12
    assert len(services) == 1
    assert select.select(services, [], [], 20)[0], "the library's service goes on"


def processes_with(text):
    """What tells by becoming readable that a process whose command line has ``text`` has ended."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid,args"], capture_output=True, check=True, text=True
    )
    return [
        os.pidfd_open(int(line.split()[0])) for line in listed.stdout.splitlines() if text in line
    ]


@pytest.mark.parametrize("moves", [True, False])
def test_an_upload_may_go_on_for_as_long_as_it_moves(moves, monkeypatch):
    """A process that writes two megabytes every tenth of a second, and one that does nothing.

    As the library does it, a child of the process that was sent does the work.
    """
    write = "sink.write(bytes(2_000_000))" if moves else "pass"
    program = (
        "import time\n"
        "with open('/dev/null', 'wb', buffering=0) as sink:\n"
        f"    for _ in range(15): {write}; time.sleep(0.1)\n"
        "print('done')"
    )
    through = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"
    )
    monkeypatch.setattr(wandb_process, "COMMAND", (sys.executable, "-c", through, program))
    monkeypatch.setattr(wandb_process, "SECONDS_BETWEEN_LOOKS", 0.2)
    if moves:
        assert wandb_process.send(b"\n", seconds=1, while_it_moves=True) == "done"
        with pytest.raises(wandb_process.NotTracked, match="more than 1 s"):
            wandb_process.send(b"\n", seconds=1)
    else:
        with pytest.raises(wandb_process.NotTracked, match="more than 1 s"):
            wandb_process.send(b"\n", seconds=1, while_it_moves=True)
