"""What the cells of a sweep say together, as a Weights & Biases run beside theirs.

The contrasts between cells are known only when the sweep ends, and to no cell. They make a run of
the job type ``comparison`` in the sweep's group, where and how its cells are tracked. Its id
follows from that, so that a comparison that is made again goes on in the same run; one that has not
changed is not sent again.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mini_lima.files import read_json
from mini_lima.report import measures
from mini_lima.report.comparison import Comparison
from mini_lima.report.tracking import run_id
from mini_lima.report.wandb_run import RUN_FILE, Contents, Run, not_sent, write_run
from mini_lima.results import CellRecord, Contrast, PairedDifference

PAGE = "report.html"
FIGURES = ("difference", "low", "high", "p_holm", "family", "n", "detectable")
COLUMNS = (
    *("name", "kind", "measure", "unit", *FIGURES),
    *("by_length_alone", "without_hits", "verdict", "words"),
)


def track(comparison: Comparison, folder: Path) -> str | None:
    """Log ``comparison``, whose report is in ``folder``, where and how its cells are tracked.

    Args:
        comparison: Of one sweep or of several.
        folder: Receives ``tracking/`` with wandb's files, what was logged, and ``run.json``.

    Returns:
        A line about what has become of it; None where there is nothing to log: a cell that is
        alone has said everything in its own run.
    """
    cells = comparison.finished
    run = _run(cells)
    if run is None or len(cells) < 2:
        return None
    output_dir = folder.absolute() / "tracking"
    contents = Contents(
        config={"cells": [cell.folder for cell in cells]},
        summary=_summary(comparison.contrasts),
        tables=_tables(comparison),
        texts={PAGE: (folder / PAGE).read_text(encoding="utf-8")},
    )
    try:
        output_dir.mkdir(exist_ok=True)
        write_run(run, contents, output_dir)
    except Exception as error:  # an old record, a full disk: the report is there all the same
        return f"The comparison is not in Weights & Biases: {type(error).__name__}: {error}"
    if reason := not_sent(output_dir):
        return f"The comparison is not in Weights & Biases: {reason}"
    address = read_json(output_dir / RUN_FILE)["url"]
    return f"The comparison in Weights & Biases: {address or output_dir / 'wandb'}"


def _run(cells: Sequence[CellRecord]) -> Run | None:
    """Where the first of the ``cells`` that is tracked is; None if none is."""
    told = [cell.config.get("tracking", {"mode": "disabled"}) for cell in cells]
    tracked = [each for each in told if each["mode"] != "disabled"]
    if not tracked:
        return None
    first = tracked[0]
    group = " and ".join(dict.fromkeys(each["group"] for each in tracked))
    return Run(
        id=run_id(first["project"], group, "comparison", ""),
        mode=first["mode"],
        project=first["project"],
        entity=first["entity"],
        group=group,
        name=f"comparison of {group}",
        job_type="comparison",
    )


def _tables(comparison: Comparison) -> dict[str, Any]:
    rows = [
        [
            *(getattr(each, name) for name in COLUMNS[:-4]),
            _alone(each.by_length),
            _alone(each.without_hits),
            each.verdict,
            each.words,
        ]
        for each in comparison.contrasts
    ]
    judged = [line.values() for line in comparison.measures if line.measured.judged]
    every = [line.values() for line in comparison.measures]
    return {
        "comparison": {"columns": list(measures.COLUMNS), "rows": judged},
        "measures": {"columns": list(measures.COLUMNS), "rows": every},
        "contrasts": {"columns": list(COLUMNS), "rows": rows},
    }


def _alone(found: PairedDifference | None) -> float | None:
    return None if found is None else found.difference


def _summary(contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """The figures by contrast, and by measure where there are several."""
    several = len({each.measure for each in contrasts}) > 1
    names = [f"{each.measure}/" * several + each.name for each in contrasts]
    return {
        f"{name}/{figure}": getattr(each, figure)
        for name, each in zip(names, contrasts, strict=True)
        for figure in (*FIGURES, "verdict")
    }
