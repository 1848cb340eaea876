"""A finished sweep on the disk, small and made up, with everything that a page is made of."""

import itertools
import json
from pathlib import Path

from mini_lima.files import write_json, write_jsonl
from mini_lima.results import Cost, Folders, write_cell
from tests.report import records
from tests.report.records import AGREEMENT, health, judgement, result

ARMS = ("naive", "improved")
SPREAD = {"min": 3, "quartile_1": 20.0, "median": 80.0, "quartile_3": 200.0, "max": 900}


def build(
    folder: Path,
    models=("qwen-0.5b", "other"),
    questions=24,
    answer="An answer.",
    seeds=(1,),
) -> Path:
    """Write sweep and store of the grid of ``models``; return the sweep's folder.

    With more ``seeds`` than one, each model is trained on each data set with all of them.
    """
    store, sweep = folder / "store", folder / "sweep"
    for arm in ARMS:
        files = {"stats.json": stats(), "ledger.json": ledger()}
        write_stage(store, f"data {arm}-1", files)
    for model in models:
        rows = verdicts(questions, f"baseline of {model}: {answer}")
        write_stage(store, f"annotations {model}-baseline-1", {"annotations.json": rows})
        for arm, seed in itertools.product(ARMS, seeds):
            rows = verdicts(questions, f"{arm} of {model}: {answer}", seed - 1)
            write_stage(store, f"annotations {model}-{arm}-{seed}", {"annotations.json": rows})
            losses = [{"step": step, "loss": (4 + seed) / step} for step in range(1, 11)]
            write_stage(store, f"sft {model}-{arm}-{seed}", {"metrics.jsonl": losses})
            several = f"+seed={seed}" if len(seeds) > 1 else ""
            at = sweep / f"{model}-{arm}{several}"
            at.mkdir(parents=True)
            write_cell(at / "cell.json", cell(store, model, arm, seed, several))
    return sweep


def cell(store, model, arm, seed=1, several=""):
    names = [f"data {arm}-1", f"sft {model}-{arm}-{seed}"]
    names += [f"annotations {model}-baseline-1", f"annotations {model}-{arm}-{seed}"]
    judges = [
        judgement(8.25, 14.75, model=model, incomplete=True),
        judgement(
            *(31.5, 33.25, "other_annotators.second", AGREEMENT),
            model=model,
            annotator="judge-2",
        ),
    ]
    ill = {"baseline": health(warnings=["3 cut"]), "sft": health(warnings=["3 cut"])}
    metrics = [("strict", "percent", (30.0, 36.5))]
    return records.cell(
        model,
        arm,
        seed=seed,
        overrides=[f"seed={seed}"] if several else [],
        stages={name: str(place(store, name)) for name in names},
        annotations={
            "annotator": Folders(str(place(store, names[2])), str(place(store, names[3])))
        },
        costs={f"data {arm}-1": Cost(**ledger()["value"], warnings=[])},
        config={
            "model": {"name": model, "weights": "pretrained"},
            "sft": {"epochs": 3, "seed": seed},
        },
        result=result(
            *(model, arm), judges=judges, seed=seed, parameters=5, metrics=metrics, health=ill
        ),
    )


def ledger():
    value = {"replies": 40, "input_tokens": 1234, "cached_input_tokens": 0, "output_tokens": 567}
    return {"value": {**value, "usd": 0.25, "unpriced": 0}, "warnings": ["2 models answered"]}


def stats():
    step = {"requests": 9, "found": 20, "rejected": {"echo": 4}, "used": 16, "notes": {}}
    return {
        "teacher": "teacher-1",
        "examples": 16,
        "output_lengths": {"characters": SPREAD},
        "funnel": {"prompt 2": step},
    }


def verdicts(questions, answer, luck=0):
    """Of four verdicts one wins, one ties and one failed; ``luck`` more of the rest win."""
    return [
        {
            "instruction": f"Question {number}?",
            "output_1": "The reference's answer.",
            "output_2": answer,
            "annotator": "judge-1",
            "preference": [2.0 if number < 8 * luck else 1.0, 2.0, 1.5, None][(number + first) % 4],
            "is_failed": (number + first) % 4 == 3,
            "failure": "no verdict" if (number + first) % 4 == 3 else None,
            "model_first": first,
            "repeat": 0,
        }
        for number in range(questions)
        for first in (False, True)
    ]


def place(store, name):
    kind, _, rest = name.partition(" ")
    return store / kind / rest


def write_stage(store, name, files):
    folder = place(store, name)
    folder.mkdir(parents=True)
    provenance = {
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "packages": {"torch": "2.13.0", "deepspeed": None},
        "started": "2026-01-02T03:04:05.000+00:00",
        "finished": "2026-01-02T04:04:05.000+00:00",
        "seconds": 3600.0,
        "host": "host-1",
        "python": "3.11.7",
    }
    write_json(folder / "stage.json", {"identity": {"fingerprint": "f"}, "provenance": provenance})
    for file, content in files.items():
        (write_jsonl if file.endswith("l") else write_json)(folder / file, content)


def with_every_text(folder: Path, change) -> None:
    """Apply ``change`` to each text of all JSON below ``folder`` that nothing is looked up by."""
    looked_up = {"status", "arm", "stages", "annotations", "started", "finished", "recipe"}
    looked_up |= {"steps", "unit", "better", "key"}

    def changed(value):
        if isinstance(value, dict):
            return {
                k: {change(name): each for name, each in v.items()}
                if k == "differences"
                else v
                if k in looked_up
                else changed(v)
                for k, v in value.items()
            }
        if isinstance(value, list):
            return [changed(each) for each in value]
        return change(value) if isinstance(value, str) else value

    for path in folder.rglob("*.json"):
        write_json(path, changed(json.loads(path.read_text())))
