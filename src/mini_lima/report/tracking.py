"""What the Weights & Biases run of a cell shows: configuration, loss curve, win rates, lineage.

The run is written once the numbers are there, so it costs no result. Its id follows from what is
tracked: `wandb_run.live` can begin it while training runs.

Each stage is an artifact. Its collection is the stage's name and label, so the data sets that
a step makes are versions of one another, and the first digits of its fingerprint are an alias. W&B
takes what has the same name and the same digests for the same version: cells that share a stage
share the version, and each adds itself to its lineage.

A file enters by a reference to where it is in the store, with the digest of its content; a file as
large as a model's weights with that of its place, which ends in the fingerprint and costs nothing.
``stage.json`` stays out: it holds dates and the host, which would make another version of the same.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from mini_lima.files import read_json
from mini_lima.report.answers import table
from mini_lima.report.wandb_run import METRICS, Artifact, Contents, Run, write_run
from mini_lima.results import RESULT, Measurement, PairedDifference, Result, Which, read_result

Artifacts = Literal["none", "references", "uploads"]
TYPES = {
    "data": "dataset",
    "sft": "model",
    "outputs": "model-outputs",
    "metrics": "metrics",
    "annotations": "annotations",
}
COUNTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "data": ("stats.json", ("examples", "by_source", "mean_output_characters")),
    "sft": ("summary.json", ("parameters", "examples", "supervised_tokens", "steps", "last_loss")),
    "metrics": ("health.json", ("n", "empty", "cut_at_limit", "mean_length_characters")),
    "annotations": ("leaderboard.json", ("n_total", "n_failed", "win_rate", "low", "high")),
}
"""The file of a stage that counts what is in it, and what is taken from there."""
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
        output_dir: Receives what `write_run` writes.
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
    """
    judged = {"baseline": baseline_annotations, "sft": sft_annotations}
    verdicts = {
        which: read_json(path / "annotations.json") for which, path in judged.items() if path
    }
    found = read_result(result / RESULT)
    tables = {"win_rates": win_rates(found.measurements), "measures": measures(found.measurements)}
    if verdicts:
        tables["answers"] = table(verdicts)
    used = [data, baseline_outputs, baseline_metrics, baseline_annotations]
    made = [sft, sft_outputs, sft_metrics, sft_annotations]
    lineage = [artifact(stage, used=stage in used) for stage in (*used, *made) if stage is not None]
    contents = Contents(
        config={
            **config,
            "made_from": [f"{each.name}:{each.alias}" for each in lineage if each.used],
        },
        summary=summary(found),
        tables={name: each for name, each in tables.items() if each["rows"]},
        metrics=sft / METRICS,
        artifacts=[] if artifacts == "none" else lineage,
        upload=artifacts == "uploads",
    )
    write_run(run, contents, output_dir)


def artifact(stage: Path, *, used: bool) -> Artifact:
    """Describe the finished stage in the folder ``stage``."""
    record = read_json(stage / "stage.json")
    identity = record["identity"]
    name = identity["name"]
    file, figures = COUNTS.get(name, (None, ()))
    counts = {} if file is None else read_json(stage / file)
    return Artifact(
        name=re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{name}-{record['provenance']['label']}")[:120],
        type=TYPES[name],
        alias=identity["fingerprint"][:12],
        used=used,
        metadata={
            "fingerprint": identity["fingerprint"],
            "params": _readable(identity["params"]),
            "inputs": identity["inputs"],
            "counts": {figure: counts[figure] for figure in figures},
        },
        folder=stage,
        files=sorted(
            path.relative_to(stage).as_posix()
            for path in stage.rglob("*")
            if path.is_file() and path.name != "stage.json"
        ),
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


def _readable(value: Any) -> Any:
    """The parameters without the marks that tell a fingerprint one type from another."""
    if isinstance(value, dict):
        for mark in ("!value", "!identity"):
            if mark in value:
                return _readable(value[mark])
        return {key: _readable(each) for key, each in value.items() if not key.startswith("!")}
    return [_readable(each) for each in value] if isinstance(value, list) else value
