"""A cell's result, judged by more than one annotator, and the contrasts between cells."""

import pytest

from mini_lima import sweep
from mini_lima.evaluation.annotation import annotate
from mini_lima.evaluation.judges import Rule
from mini_lima.evaluation.result import summarise
from mini_lima.files import read_json, write_json

N = 30


@pytest.fixture
def cell(tmp_path):
    """A finished cell whose tuned model answers with ``length`` characters; its record."""

    def finish(model, method, length):
        root = tmp_path / f"{model}-{method}"
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
            write_json(folders[who] / "health.json", {"n": N, "cut_at_limit": 0})
        for which in ("baseline", "sft"):
            for judge in ("longest", "coin"):
                folders[which, judge] = root / f"{which}-{judge}"
                folders[which, judge].mkdir()
                annotate(
                    folders[which, judge],
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
        write_json(root / "stats.json", {})
        write_json(root / "summary.json", {"parameters": 1})
        summarise(
            root,
            model=model,
            method=method,
            data=root,
            sft=root,
            baseline_outputs=folders["baseline"],
            baseline_metrics=folders["baseline"],
            baseline_annotations=folders["baseline", "longest"],
            sft_outputs=folders["sft"],
            sft_metrics=folders["sft"],
            sft_annotations=folders["sft", "longest"],
            seed=0,
            bootstrap_samples=200,
            confidence=0.95,
            **{f"{which} by tossing": folders[which, "coin"] for which in ("baseline", "sft")},
        )
        return {
            "model": model,
            "method": method,
            "overrides": [],
            "status": "finished",
            "folder": root.name,
            "result": read_json(root / "result.json"),
            "config": {"model": {"weights": "pretrained"}},
            "annotations": {w: str(folders[w, "longest"]) for w in ("baseline", "sft")},
            "other_annotations": {
                "tossing": {w: str(folders[w, "coin"]) for w in ("baseline", "sft")}
            },
        }

    return finish


def test_each_annotator_has_its_own_figures_and_their_agreement_is_told(cell):
    result = cell("m", "naive", 80)["result"]
    assert (result["baseline"]["win_rate"], result["sft"]["win_rate"]) == (0, 100)
    other = result["other_annotators"]["tossing"]
    assert 0 < other["sft"]["win_rate"] < 100
    assert other["agreement"]["agreement"] == pytest.approx(50, abs=20)
    assert other["agreement"]["n"] > 0
    assert result["sft_minus_baseline"]["difference"] == 100
    assert other["sft_minus_baseline"]["difference"] != 100


def test_contrasts_have_a_family_for_each_annotator_and_a_control_beside_them(cell):
    cells = [cell("m", "naive", 40), cell("m", "improved", 80)]
    found = {(each["annotator"], each["name"]): each for each in sweep.contrasts(cells)}
    names = ["m: naive − baseline", "m: improved − baseline", "m: improved − naive"]
    assert set(found) == {(judge, name) for judge in ("longest", "tossing") for name in names}
    improved = found["longest", "m: improved − naive"]
    assert (improved["difference"], improved["verdict"]) == (100, "better")
    assert improved["under_longest"] is None, "it is that control"
    by_coin = found["tossing", "m: improved − naive"]
    assert by_coin["verdict"] == "cannot tell"
    assert by_coin["under_longest"]["difference"] == 100


def test_cells_of_another_evaluation_set_are_left_out_of_the_contrasts(cell, tmp_path):
    one, other = cell("m", "naive", 40), cell("m", "improved", 80)
    for which in ("baseline", "sft"):
        path = tmp_path / f"m-improved/{which}-longest/annotations.json"
        write_json(path, read_json(path)[:10])
    del other["other_annotations"]
    assert {each["name"] for each in sweep.contrasts([one])} == {"m: naive − baseline"}
    assert "m: improved − naive" not in {each["name"] for each in sweep.contrasts([one, other])}
