"""One Weights & Biases run per cell: its configuration, loss curve and win rates.

The only module that knows wandb. The run is written once the numbers are there, so a network that
fails costs no result; the run's id is not drawn, it follows from what is tracked.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from mini_lima.files import read_json, read_jsonl, write_json

SECONDS_TO_CONNECT = 20


def track(
    output_dir: Path,
    *,
    mode: Literal["online", "offline"],
    project: str,
    entity: str | None,
    group: str,
    name: str,
    config: dict[str, Any],
    sft: Path,
    result: Path,
) -> None:
    """Log the cell, online or to ``output_dir/wandb`` for a later ``wandb sync``.

    Args:
        output_dir: Receives wandb's files and ``run.json`` with the run's id and address.
        mode: ``online`` or ``offline``.
        project: W&B project.
        entity: W&B user or team; None is the user's default.
        group: The sweep.
        name: The run's name.
        config: The composed configuration; holds names of key variables, never a key.
        sft: The tuned model, for its loss curve.
        result: The cell's result.
    """
    import wandb

    found = read_json(result / "result.json")
    settings = wandb.Settings(
        init_timeout=SECONDS_TO_CONNECT,
        finish_timeout=SECONDS_TO_CONNECT,
        finish_timeout_raises=False,
        console="off",
        silent=True,
    )
    identity = json.dumps([group, name, found], sort_keys=True).encode()
    with wandb.init(
        dir=output_dir,
        mode=mode,
        project=project,
        entity=entity,
        group=group,
        name=name,
        id=hashlib.sha256(identity).hexdigest()[:16],
        job_type="cell",
        config=config,
        settings=settings,
    ) as run:
        run.define_metric("step")
        run.define_metric("sft/*", step_metric="step")
        for row in read_jsonl(sft / "metrics.jsonl"):
            step = row.pop("step")
            run.log({"step": step, **{f"sft/{key}": value for key, value in row.items()}})
        run.summary.update(summary(found))
        write_json(output_dir / "run.json", {"id": run.id, "url": run.url, "mode": mode})


def summary(result: dict[str, Any]) -> dict[str, float | int | None]:
    """Flatten a result: a win rate never travels without its interval, n and failures."""
    figures = ("win_rate", "standard_error", "low", "high", "n_total", "n_failed", "avg_length")
    flat = {
        f"{which}/{figure}": result[which][figure]
        for which in ("baseline", "sft")
        for figure in figures
    }
    difference = {f"sft_minus_baseline/{k}": v for k, v in result["sft_minus_baseline"].items()}
    return flat | difference
