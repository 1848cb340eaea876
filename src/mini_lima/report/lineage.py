"""What a run was made from and what it made, as Weights & Biases artifacts.

An artifact is a finished stage. Its collection is the stage's name and label, so the data sets that
a step makes are versions of one another, and the first digits of its fingerprint are an alias. W&B
takes what has the same name and the same digests for the same version: cells that share a stage
share the version, and each adds itself to its lineage.

A file enters by a reference to where it is in the store, with the digest of its content; a file as
large as a model's weights with that of its place, which ends in the fingerprint and costs nothing.
``stage.json`` stays out: it holds dates and the host, which would make another version of the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.files import read_json

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


@dataclass(frozen=True)
class Artifact:
    """A finished stage as W&B knows it.

    Attributes:
        name: Of the collection.
        type: What W&B sorts by.
        alias: The first digits of the fingerprint.
        used: The run was made from it; otherwise it has made it.
        metadata: Fingerprint, parameters, inputs and counts.
        folder: Where the files are.
        files: Their paths in ``folder``.
    """

    name: str
    type: str
    alias: str
    used: bool
    metadata: dict[str, Any]
    folder: str
    files: list[str]


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
        folder=str(stage),
        files=sorted(
            path.relative_to(stage).as_posix()
            for path in stage.rglob("*")
            if path.is_file() and path.name != "stage.json"
        ),
    )


def _readable(value: Any) -> Any:
    """The parameters without the marks that tell a fingerprint one type from another."""
    if isinstance(value, dict):
        for mark in ("!value", "!identity"):
            if mark in value:
                return _readable(value[mark])
        return {key: _readable(each) for key, each in value.items() if not key.startswith("!")}
    return [_readable(each) for each in value] if isinstance(value, list) else value
