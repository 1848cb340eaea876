"""A cell's result, by more than one judge and by metrics, and the contrasts between cells."""

from dataclasses import replace

import pytest

from mini_lima.errors import UserError
from mini_lima.evaluation.annotation import annotate
from mini_lima.evaluation.judges import Rule
from mini_lima.evaluation.result import BOTH, summarise, verdicts_of
from mini_lima.experiment import sweep
from mini_lima.experiment.measured_cells import measures_of, with_distinct_judges
from mini_lima.files import read_json, write_json, write_jsonl
from mini_lima.results import CellRecord, Folders, read_result

N = 30
NAIVE = {"self_instruct": {"pairs_per_prompt": 6}}
STEPS = {"naive": NAIVE, "improved": NAIVE | {"lengthen": {"prompt": "4"}}}
JUDGES = {"annotator": "longest", "other_annotators.tossing": "coin"}


@pytest.fixture
def cell(tmp_path):
    """A finished cell whose tuned model answers with ``length`` characters; its record."""

    def finish(model, arm, length, *, judges=JUDGES, hits=(), metrics=None, **about):
        root = tmp_path / f"{model}-{arm}"
        written = {"reference": "r" * 50, "baseline": "b" * 20, "sft": "s" * length}
        folders = {}
        for who, text in written.items():
            folders[who] = root / who
            folders[who].mkdir(parents=True)
            rows = [
                {"instruction": f"Question {k}", "output": text + "x" * (k % 7), "generator": who}
                for k in range(N)
            ]
            write_json(folders[who] / "model_outputs.json", rows)
            folders[f"{who}_metrics"] = root / f"{who}-metrics"
            folders[f"{who}_metrics"].mkdir()
            write_json(folders[f"{who}_metrics"] / "stage.json", {"identity": {"fingerprint": "f"}})
            measure(folders[f"{who}_metrics"], rows, UNITS if metrics is None else metrics)
        for which in ("baseline", "sft"):
            for key, judge in judges.items():
                folders[which, key] = root / f"{which}-{key.rpartition('.')[2]}"
                folders[which, key].mkdir()
                write_json(folders[which, key] / "stage.json", {"identity": {"fingerprint": "f"}})
                annotate(
                    folders[which, key],
                    model_outputs=folders[which],
                    reference_outputs=folders["reference"] / "model_outputs.json",
                    limit=None,
                    judge=Rule(judge, f"mini_lima.evaluation.{judge}"),
                    chat=None,
                    orders="both",
                    repeats=1,
                    reading_attempts=1,
                    most_failed=0.02,
                    seed=0,
                    bootstrap_samples=200,
                    confidence=0.95,
                )
        write_json(root / "stats.json", {"examples": 9, "mean_output_characters": None})
        trained = {"parameters": 1, "examples": 9, "steps": 3, "tokens": 90}
        write_json(root / "summary.json", trained | {"first_loss": 2.0, "last_loss": 1.0})
        found = [
            {"instruction": text, "example": "7", "part": "text", "reason": "ROUGE-L 0.9"}
            for text in hits
        ]
        contamination = {
            "checked": 9,
            "instructions": N,
            "rouge_l": 0.7,
            "ngram": 13,
            "hits": found,
        }
        write_json(root / "contamination.json", contamination)
        given = {f"{w}_outputs": folders[w] for w in ("baseline", "sft")}
        given |= {f"{w}_metrics": folders[f"{w}_metrics"] for w in ("baseline", "sft")}
        given |= {verdicts_of(w, key): folders[w, key] for key in judges for w in BOTH}
        summarise(
            root,
            model=model,
            arm=arm,
            training_seed=0,
            data=root,
            sft=root,
            contamination=root,
            judges=list(judges),
            seed=0,
            bootstrap_samples=200,
            confidence=0.95,
            **given,
        )
        record = CellRecord(
            model=model,
            arm=arm,
            seed=0,
            overrides=[],
            config={"model": {"weights": "pretrained"}},
            status="finished",
            recipe={"evaluation.limit": None, "annotator.orders": "both"},
            steps=STEPS.get(arm, {}),
            fingerprint=f"{model} {arm}",
            result=read_result(root / "result.json"),
            annotations={
                key: Folders(str(folders["baseline", key]), str(folders["sft", key]))
                for key in judges
            },
            scores=Folders(str(folders["baseline_metrics"]), str(folders["sft_metrics"])),
            folder=root.name,
        )
        return replace(record, **about)

    return finish


UNITS = {"short": ("percent", "higher"), "characters": ("characters", None)}


def measure(folder, answers, units):
    """What the stage of the metrics leaves: a share that does not apply to, or fails on, some."""
    told = {name: {"unit": unit, "better": better} for name, (unit, better) in units.items()}
    write_json(folder / "metrics.json", told)
    rows = [
        {
            "instruction": row["instruction"],
            "repeat": 0,
            "scores": {
                "short": None if k % 10 < 2 else float(len(row["output"]) < 60),
                "characters": len(row["output"]),
            },
            "failed": ["short"] if k % 10 == 1 else [],
            "faults": [],
        }
        for k, row in enumerate(answers)
    ]
    write_jsonl(folder / "scores.jsonl", rows)
    health = {"n": N, "cut_at_limit": 4, "warnings": []}
    write_json(
        folder / "health.json", health | {"mean_length_characters": 1.0, "mean_length_tokens": 1.0}
    )


def contrasts(cells):
    cells = with_distinct_judges(cells)
    return sweep.contrasts(cells, measures_of(cells)[0])


def test_every_number_is_a_row_with_its_interval_n_and_failures(cell):
    result = cell("m", "naive", 80).result
    rows = {(row.measure, row.arm): row for row in result.measurements}
    assert len(rows) == 2 * 4
    short = rows["short", "baseline"]
    assert (short.value, short.n, short.failed, short.unit) == (100, 24, 3, "percent")
    assert short.low < short.high == 100, "none of 24 failed: that is no certainty"
    assert rows["short", "naive"].value == 0
    assert result.differences["short"].difference == -100
    long = rows["characters", "naive"]
    assert long.value == pytest.approx(80 + sum(k % 7 for k in range(N)) / N)
    assert (long.low <= long.value <= long.high, long.n, long.failed) == (True, N, 0)
    assert result.differences["characters"].difference == pytest.approx(60)
    assert rows["win rate by longest", "naive"].value == 100
    assert result.differences["win rate by longest"].difference == 100
    assert result.health["sft"].cut == 4, "who measures the answers says what is wrong with them"


def test_a_result_that_does_not_fit_is_refused_with_file_and_field(cell, tmp_path):
    cell("m", "naive", 80)
    path = tmp_path / "m-naive" / "result.json"
    document = read_json(path)
    del document["measurements"][1]["n"]
    write_json(path, document)
    with pytest.raises(UserError, match=r"result\.json: measurements\[1\]\.n: field required"):
        read_result(path)


def test_cells_that_were_judged_under_other_settings_are_left_out_with_the_setting(cell):
    other = {"evaluation.limit": None, "annotator.orders": "random"}
    cells = [cell("m", "naive", 40), cell("m", "improved", 80, recipe=other)]
    found = contrasts(cells)
    assert "m: improved − naive" not in {each.name for each in found.contrasts}
    [left] = found.left_out
    assert left.name == "m: improved − naive"
    assert "annotator.orders: both and random" in left.reason


def test_judges_of_one_name_keep_apart_and_nobody_need_judge(cell):
    records = []
    for model, length in (("gpt-1", 40), ("gpt-2", 80)):
        record = cell(model, "naive", length)
        first, who = record.result.judges[0], {"prompt": "chatgpt", "model": {"model": model}}
        baseline, sft = (replace(each, judge=who) for each in (first.baseline, first.sft))
        judges = [replace(first, baseline=baseline, sft=sft)]
        records.append(replace(record, result=replace(record.result, judges=judges)))
    told = {(each.measure, each.name) for each in contrasts(records).contrasts if each.judged}
    assert told == {
        (f"win rate by longest, model={model}", f"{model}: naive − baseline")
        for model in ("gpt-1", "gpt-2")
    }
    two = cell("m", "naive", 40, judges={"annotator": "coin", "other_annotators.again": "coin"})
    assert [judge.name for judge in two.result.judges] == ["coin", "coin (again)"]
    neither = cell("n", "naive", 40, judges={}, metrics={})
    assert neither.result.measurements == contrasts([neither]).contrasts == []
