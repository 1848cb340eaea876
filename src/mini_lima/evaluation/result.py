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
    baseline_annotations: Path,
    sft_outputs: Path,
    sft_annotations: Path,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
) -> None:
    """Write ``result.json``.

    Args:
        output_dir: Receives the file.
        model: Row of the comparison.
        method: Data method, column of the comparison.
        data: The data set.
        sft: The tuned model.
        baseline_outputs: The untuned model's outputs.
        baseline_annotations: The verdicts on them.
        sft_outputs: The tuned model's outputs.
        sft_annotations: The verdicts on them.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind the interval of the difference.
        confidence: Of that interval.
    """
    from mini_lima.evaluation.statistics import paired_difference, tabulate

    difference = paired_difference(
        tabulate(read_json(sft_annotations / "annotations.json")),
        tabulate(read_json(baseline_annotations / "annotations.json")),
        seed=seed,
        confidence=confidence,
        samples=bootstrap_samples,
    )
    document = {
        "model": model,
        "method": method,
        "confidence": confidence,
        "bootstrap_samples": bootstrap_samples,
        "seed": seed,
        "data": read_json(data / "stats.json"),
        "training": read_json(sft / "summary.json"),
        "baseline": _evaluated(baseline_outputs, baseline_annotations),
        "sft": _evaluated(sft_outputs, sft_annotations),
        "sft_minus_baseline": asdict(difference),
    }
    write_json(output_dir / "result.json", document)


def _evaluated(outputs: Path, annotations: Path) -> dict[str, Any]:
    return {
        **read_json(annotations / "leaderboard.json"),
        "health": read_json(outputs / "health.json"),
    }
