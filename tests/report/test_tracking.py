"""What a cell's run shows: the real client against a recorder on loopback."""

import base64
import hashlib
import json
from dataclasses import replace

from mini_lima.report import wandb_run
from mini_lima.report.wandb_run import MOST_BYTES_TO_DIGEST, not_sent
from mini_lima.results import write_result
from tests.report.recorder import KEY
from tests.report.records import result
from tests.report.tracked import CONFIG, RUN, append, fingerprint, row, sync, track

USED = {
    *("data-naive", "outputs-tiny-baseline", "metrics-tiny-baseline"),
    "annotations-tiny-baseline-judge",
}
MADE = {
    *("sft-tiny-naive", "outputs-tiny-naive", "metrics-tiny-naive"),
    "annotations-tiny-naive-judge",
}


def artifacts_of(server):
    """By collection, without the tables that are artifacts of W&B's own."""
    return {
        each["artifactCollectionName"]: each
        for each in server.artifacts.values()
        if each["artifactTypeName"] != "run_table"
    }


def md5(content):
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def test_a_finished_cell_is_a_run_with_its_figures_and_goes_on_where_training_was_live(
    server, finished, tmp_path
):
    with wandb_run.live(RUN, CONFIG, [tmp_path / "work"]):
        append(tmp_path / "work", 1)
        append(tmp_path / "work", 2)
        server.wait_until(lambda: server.steps(RUN.id) == [1, 2])
    weights = finished["sft"] / "model" / "model.safetensors"
    with weights.open("wb") as file:
        file.truncate(MOST_BYTES_TO_DIGEST + 1)

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

    config = json.loads(told["config"])
    assert config["teacher"]["value"]["base_url"] == "https://host/(hidden)/v1"
    assert f"data-naive:{fingerprint('data')[:12]}" in config["made_from"]["value"]
    assert server.keys_seen > 0
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert [body for body in (*server.requests, *written) if KEY.encode() in body] == []

    found = artifacts_of(server)
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
    files = found["sft-tiny-naive"]["manifest"]["contents"]
    assert files.keys() == {"metrics.jsonl", "model/model.safetensors", "summary.json"}
    small, large = files["summary.json"], files["model/model.safetensors"]
    assert large["ref"] == weights.as_uri()
    assert small["digest"] == md5((finished["sft"] / "summary.json").read_bytes())
    assert large["digest"] == md5(weights.as_uri().encode())  # its place: it is not read
    assert max(map(len, server.uploads.values())) < MOST_BYTES_TO_DIGEST


def test_cells_share_the_artifacts_that_they_share_with_their_files_if_wanted(
    server, finished, tmp_path
):
    other = replace(RUN, id="f" * 16, name="tiny-again")
    for run, output in ((RUN, tmp_path / "one"), (other, tmp_path / "other")):
        output.mkdir()
        track(finished | {"output": output}, run=run, artifacts="uploads")
    found = artifacts_of(server)
    assert found.keys() == USED | MADE
    assert found["data-naive"]["used"] == [RUN.id, other.id]
    assert found["sft-tiny-naive"]["logged"] == [RUN.id, other.id]
    assert "ref" not in found["sft-tiny-naive"]["manifest"]["contents"]["summary.json"]
    assert b"weights" in server.uploads.values()
    assert (finished["data"] / "examples.jsonl").read_bytes() in server.uploads.values()


def test_an_offline_run_without_a_judge_can_be_moved_and_synced(server, finished, tmp_path):
    found = result("tiny", "naive", judges=[], metrics=[("strict", "percent", (30.0, 36.5))])
    write_result(finished["result"] / "result.json", found)
    for which in ("baseline", "sft"):
        del finished[f"{which}_annotations"]
    track(finished, run=replace(RUN, mode="offline"))
    assert server.requests == []
    moved = finished["output"].rename(tmp_path / "moved")  # as the store does with what is complete
    assert not_sent(moved) is None
    [folder] = moved.glob("wandb/offline-run-*")
    sync(folder, tmp_path)
    assert artifacts_of(server).keys() == MADE - {"annotations-tiny-naive-judge"}
    assert {each["state"] for each in server.artifacts.values()} == {"COMMITTED"}
    assert server.steps(RUN.id) == [1, 2, 3, 4, 5]
    said = server.summary[RUN.id]
    assert (said["strict/sft/value"], said["sft/avg_length"]) == (36.5, 120)
    assert not [name for name in said if "win_rate" in name]
