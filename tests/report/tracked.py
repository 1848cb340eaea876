"""A cell as the stages before its tracking leave it, small and made up."""

import json
import subprocess
import sys
from dataclasses import replace

from mini_lima.files import write_json, write_jsonl
from mini_lima.report import tracking, wandb_run
from mini_lima.results import LengthControlled, PairedDifference, write_result
from tests.report.recorder import KEY
from tests.report.records import judgement, result

RUN = wandb_run.Run(
    id="0123456789abcdef",
    mode="online",
    project="study",
    entity=None,
    group="grid",
    name="tiny-naive",
)
CONFIG = {"teacher": {"api_key_env": "WANDB_API_KEY", "base_url": f"https://host/{KEY}/v1"}}
LABELS = {
    "data": ("data", "naive"),
    "sft": ("sft", "tiny-naive"),
    "baseline_outputs": ("outputs", "tiny-baseline"),
    "baseline_metrics": ("metrics", "tiny-baseline"),
    "baseline_annotations": ("annotations", "tiny-baseline-judge"),
    "sft_outputs": ("outputs", "tiny-naive"),
    "sft_metrics": ("metrics", "tiny-naive"),
    "sft_annotations": ("annotations", "tiny-naive-judge"),
}
LEADERBOARD = ("n_total", "n_failed", "win_rate", "low", "high")


def fingerprint(keyword):
    return (keyword.encode().hex() * 8)[:64]


def row(step):
    return {"step": step, "loss": 8.0 / step, "learning_rate": 1e-3, "tokens": 100 + step}


def append(folder, step):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / wandb_run.METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row(step)) + "\n")


def verdicts(which, preferences):
    """Rows of annotations.json; of each pair the model's answer stands first in the second."""
    return [
        {
            "instruction": f"question {number}",
            "output_1": "reference",
            "output_2": f"{which} answer {number}",
            "preference": preference,
            "model_first": bool(at),
        }
        for number, pair in enumerate(preferences)
        for at, preference in enumerate(pair)
    ]


def finished_stages(root):
    """Write the inputs of the stage below ``root``, a training of five steps among them."""
    folders = {
        keyword: root / name / f"{label}-{fingerprint(keyword)[:12]}"
        for keyword, (name, label) in LABELS.items()
    }
    for keyword, folder in folders.items():
        folder.mkdir(parents=True)
        name, label = LABELS[keyword]
        identity = {
            "name": name,
            "params": {"limit": {"!enum": "Limit.few", "!value": "few"}, "seed": 7},
            "inputs": {"naive": fingerprint("naive")},
            "fingerprint": fingerprint(keyword),
        }
        record = {"identity": identity, "provenance": {"label": label, "host": "here"}}
        write_json(folder / "stage.json", record)
    written = {"examples": 3, "by_source": {"seed": 3}, "mean_output_characters": 120.5}
    write_json(folders["data"] / "stats.json", written)
    write_jsonl(folders["data"] / "examples.jsonl", [{"id": number} for number in range(3)])
    trained = {"parameters": 5, "examples": 3, "supervised_tokens": 9, "steps": 5, "last_loss": 1.6}
    write_json(folders["sft"] / "summary.json", trained)
    write_jsonl(folders["sft"] / wandb_run.METRICS, map(row, range(1, 6)))
    (folders["sft"] / "model").mkdir()
    (folders["sft"] / "model" / "model.safetensors").write_bytes(b"weights")
    sides = {"baseline": [(1, 2), (2, 2)], "sft": [(None, 2), (1, 1)]}
    for which, preferences in sides.items():
        health = {"n": 2, "empty": 0, "cut_at_limit": 1, "mean_length_characters": 15.0}
        write_json(folders[f"{which}_metrics"] / "health.json", health)
        write_json(folders[f"{which}_outputs"] / "model_outputs.json", [{"output": which}])
        told = folders[f"{which}_annotations"]
        write_json(told / "annotations.json", verdicts(which, preferences))
        write_json(told / "leaderboard.json", {key: 1.0 for key in LEADERBOARD})
    controlled = LengthControlled(30.0, 15.0, 45.0, None)
    figures = {"low": 20.0, "high": 48.0, "n_total": 3, "n_failed": 1, "avg_length": 270.5}
    first = judgement(33.25, 33.25, "annotator", length_controlled=controlled, **figures)
    undefined = LengthControlled(None, None, None, "not defined")
    other = judgement(
        33.25, 60, "other_annotators.x", annotator="longest", length_controlled=undefined
    )
    found = result(
        *("tiny", "naive"), judges=[first, other], metrics=[("strict", "percent", (30.0, 36.5))]
    )
    difference = PairedDifference(-12.5, -30.0, 5.0, 2)
    found = replace(found, differences=found.differences | {first.measure: difference})
    folders |= {"result": root / "result", "output": root / "output"}
    for folder in ("result", "output"):
        folders[folder].mkdir()
    write_result(folders["result"] / "result.json", found)
    return folders


def track(folders, run=RUN, config=CONFIG, artifacts="references"):
    stages = {keyword: folder for keyword, folder in folders.items() if keyword != "output"}
    tracking.track(folders["output"], run=run, artifacts=artifacts, config=config, **stages)


def sync(folder, home):
    """Upload an offline run as a person would."""
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, capture_output=True, check=True, cwd=home)
