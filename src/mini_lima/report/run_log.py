"""What is written into a Weights & Biases run: rows of a training, tables, figures, artifacts."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mini_lima.files import read_json, write_json

SECONDS_TO_CONNECT = 10
SECONDS_TO_UPLOAD = 12
MOST_BYTES_TO_DIGEST = 64 * 1024**2
"""What is larger is known by its place: to read a model of 4 GB takes longer than is left."""


def open_run(
    run: dict[str, Any],
    config: dict[str, Any],
    folder: str,
    seconds_to_finish: int,
    **settings: Any,
) -> Any:
    """Open a run, or go on in the one that has its id, within `SECONDS_TO_CONNECT`."""
    import wandb

    settings = {"finish_timeout": seconds_to_finish, **settings}
    return wandb.init(
        **run,
        config=config,
        dir=folder,
        resume="allow" if run["mode"] == "online" else None,
        settings=wandb.Settings(
            init_timeout=SECONDS_TO_CONNECT,
            finish_timeout_raises=True,
            console="off",
            silent=True,
            **settings,
        ),
    )


def log_rows(run: Any, rows: Iterable[dict[str, Any]]) -> None:
    """Log the ``rows`` that ``run`` does not have; W&B takes no step twice and none out of turn."""
    for row in rows:
        if row["step"] >= run.step:
            figures = {f"sft/{key}": value for key, value in row.items() if key != "step"}
            run.log(figures, step=row["step"], commit=True)


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The whole lines of ``file``; it is read anew each time, since a restart writes it anew."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def complete(
    run: dict[str, Any],
    config: dict[str, Any],
    *,
    output_dir: str,
    summary: dict[str, Any],
    tables: str,
    metrics: str | None = None,
    artifacts: Sequence[dict[str, Any]] = (),
    upload: bool = False,
    files: Sequence[str] = (),
) -> None:
    """Log what is finished.

    Args:
        run: An `errand.Run`.
        config: Of the run.
        output_dir: Receives wandb's files, and ``run.json`` with the run's id and address.
        summary: Figures by name.
        tables: File with columns and rows by name.
        metrics: File with the rows of a training; those that are not there yet are added.
        artifacts: Each a `lineage.Artifact`.
        upload: Their files too.
        files: To be shown as they are.
    """
    import wandb

    # However long uploads take: `errand` sees whether they move, and after few attempts they end.
    patience = {"finish_timeout": 0, "x_file_transfer_retry_max": 2} if upload else {}
    with open_run(
        run, config, output_dir, SECONDS_TO_UPLOAD, x_disable_stats=True, **patience
    ) as own:
        if metrics is not None:
            log_rows(own, rows_of(Path(metrics)))
        found = read_json(Path(tables)).items()
        own.log({name: wandb.Table(each["columns"], each["rows"]) for name, each in found})
        own.summary.update(summary)
        for file in files:
            own.save(file, base_path=str(Path(file).parent), policy="now")
        sent = [_put_on_record(own, upload=upload, **each) for each in artifacts]
        if run["mode"] == "online":
            for artifact in sent:
                artifact.wait()  # raises what would otherwise be a line in the library's log
        written = {"id": own.id, "url": own.url, "mode": run["mode"]}
    write_json(Path(output_dir, "run.json"), written)


def _put_on_record(
    run: Any,
    *,
    name: str,
    type: str,
    alias: str,
    used: bool,
    metadata: dict[str, Any],
    folder: str,
    files: Sequence[str],
    upload: bool,
) -> Any:
    import wandb

    artifact = wandb.Artifact(name, type, metadata=metadata)
    for file in files:
        path = Path(folder, file)
        if upload:
            artifact.add_file(str(path), name=file, policy="immutable", skip_cache=True)
        else:
            small = path.stat().st_size <= MOST_BYTES_TO_DIGEST
            artifact.add_reference(path.as_uri(), name=file, checksum=small)
    # What use_artifact does, and log_artifact with other flags: the one refuses to work offline.
    return run._log_artifact(artifact, aliases=[alias], is_user_created=used, use_after_commit=used)
