"""One Weights & Biases run per cell: its configuration, loss curve, win rates and answers.

The run is completed once the numbers are there, so a network that fails costs no result, and a
server that hangs no more than `SECONDS_TO_TRACK`. Its id follows from what is tracked: `live` can
begin it while training runs, and a cell that is tracked again goes on in the same run.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mini_lima.files import read_json, write_json
from mini_lima.report.answers import table

METRICS = "metrics.jsonl"
COMMAND = (sys.executable, "-m", "mini_lima.report.tracker")
SECONDS_TO_TRACK = 24
"""With what ending the live run may take, less than half a minute."""
HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Run:
    """A run as W&B knows it.

    Attributes:
        id: See `run_id`.
        mode: ``online``, or ``offline`` for a later ``wandb sync``.
        project: W&B project.
        entity: W&B user or team; None is the user's default.
        group: The sweep.
        name: For people.
    """

    id: str
    mode: Literal["online", "offline"]
    project: str
    entity: str | None
    group: str
    name: str


class NotTracked(Exception):  # noqa: N818 - it reads as the sentence it stands for
    """The cell is not in Weights & Biases; its result is where it was."""


def run_id(project: str, group: str, name: str, result: str) -> str:
    """Return the id of the run that shows ``result``, a fingerprint, as ``name`` in ``group``."""
    identity = json.dumps([project, group, name, result]).encode()
    return hashlib.sha256(identity).hexdigest()[:16]


def track(
    output_dir: Path,
    *,
    run: Run,
    config: Mapping[str, Any],
    sft: Path,
    result: Path,
    baseline_annotations: Path,
    sft_annotations: Path,
) -> None:
    """Log the cell, online or to ``output_dir/wandb``.

    Args:
        output_dir: Receives wandb's files, ``answers.json`` with the table that is logged, and
            ``run.json`` with the run's id and address.
        run: The run.
        config: The composed configuration.
        sft: The tuned model, for its loss curve.
        result: The cell's result.
        baseline_annotations: The verdicts on the untuned model's answers.
        sft_annotations: Those on the tuned model's.

    Raises:
        NotTracked: W&B refused, or did not take it in time.
    """
    answers = output_dir / "answers.json"
    judged = {"baseline": baseline_annotations, "sft": sft_annotations}
    rows = {which: read_json(path / "annotations.json") for which, path in judged.items()}
    write_json(answers, table(rows))
    todo = {
        "output_dir": str(output_dir),
        "metrics": str(sft / METRICS),
        "summary": summary(read_json(result / "result.json")),
        "answers": str(answers),
    }
    limit = SECONDS_TO_TRACK if run.mode == "online" else None
    call = order(run, config, complete=todo)
    try:
        done = subprocess.run(
            COMMAND, input=call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        raise NotTracked(f"Weights & Biases took more than {limit} s") from error
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        raise NotTracked(said[-1] if said else f"its tracker ended with code {done.returncode}")


def order(run: Run, config: Mapping[str, Any], **what: Any) -> bytes:
    """Return the line that tells the tracker to do ``what`` with ``run``."""
    line = {"run": asdict(run), "config": without_secrets(config, os.environ), **what}
    return json.dumps(line).encode() + b"\n"


def without_secrets(config: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return ``config`` with the values of the key variables that it names hidden in all texts.

    The configuration names variables and holds no keys, but a URL or a command may have been
    composed of one.
    """
    keys = [value for name in set(_key_variables(config)) if (value := environment.get(name))]

    def cleaned(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cleaned(each) for key, each in value.items()}
        if isinstance(value, list):
            return [cleaned(each) for each in value]
        if isinstance(value, str):
            for key in keys:
                value = value.replace(key, HIDDEN)
        return value

    return {key: cleaned(value) for key, value in config.items()}


def _key_variables(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "api_key_env" and isinstance(each, str):
                yield each
            yield from _key_variables(each)


def summary(result: dict[str, Any]) -> dict[str, float | int | None]:
    """Flatten a result, by annotator: its name stands before the figures of all but the first."""
    flat = _figures(result)
    for name, judged in result["other_annotators"].items():
        flat |= {f"{name}/{key}": value for key, value in _figures(judged).items()}
    return flat


def _figures(judged: dict[str, Any]) -> dict[str, float | int | None]:
    """Both win rates and their difference; none travels without its interval, n and failures."""
    names = ("win_rate", "standard_error", "low", "high", "n_total", "n_failed", "avg_length")
    flat: dict[str, float | int | None] = {}
    for which in ("baseline", "sft"):
        found = judged[which]
        flat |= {f"{which}/{name}": found[name] for name in names}
        controlled = found["length_controlled"]
        if controlled["win_rate"] is not None:
            flat[f"{which}/length_controlled_winrate"] = controlled["win_rate"]
            flat |= {f"{which}/length_controlled_{k}": controlled[k] for k in ("low", "high")}
    return flat | {f"sft_minus_baseline/{k}": v for k, v in judged["sft_minus_baseline"].items()}
