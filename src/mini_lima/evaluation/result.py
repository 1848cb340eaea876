"""One cell's result: every number of both models as a typed row, and their paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.errors import UserError
from mini_lima.evaluation.measuring import HEALTH, read_metrics, read_scores
from mini_lima.evaluation.pairs import read_annotations
from mini_lima.files import read_json, typed
from mini_lima.results import (
    BASELINE,
    RESULT,
    Agreement,
    DataSet,
    Health,
    Judged,
    Judgement,
    Measurement,
    Result,
    Training,
    Which,
    write_result,
)
from mini_lima.results.contamination import read_contamination

if TYPE_CHECKING:
    from mini_lima.statistics import Drawn

FIRST = "annotator"
"""The key of the first judge; those of the others name them."""
BOTH: tuple[Which, Which] = ("baseline", "sft")


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
    judges: Sequence[str] = (),
    contamination: Path | None = None,
    seed: int,
    bootstrap_samples: int,
    confidence: float,
    **annotations: Path,
) -> None:
    """Write ``result.json``, a `mini_lima.results.Result`.

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
        judges: The keys under which judges are configured, the first judge's first.
        contamination: Which instructions are in the data set; None where nobody looked.
        seed: Of the bootstrap.
        bootstrap_samples: Resamples behind intervals.
        confidence: Of the intervals.
        **annotations: The verdicts of each judge on the outputs of each model, by `verdicts_of`.

    Raises:
        UserError: the two models were not measured by the same metrics.
    """
    from mini_lima.statistics import (
        over_seeds,
        paired_difference,
        scale_of,
        tabulate,
        tabulate_scores,
    )

    drawn: Drawn = {"seed": seed, "confidence": confidence, "samples": bootstrap_samples}
    scored: dict[Which, Path] = {"baseline": baseline_metrics, "sft": sft_metrics}
    named: dict[Which, tuple[str, int | None]] = {
        "baseline": (BASELINE, None),
        "sft": (arm, training_seed),
    }
    found = _judges(judges, annotations, drawn)
    measurements, differences = [], {}
    for judge in found:
        measurements += [_of_judge(judge, which, model, *named[which]) for which in BOTH]
        tables = {
            which: tabulate(read_annotations(annotations[verdicts_of(which, judge.key)]))
            for which in BOTH
        }
        differences[judge.measure] = paired_difference(tables["sft"], tables["baseline"], **drawn)

    metrics = {which: read_metrics(folder) for which, folder in scored.items()}
    if metrics["baseline"] != metrics["sft"]:
        raise UserError(
            f"{baseline_metrics} and {sft_metrics}: the two models were not measured by the same"
            " metrics"
        )
    rows = {which: read_scores(folder) for which, folder in scored.items()}
    for name, metric in metrics["sft"].items():
        tables = {which: tabulate_scores(rows[which], name) for which in BOTH}
        for which, (column, trained_with) in named.items():
            over = over_seeds({0: tables[which]}, unit=metric.unit, **drawn)
            measurements.append(
                Measurement(
                    model=model,
                    arm=column,
                    seed=trained_with,
                    measure=name,
                    unit=metric.unit,
                    value=over.value,
                    low=over.low,
                    high=over.high,
                    n=over.n,
                    failed=over.failed,
                    better=metric.better,
                )
            )
        differences[name] = paired_difference(
            tables["sft"], tables["baseline"], scale=scale_of(metric.unit), **drawn
        )
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
            health={w: Health.of(read_json(scored[w] / HEALTH)) for w in scored},
            judges=found,
            measurements=measurements,
            differences=differences,
            contamination=read_contamination(contamination) if contamination else None,
        ),
    )


def verdicts_of(which: Which, key: str) -> str:
    """Return the name of the input with the verdicts of the judge under ``key``."""
    return f"{which}_annotations by {key}"


def _judges(
    keys: Sequence[str], annotations: Mapping[str, Path], drawn: "Drawn"
) -> list[Judgement]:
    """Read what all judges said; of two with one name, the later has its key beside it."""
    found: list[Judgement] = []
    for key in keys:
        folders = {which: annotations[verdicts_of(which, key)] for which in BOTH}
        baseline, sft = (typed(each / "leaderboard.json", Judged) for each in folders.values())
        name = sft.annotator
        if name in {each.name for each in found}:
            name = f"{name} ({key.rpartition('.')[2]})"
        agreement = None
        if found:
            first = annotations[verdicts_of("sft", found[0].key)]
            agreement = _agreement((first, folders["sft"]), (found[0].name, name), drawn)
        found.append(Judgement(key, name, baseline, sft, agreement))
    return found


def _agreement(
    folders: tuple[Path, Path], names: tuple[str, str], drawn: "Drawn"
) -> Agreement | None:
    """How often two judges say the same of the tuned model's outputs."""
    from mini_lima.statistics import consistency, tabulate

    rows = [
        replace(row, annotator=str(number))
        for number, folder in enumerate(folders)
        for row in read_annotations(folder)
    ]
    agreements = consistency(tabulate(rows), **drawn).agreements
    return replace(agreements[0], annotators=names) if agreements else None


def _of_judge(
    judge: Judgement, which: Which, model: str, arm: str, seed: int | None
) -> Measurement:
    found = judge.baseline if which == "baseline" else judge.sft
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
