"""One Weights & Biases run per cell: configuration, loss curve, win rates, answers and lineage.

The run is completed once the numbers are there, so a network that fails costs no result, and a
server that hangs no more than `errand.SECONDS`. Its id follows from what is tracked: `live` can
begin it while training runs, and a cell that is tracked again goes on in the same run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from mini_lima.files import read_json, write_json
from mini_lima.report import errand
from mini_lima.report.answers import table
from mini_lima.report.errand import Run
from mini_lima.report.lineage import artifact

METRICS = "metrics.jsonl"
Artifacts = Literal["none", "references", "uploads"]
FIGURES = ("win_rate", "low", "high", "standard_error", "n_total", "n_failed", "avg_length")
"""No win rate travels without its interval, n and failures."""


def run_id(project: str, group: str, name: str, result: str) -> str:
    """Return the id of the run that shows ``result``, a fingerprint, as ``name`` in ``group``."""
    identity = json.dumps([project, group, name, result]).encode()
    return hashlib.sha256(identity).hexdigest()[:16]


def track(
    output_dir: Path,
    *,
    run: Run,
    artifacts: Artifacts,
    config: Mapping[str, Any],
    data: Path,
    sft: Path,
    result: Path,
    baseline_outputs: Path,
    baseline_metrics: Path,
    baseline_annotations: Path,
    sft_outputs: Path,
    sft_metrics: Path,
    sft_annotations: Path,
) -> None:
    """Log the cell, online or to ``output_dir/wandb``.

    Args:
        output_dir: Receives wandb's files, ``tables.json`` with the tables that are logged, and
            ``run.json`` with the run's id and address.
        run: The run.
        artifacts: Whether the stages below are put on record, and whether with their files.
        config: The composed configuration.
        data: The data set.
        sft: The tuned model, also for its loss curve.
        result: The cell's result.
        baseline_outputs: The untuned model's answers.
        baseline_metrics: Their numbers and their health.
        baseline_annotations: The verdicts on them.
        sft_outputs: The tuned model's answers.
        sft_metrics: Their numbers and their health.
        sft_annotations: The verdicts on them.

    Raises:
        NotTracked: W&B refused, or did not take it in time.
    """
    judged = {"baseline": baseline_annotations, "sft": sft_annotations}
    verdicts = {which: read_json(path / "annotations.json") for which, path in judged.items()}
    document = read_json(result / "result.json")
    tables = output_dir / "tables.json"
    write_json(tables, {"answers": table(verdicts), "win_rates": win_rates([document])})
    used = (data, baseline_outputs, baseline_metrics, baseline_annotations)
    made = (sft, sft_outputs, sft_metrics, sft_annotations)
    stages = [
        artifact(stage, used=stage in used) for stage in (*used, *made) if artifacts != "none"
    ]
    todo = {
        "output_dir": str(output_dir),
        "metrics": str(sft / METRICS),
        "summary": summary(document),
        "tables": str(tables),
        "artifacts": [asdict(each) for each in stages],
        "upload": artifacts == "uploads",
    }
    errand.send(
        errand.order(run, config, complete=todo),
        seconds=errand.SECONDS if run.mode == "online" else None,
        while_it_moves=artifacts == "uploads",
    )


def win_rates(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ``columns`` and ``rows`` of a table of ``results``, a row per evaluated model.

    A baseline that several results have in common is one row.
    """
    rows = [
        [result["model"], data, judged["annotator"], *(judged[figure] for figure in FIGURES)]
        for result in results
        for data, judged in (("baseline", result["baseline"]), (result["method"], result["sft"]))
    ]
    different = [row for at, row in enumerate(rows) if row not in rows[:at]]
    return {"columns": ["model", "data", "annotator", *FIGURES], "rows": different}


def summary(result: dict[str, Any]) -> dict[str, float | int | None]:
    """Flatten a result, by annotator: its name stands before the figures of all but the first."""
    flat = _figures(result)
    for name, judged in result["other_annotators"].items():
        flat |= {f"{name}/{key}": value for key, value in _figures(judged).items()}
    written = result["data"]
    flat["data/examples"] = written["examples"]
    flat["data/mean_output_characters"] = written["mean_output_characters"]
    return flat


def _figures(judged: dict[str, Any]) -> dict[str, float | int | None]:
    flat: dict[str, float | int | None] = {}
    for which in ("baseline", "sft"):
        found = judged[which]
        flat |= {f"{which}/{figure}": found[figure] for figure in FIGURES}
        controlled = found["length_controlled"]
        if controlled["win_rate"] is not None:
            flat[f"{which}/length_controlled_winrate"] = controlled["win_rate"]
            flat |= {f"{which}/length_controlled_{k}": controlled[k] for k in ("low", "high")}
    return flat | {f"sft_minus_baseline/{k}": v for k, v in judged["sft_minus_baseline"].items()}
