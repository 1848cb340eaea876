"""One cell's result: both win rates with all that qualifies them, and their paired difference."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.files import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    from mini_lima.evaluation.statistics import paired_difference

    difference = paired_difference(
        _preferences(sft_annotations),
        _preferences(baseline_annotations),
        seed=seed,
        confidence=confidence,
        samples=bootstrap_samples,
    )
    document = {
        "model": model,
        "method": method,
        "confidence": confidence,
        "data": read_json(data / "stats.json"),
        "training": read_json(sft / "summary.json"),
        "baseline": _evaluated(baseline_outputs, baseline_annotations),
        "sft": _evaluated(sft_outputs, sft_annotations),
        "sft_minus_baseline": asdict(difference),
    }
    write_json(output_dir / "result.json", document)


def _preferences(annotations: Path) -> "NDArray[np.float64]":
    """The verdicts in the order of the instructions, NaN for those that failed."""
    import numpy as np

    rows = read_json(annotations / "annotations.json")
    return np.array([row["preference"] for row in rows], dtype=np.float64)


def _evaluated(outputs: Path, annotations: Path) -> dict[str, Any]:
    return {
        **read_json(annotations / "leaderboard.json"),
        "health": read_json(outputs / "health.json"),
    }
