"""One cell's result: both win rates with all that qualifies them, and their paired difference."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mini_lima.files import read_json, write_json


def summarise(
    output_dir: Path,
    *,
    model: str,
    method: str,
    data: Path,
    sft: Path,
    baseline_outputs: Path,
    baseline_metrics: Path,
    baseline_annotations: Path,
    sft_outputs: Path,
    sft_metrics: Path,
    sft_annotations: Path,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
    **others: Path,
) -> None:
    """Write ``result.json``.

    Args:
        output_dir: Receives the file.
        model: Row of the comparison.
        method: Data method, column of the comparison.
        data: The data set.
        sft: The tuned model.
        baseline_outputs: The untuned model's outputs.
        baseline_metrics: Their numbers and their health.
        baseline_annotations: The verdicts on them.
        sft_outputs: The tuned model's outputs.
        sft_metrics: Their numbers and their health.
        sft_annotations: The verdicts on them.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind the interval of the difference.
        confidence: Of that interval.
        **others: Verdicts of further annotators: ``baseline by NAME`` and ``sft by NAME``.
    """
    drawn: dict[str, Any] = {
        "seed": seed,
        "confidence": confidence,
        "samples": bootstrap_samples,
    }
    judged = {"": (baseline_annotations, sft_annotations)}
    for key, baseline in others.items():
        which, _, name = key.partition(" by ")
        if which == "baseline":
            judged[name] = baseline, others[f"sft by {name}"]
    document = {
        "model": model,
        "method": method,
        "confidence": confidence,
        "bootstrap_samples": bootstrap_samples,
        "seed": seed,
        "data": read_json(data / "stats.json"),
        "training": read_json(sft / "summary.json"),
        "baseline": _evaluated(baseline_metrics, baseline_annotations),
        "sft": _evaluated(sft_metrics, sft_annotations),
        "sft_minus_baseline": _difference(*judged.pop(""), **drawn),
        "other_annotators": {
            name: {
                "baseline": read_json(baseline / "leaderboard.json"),
                "sft": read_json(tuned / "leaderboard.json"),
                "sft_minus_baseline": _difference(baseline, tuned, **drawn),
                "agreement": _agreement(sft_annotations, tuned, name, **drawn),
            }
            for name, (baseline, tuned) in judged.items()
        },
    }
    write_json(output_dir / "result.json", document)


def _difference(baseline: Path, tuned: Path, **drawn: Any) -> dict[str, Any]:
    from mini_lima.evaluation.statistics import paired_difference, tabulate

    return asdict(
        paired_difference(
            tabulate(read_json(tuned / "annotations.json")),
            tabulate(read_json(baseline / "annotations.json")),
            **drawn,
        )
    )


def _agreement(one: Path, other: Path, name: str, **drawn: Any) -> dict[str, Any]:
    """How often two annotators say the same of the tuned model's outputs."""
    from mini_lima.evaluation.statistics import consistency, tabulate

    rows = [*read_json(one / "annotations.json")]
    rows += [
        {**row, "annotator": f"other: {name}"} for row in read_json(other / "annotations.json")
    ]
    (agreement,) = consistency(tabulate(rows), **drawn).agreements
    return asdict(agreement)


def _evaluated(metrics: Path, annotations: Path) -> dict[str, Any]:
    return {
        **read_json(annotations / "leaderboard.json"),
        "health": read_json(metrics / "health.json"),
    }
