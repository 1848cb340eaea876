import json

import pytest

from mini_lima.files import read_json, write_json
from mini_lima.report.comparison import compare, read_cells
from mini_lima.report.table import markdown, show, write_report


def evaluated(win_rate, **changes):
    health = {"n": 40, "cut_at_limit": 3, "empty": 0, "mean_length_tokens": 30.0, "warnings": []}
    return {
        "win_rate": win_rate,
        "low": None if win_rate is None else win_rate - 5,
        "high": None if win_rate is None else win_rate + 5,
        "n_total": 38,
        "n_failed": 2,
        "avg_length": 123.4,
        "annotator": "longest",
        "reference": "reference",
        "health": health,
        **changes,
    }


def cell(model="small", method="naive", parameters=1, overrides=(), seed=0, **changes):
    result = {
        "confidence": 0.95,
        "training": {"parameters": parameters},
        "baseline": evaluated(8.08),
        "sft": evaluated(14.55),
        "sft_minus_baseline": {"difference": 6.47, "low": -1.25, "high": 14.2, "n": 38},
    }
    record = {
        "model": model,
        "method": method,
        "overrides": [f"model={model}", f"data={method}", *overrides],
        "status": "finished",
        "result": result,
        "config": {"model": {"weights": "pretrained"}, "sft": {"seed": seed}},
        "folder": f"{model}-{method}",
    }
    return record | changes


GRID = [
    cell("large", "improved", 2),
    cell("large", "naive", 2),
    cell("small", "improved"),
    cell("small", "naive"),
]


def test_rows_are_models_by_size_and_columns_are_the_studys():
    found = compare(GRID)
    assert found.columns == ["baseline", "naive", "improved"]
    assert list(found.rows) == ["small", "large"]
    assert all(set(row) == {"baseline", "naive", "improved"} for row in found.rows.values())


def test_a_win_rate_stands_with_its_interval_length_n_and_failures():
    entry = " ".join(compare(GRID).rows["small"]["improved"])
    for figure in ("14.6", "[9.6, 19.6]", "123", "3 cut", "n 38", "2 failed", "+6.5 [−1.2, +14.2]"):
        assert figure in entry


def test_the_baseline_has_no_difference_to_itself():
    assert not any("Δ" in line for line in compare(GRID).rows["small"]["baseline"])


def test_a_failed_cell_stands_in_the_table_with_its_reason_and_the_others_stay():
    failed = cell("small", "naive", status="failed", reason="sft small failed: out of memory")
    del failed["result"]
    found = compare([*GRID[:3], failed])
    assert found.rows["small"]["naive"] == ["failed", "sft small failed: out of memory"]
    assert "14.6" in found.rows["small"]["improved"][0]


def test_a_killed_cell_is_unfinished_and_a_cell_without_a_record_was_not_run():
    killed = cell("small", "naive", status="unfinished")
    del killed["result"]
    found = compare([killed, cell("large", "improved", 2)])
    assert found.rows["small"]["naive"][0] == "unfinished"
    assert "not run" in markdown(found)


def test_cells_that_differ_in_more_than_model_and_data_get_rows_of_their_own():
    rates = ("optimizer.lr=1e-5", "optimizer.lr=2e-5")
    cells = [cell(overrides=[rate, "sft.epochs=1"]) for rate in rates]
    assert list(compare(cells).rows) == [f"small {rate}" for rate in rates]


def seeded(*seeds, **changes):
    return [cell(overrides=[f"seed={seed}"], seed=seed, **changes) for seed in seeds]


def test_cells_that_differ_in_their_seed_alone_are_one_row_with_mean_and_spread():
    cells = seeded(1, 2, 3)
    for number, each in enumerate(cells):
        each["result"]["sft"] = evaluated(10.0 + 2 * number, avg_length=100.0 + number)
        each["result"]["sft_minus_baseline"]["difference"] = 3.0 * number
    found = compare(cells)
    assert list(found.rows) == ["small, 3 seeds"]
    entry = found.rows["small, 3 seeds"]["naive"]
    assert entry[:2] == ["12.0 [–, –]", "sd 2.0 between 3 seeds"]
    assert entry[2:4] == ["101 chars, 9 cut", "n 114, 6 failed"]
    assert entry[-1] == "Δ +3.0 [–, –]"
    assert any("mean of their win rates" in note for note in found.notes)
    assert not any("trained once" in note for note in found.notes)


def test_what_the_verdicts_of_all_seeds_come_to_is_told_where_it_is_known():
    together = {
        **{"row": "small, 2 seeds", "method": "naive", "win_rate": 14.5, "spread": 1.5},
        **{"low": 9.0, "high": 20.0, "n_total": 76, "n_failed": 4},
        "difference": {"difference": 6.5, "low": -2.0, "high": 15.0, "n": 38},
    }
    found = compare(seeded(1, 2), seeds=[together])
    entry = found.rows["small, 2 seeds"]["naive"]
    assert (entry[0], entry[-1]) == ("14.5 [9.0, 20.0]", "Δ +6.5 [−2.0, +15.0]")
    assert found.seeds == [together]


def test_seeds_that_failed_are_counted_and_said():
    cells = seeded(1, 2, 3)
    cells[1] |= {"status": "failed", "reason": "out of memory\nsomewhere"}
    cells[2] |= {"status": "unfinished"}
    for each in cells[1:]:
        del each["result"]
    two = compare(cells).rows["small, 3 seeds"]["naive"]
    assert two[0] == "14.6 [9.6, 19.6]"
    assert two[1].startswith(
        "1 of 3 seeds; seed 2: failed: out of memory: somewhere; seed 3: unfin"
    )
    none = compare(cells[1:]).rows["small, 2 seeds"]["naive"]
    assert none[0] == "0 seeds finished"
    assert "seed 2: failed: out of memory: somewhere" in none


def test_a_seed_is_no_difference_but_anything_else_is():
    rates = ("optimizer.lr=1e-5", "optimizer.lr=2e-5")
    cells = [
        cell(overrides=[rate, f"sft.seed={seed}"], seed=seed) for rate in rates for seed in (1, 2)
    ]
    assert list(compare(cells).rows) == [f"small {rate}, 2 seeds" for rate in rates]


def test_one_cell_in_two_sweeps_is_one_and_a_failure_does_not_hide_its_result():
    again = cell(status="failed", reason="out of memory")
    del again["result"]
    for cells in ([cell(), again], [again, cell()], [cell(), cell()]):
        found = compare(cells)
        assert list(found.rows) == ["small"]
        assert found.rows["small"]["naive"][0] == "14.6 [9.6, 19.6]"


def test_that_a_model_was_trained_once_is_said():
    assert any("trained once" in note for note in compare([cell()]).notes)
    mixed = [*seeded(1, 2), cell("large", parameters=2)]
    assert any(note.startswith("Where a model was trained once") for note in compare(mixed).notes)


def test_what_is_unknown_is_a_dash_and_not_a_number():
    unknown = cell()
    unknown["result"]["sft"] = evaluated(None, n_total=0, n_failed=40)
    none = {"difference": None, "low": None, "high": None, "n": 0}
    unknown["result"]["sft_minus_baseline"] = none
    assert compare([unknown]).rows["small"]["naive"][0] == "– [–, –]"


def test_no_cell_at_all_is_an_empty_table():
    assert compare([]).rows == {}


def test_random_weights_are_said_and_pretrained_ones_are_not():
    random = cell(config={"model": {"weights": "random"}})
    assert any("nothing about Qwen" in note for note in compare([random]).notes)
    assert not any("nothing about Qwen" in note for note in compare(GRID).notes)


def test_answers_that_are_ill_are_said_once_for_all_cells_of_a_model():
    ill = {"health": {"cut_at_limit": 9, "warnings": ["9 of 40 (22.5%) are empty", "and more"]}}
    grid = [cell(method=method) for method in ("naive", "improved")]
    for each in grid:
        each["result"]["baseline"] |= {"generator": "small-baseline", **ill}
    said = [note for note in compare(grid).notes if note.startswith("Answers of")]
    assert said == ["Answers of small-baseline: 9 of 40 (22.5%) are empty; and more."]


def test_a_result_that_nobody_tracked_is_said():
    notes = compare([cell(not_tracked="tracking failed: no network")]).notes
    assert any("no network" in note for note in notes)


@pytest.mark.parametrize("alone", [True, False])
def test_the_records_are_found_in_a_cell_and_in_a_sweep(tmp_path, alone):
    folder = tmp_path if alone else tmp_path / "small-naive"
    folder.mkdir(exist_ok=True)
    write_json(folder / "cell.json", cell())
    [found] = read_cells(tmp_path)
    assert found["model"] == "small"


def test_the_report_is_written_as_json_and_markdown_and_text_cannot_break_the_table(tmp_path):
    sly = cell("a|b\n<script>", status="failed", reason="x | y\nz")
    del sly["result"]
    write_report(tmp_path, compare([sly, *GRID]))
    report = (tmp_path / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<script>" not in report
    assert len(rows) == 2 + 3
    assert json.dumps(read_json(tmp_path / "report.json")).count("14.55") >= 4


def test_the_table_is_printed_whole_when_piped(capsys):
    show(compare(GRID))
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("small", "large", "baseline", "improved", "14.6"))
