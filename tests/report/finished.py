"""A finished sweep on the disk, small and made up, with everything that a page is made of."""

import itertools
import json
from pathlib import Path

from mini_lima.files import write_json, write_jsonl

METHODS = ("naive", "improved")
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
    for method in METHODS:
        files = {"stats.json": stats(method), "ledger.json": ledger()}
        write_stage(store, f"data {method}-1", files)
    for model in models:
        rows = verdicts(questions, f"baseline of {model}: {answer}")
        write_stage(store, f"annotations {model}-baseline-1", {"annotations.json": rows})
        for method, seed in itertools.product(METHODS, seeds):
            rows = verdicts(questions, f"{method} of {model}: {answer}", seed - 1)
            write_stage(store, f"annotations {model}-{method}-{seed}", {"annotations.json": rows})
            losses = [{"step": step, "loss": (4 + seed) / step} for step in range(1, 11)]
            write_stage(store, f"sft {model}-{method}-{seed}", {"metrics.jsonl": losses})
            several = f"+seed={seed}" if len(seeds) > 1 else ""
            at = sweep / f"{model}-{method}{several}"
            at.mkdir(parents=True)
            write_json(at / "cell.json", cell(store, model, method, seed, several))
    return sweep


def cell(store, model, method, seed=1, several=""):
    names = [f"data {method}-1", f"sft {model}-{method}-{seed}"]
    names += [f"annotations {model}-baseline-1", f"annotations {model}-{method}-{seed}"]
    changes = [f"seed={seed}"] if several else []
    return {
        "model": model,
        "method": method,
        "overrides": [f"model={model}", f"data={method}", *changes],
        "status": "finished",
        "stages": {name: str(place(store, name)) for name in names},
        "annotations": {
            "baseline": str(place(store, names[2])),
            "sft": str(place(store, names[3])),
        },
        "costs": {f"data {method}-1": {**ledger()["value"], "warnings": []}},
        "config": {
            "model": {"name": model, "weights": "pretrained"},
            "sft": {"epochs": 3, "seed": seed},
        },
        "result": {
            "confidence": 0.95,
            "bootstrap_samples": 200,
            "seed": 0,
            "training": {"parameters": 5, "steps": 10, "first_loss": 5.0, "last_loss": 0.5},
            "baseline": evaluated(8.25, f"{model}-baseline"),
            "sft": evaluated(14.75, f"{model}-{method}"),
            "sft_minus_baseline": {"difference": 6.5, "low": -1.25, "high": 14.2, "n": 24},
            "other_annotators": {
                "judge-2": {
                    "baseline": evaluated(31.5, f"{model}-baseline"),
                    "sft": evaluated(33.25, f"{model}-{method}"),
                    "agreement": {"agreement": 81.5, "kappa": 0.25, "n": 46},
                }
            },
        },
    }


def evaluated(win_rate, generator):
    return {
        "generator": generator,
        "annotator": "judge-1",
        "reference": "ref-1",
        "win_rate": win_rate,
        "low": win_rate - 5,
        "high": win_rate + 5,
        "n_total": 46,
        "n_failed": 2,
        "incomplete": True,
        "failures": {"no verdict in the reply": 2},
        "avg_length": 123.0 + win_rate,
        "avg_length_reference": 150.0,
        "low_if_failures_lose": 7.0,
        "high_if_failures_win": 12.0,
        "consistency": {"win_rate_first": 47.0, "win_rate_second": 8.0, "order_effect": 39.0},
        "same_length": {"n_pairs": 0, "win_rate": None},
        "length_controlled": {"win_rate": 21.25, "low": 20.0, "high": 22.5},
        "health": {"n": 24, "cut_at_limit": 3, "mean_length_tokens": 30.0, "warnings": ["3 cut"]},
    }


def ledger():
    value = {"replies": 40, "input_tokens": 1234, "cached_input_tokens": 0, "output_tokens": 567}
    return {"value": {**value, "usd": 0.25, "unpriced": 0}, "warnings": ["2 models answered"]}


def stats(method):
    step = {"requests": 9, "found": 20, "rejected": {"echo": 4}, "used": 16, "notes": {}}
    return {
        "method": method,
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
    write_json(folder / "stage.json", {"provenance": provenance})
    for file, content in files.items():
        (write_jsonl if file.endswith("l") else write_json)(folder / file, content)


def with_every_text(folder: Path, change) -> None:
    """Apply ``change`` to each text of all JSON below ``folder`` that nothing is looked up by."""
    looked_up = {"status", "method", "stages", "annotations", "started", "finished"}

    def changed(value):
        if isinstance(value, dict):
            return {k: v if k in looked_up else changed(v) for k, v in value.items()}
        if isinstance(value, list):
            return [changed(each) for each in value]
        return change(value) if isinstance(value, str) else value

    for path in folder.rglob("*.json"):
        write_json(path, changed(json.loads(path.read_text())))
