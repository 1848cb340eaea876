"""One Weights & Biases run per cell: configuration, loss curve, win rates, answers and lineage.

The run is completed once the numbers are there, so a network that fails costs no result, and a
server that hangs no more than `wandb_process.SECONDS`. Its id follows from what is tracked: `live` can
begin it while training runs, and a cell that is tracked again goes on in the same run.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from mini_lima.files import read_json, write_json
from mini_lima.report import wandb_process
from mini_lima.report.answers import table
from mini_lima.report.lineage import artifact
from mini_lima.report.wandb_process import Run
from mini_lima.results import RESULT, Measurement, PairedDifference, Result, Which, read_result

METRICS = "metrics.jsonl"
Artifacts = Literal["none", "references", "uploads"]
FIGURES = ("win_rate", "low", "high", "standard_error", "n_total", "n_failed", "avg_length")
"""No win rate travels without its interval, n and failures."""
MEASURED = ("value", "low", "high", "n", "failed")
"""Nor does any other measure."""
COLUMNS = ("model", "arm", "seed", "measure", "unit", *MEASURED)
"""Of a table of measures."""


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
    sft_outputs: Path,
    baseline_metrics: Path,
    sft_metrics: Path,
    baseline_annotations: Path | None = None,
    sft_annotations: Path | None = None,
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
        sft_outputs: The tuned model's answers.
        baseline_metrics: Health and numbers of the first.
        sft_metrics: The same of the second.
        baseline_annotations: The verdicts on the first; None where nobody judges.
        sft_annotations: The verdicts on the second.

    Raises:
        NotTracked: W&B refused, or did not take it in time.
    """
    judged = {"baseline": baseline_annotations, "sft": sft_annotations}
    verdicts = {
        which: read_json(path / "annotations.json") for which, path in judged.items() if path
    }
    found = read_result(result / RESULT)
    tables = output_dir / "tables.json"
    shown = {"win_rates": win_rates(found.measurements), "measures": measures(found.measurements)}
    if verdicts:
        shown["answers"] = table(verdicts)
    write_json(tables, {name: each for name, each in shown.items() if each["rows"]})
    used = [data, baseline_outputs, baseline_metrics, baseline_annotations]
    made = [sft, sft_outputs, sft_metrics, sft_annotations]
    stages = [
        artifact(stage, used=stage in used)
        for stage in (*used, *made)
        if stage is not None and artifacts != "none"
    ]
    todo = {
        "output_dir": str(output_dir),
        "metrics": str(sft / METRICS),
        "summary": summary(found),
        "tables": str(tables),
        "artifacts": [asdict(each) for each in stages],
        "upload": artifacts == "uploads",
    }
    wandb_process.send(
        wandb_process.order(run, config, complete=todo),
        seconds=wandb_process.SECONDS if run.mode == "online" else None,
        while_it_moves=artifacts == "uploads",
    )


def measures(found: Sequence[Measurement]) -> dict[str, Any]:
    """Return the ``columns`` and ``rows`` of a table of numbers."""
    rows = [[getattr(each, column) for column in COLUMNS] for each in found]
    return {"columns": list(COLUMNS), "rows": rows}


def win_rates(found: Sequence[Measurement]) -> dict[str, Any]:
    """Return the same of the judges' numbers alone."""
    return measures([each for each in found if each.judged])


def summary(result: Result) -> dict[str, float | int | None]:
    """Flatten a result, by measure: its name stands before all figures but the first judge's.

    What is measured of both models is ``baseline/…`` and ``sft/…``; the paired difference is
    ``sft_minus_baseline/…``.
    """
    flat: dict[str, float | int | None] = {}
    for number, judge in enumerate(result.judges):
        prefix = f"{judge.name}/" if number else ""
        for which, found in (("baseline", judge.baseline), ("sft", judge.sft)):
            flat |= {f"{prefix}{which}/{figure}": getattr(found, figure) for figure in FIGURES}
            if (controlled := found.length_controlled).win_rate is not None:
                name = f"{prefix}{which}/length_controlled"
                flat[f"{name}_winrate"] = controlled.win_rate
                flat |= {f"{name}_low": controlled.low, f"{name}_high": controlled.high}
        flat |= _difference(prefix, result.differences[judge.measure])
    sides: tuple[Which, ...] = ("baseline", "sft")
    for which in sides:
        for each in result.measured(which):
            if not each.judged:
                name = f"{each.measure}/{which}"
                flat |= {f"{name}/{figure}": getattr(each, figure) for figure in MEASURED}
        flat.setdefault(f"{which}/avg_length", result.health[which].mean_length_characters)
    for each in result.measured("sft"):
        if not each.judged:
            flat |= _difference(f"{each.measure}/", result.differences[each.measure])
    if result.contamination is not None:
        flat["data/contaminated_instructions"] = len(result.contamination.instructions_hit)
    flat["data/examples"] = result.data.examples
    flat["data/mean_output_characters"] = result.data.mean_output_characters
    return flat


def _difference(prefix: str, found: PairedDifference) -> dict[str, float | int | None]:
    return {f"{prefix}sft_minus_baseline/{key}": value for key, value in asdict(found).items()}
