"""One cell's result: every number of both models as a typed row, and their paired differences."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.contamination import read_contamination
from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.measured import BASELINE, Agreement, Measurement, PairedDifference
from mini_lima.record import (
    RESULT,
    DataSet,
    Health,
    Judged,
    Judgement,
    Result,
    Training,
    Which,
    typed,
    write_result,
)

if TYPE_CHECKING:
    from mini_lima.evaluation.scores import Metric
    from mini_lima.statistics import Verdicts

FIRST = "annotator"
"""The key of the first judge; those of the others name them."""
Folders = Mapping[Which, Path]


def summarise(
    output_dir: Path,
    *,
    model: str,
    arm: str,
    training_seed: int,
    data: Path,
    sft: Path,
    baseline_outputs: Path,
    sft_outputs: Path,
    baseline_metrics: Path,
    sft_metrics: Path,
    baseline_annotations: Path | None = None,
    sft_annotations: Path | None = None,
    contamination: Path | None = None,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
    **others: Path,
) -> None:
    """Write ``result.json``, a `mini_lima.record.Result`.

    Args:
        output_dir: Receives the file.
        model: Row of the comparison.
        arm: Column of the comparison.
        training_seed: Of the tuned model.
        data: The data set.
        sft: The tuned model.
        baseline_outputs: The untuned model's outputs.
        sft_outputs: The tuned model's outputs.
        baseline_metrics: The health of the first, and what metrics say of them.
        sft_metrics: The same of the second.
        baseline_annotations: The first judge's verdicts on the untuned model's outputs; None where
            nobody judges.
        sft_annotations: Its verdicts on the tuned model's outputs.
        contamination: Which instructions are in the data set; None where nobody looked.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind intervals.
        confidence: Of the intervals.
        **others: Verdicts of further judges: ``baseline by NAME`` and ``sft by NAME``.

    Raises:
        UserError: the two models were not measured by the same metrics.
    """
    drawn: dict[str, Any] = {
        "seed": seed,
        "confidence": confidence,
        "samples": bootstrap_samples,
    }
    scored: Folders = {"baseline": baseline_metrics, "sft": sft_metrics}
    judged = {FIRST: first} if (first := _pair(baseline_annotations, sft_annotations)) else {}
    for key, folder in others.items():
        which, _, name = key.partition(" by ")
        if which == "baseline":
            judged[f"other_annotators.{name}"] = {
                "baseline": folder,
                "sft": others[f"sft by {name}"],
            }

    about: dict[Which, tuple[str, int | None]] = {
        "baseline": (BASELINE, None),
        "sft": (arm, training_seed),
    }
    judges = _judges(judged, drawn)
    measurements = [
        _of_judge(judge, getattr(judge, which), model, *named)
        for judge in judges
        for which, named in about.items()
    ]
    differences = {judge.measure: _difference(judged[judge.key], drawn) for judge in judges}
    for name, metric, tables in _metrics(scored):
        measurements += [
            _of_metric(name, metric, tables[which], model, *named, drawn)
            for which, named in about.items()
        ]
        differences[name] = _difference_of(tables, metric.unit, drawn)
    write_result(
        output_dir / RESULT,
        Result(
            model=model,
            arm=arm,
            confidence=confidence,
            bootstrap_samples=bootstrap_samples,
            seed=seed,
            data=typed(data / "stats.json", DataSet),
            training=typed(sft / "summary.json", Training),
            health={w: Health.of(read_json(scored[w] / "health.json")) for w in scored},
            judges=judges,
            measurements=measurements,
            differences=differences,
            contamination=read_contamination(contamination) if contamination else None,
        ),
    )


def _pair(baseline: Path | None, sft: Path | None) -> dict[Which, Path]:
    return {} if baseline is None or sft is None else {"baseline": baseline, "sft": sft}


def _judges(judged: Mapping[str, Folders], drawn: Mapping[str, Any]) -> list[Judgement]:
    """Read what all judges said; of two with one name, the later has its key beside it."""
    found: list[Judgement] = []
    for key, folders in judged.items():
        baseline, sft = (
            typed(folders[which] / "leaderboard.json", Judged) for which in ("baseline", "sft")
        )
        taken = {each.name for each in found}
        name = sft.annotator
        if name in taken:
            name = f"{name} ({key.rpartition('.')[2]})"
        agreement = None
        if found:
            agreement = _agreement(judged[found[0].key]["sft"], folders["sft"], drawn)
            agreement = agreement and replace(agreement, annotators=(found[0].name, name))
        found.append(Judgement(key, name, baseline, sft, agreement))
    return found


def _agreement(one: Path, other: Path, drawn: Mapping[str, Any]) -> Agreement | None:
    """How often two judges say the same of the tuned model's outputs."""
    from mini_lima.statistics import consistency, tabulate

    rows = [
        {**row, "annotator": number}
        for number, folder in enumerate((one, other))
        for row in read_json(folder / "annotations.json")
    ]
    agreements = consistency(tabulate(rows), **drawn).agreements
    return agreements[0] if agreements else None


def _of_judge(
    judge: Judgement, found: Judged, model: str, arm: str, seed: int | None
) -> Measurement:
    return Measurement(
        model=model,
        arm=arm,
        seed=seed,
        measure=judge.measure,
        unit="percent",
        value=found.win_rate,
        low=found.low,
        high=found.high,
        n=found.n_total,
        failed=found.n_failed,
        better="higher",
        judged=True,
    )


def _metrics(
    scored: Folders,
) -> Iterator[tuple[str, "Metric", dict[Which, "Verdicts"]]]:
    """Yield each metric with both models' scores.

    Raises:
        UserError: one was measured by another than the other.
    """
    from mini_lima.evaluation.scores import read_metrics, read_scores, table_of

    metrics = {which: read_metrics(folder) for which, folder in scored.items()}
    if metrics["baseline"] != metrics["sft"]:
        raise UserError(
            f"{scored['baseline']} and {scored['sft']}: the two models were not measured by the"
            " same metrics"
        )
    rows = {which: read_scores(folder) for which, folder in scored.items()}
    for name, metric in metrics["sft"].items():
        yield name, metric, {which: table_of(each, name) for which, each in rows.items()}


def _of_metric(
    name: str,
    metric: "Metric",
    table: "Verdicts",
    model: str,
    arm: str,
    seed: int | None,
    drawn: Mapping[str, Any],
) -> Measurement:
    from mini_lima.evaluation.seeded import over_seeds

    found = over_seeds({0: table}, unit=metric.unit, **drawn)
    return Measurement(
        model=model,
        arm=arm,
        seed=seed,
        measure=name,
        unit=metric.unit,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
        failed=found.failed,
        better=metric.better,
    )


def _difference(folders: Folders, drawn: Mapping[str, Any]) -> PairedDifference:
    from mini_lima.statistics import tabulate

    tables = {
        which: tabulate(read_json(folder / "annotations.json")) for which, folder in folders.items()
    }
    return _difference_of(tables, "percent", drawn)


def _difference_of(
    tables: Mapping[Which, "Verdicts"], unit: Any, drawn: Mapping[str, Any]
) -> PairedDifference:
    from mini_lima.evaluation.seeded import scale_of
    from mini_lima.statistics import paired_difference

    return paired_difference(tables["sft"], tables["baseline"], scale=scale_of(unit), **drawn)
