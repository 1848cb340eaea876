import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.errors import MOST_LISTED
from mini_lima.files import read_json, write_json
from mini_lima.report.comparison import compare, read_cells
from mini_lima.report.groups import rows_of
from mini_lima.report.table import markdown, write_report
from mini_lima.results import (
    DataSet,
    OverSeeds,
    PairedDifference,
    Shortfall,
    Together,
    write_cell,
)
from tests.harm import BAD
from tests.report.records import (
    RECIPE,
    cell,
    judged,
    judgement,
    result,
    unfinished,
)

MEASURE = "win rate by judge-1"


def sized(model, arm, parameters=1, **about):
    return cell(model, arm, result=result(model, arm, parameters=parameters), **about)


GRID = [
    sized("large", "improved", 2),
    sized("large", "naive", 2),
    sized("small", "improved"),
    sized("small", "naive"),
]


def test_rows_are_models_by_size_and_columns_the_studys_arms_then_any_other():
    found = compare(GRID)
    assert found.columns == ["baseline", "naive", "improved"]
    assert list(found.rows) == ["small", "large"]
    assert all(set(row) == {"baseline", "naive", "improved"} for row in found.rows.values())
    arms = ("halved", "improved", "naive", "a_fifth")
    found = compare([cell(arm=arm) for arm in arms])
    assert found.columns == ["baseline", "naive", "improved", "halved", "a_fifth"]


def test_a_win_rate_stands_with_its_interval_length_n_failures_and_difference():
    row = compare(GRID).rows["small"]
    for figure in ("14.6", "[9.6, 19.6]", "123", "3 cut", "n 46", "2 failed", "+6.5 [−1.2, +14.2]"):
        assert figure in " ".join(row["improved"])
    assert not any("Δ" in line for line in row["baseline"])
    nothing = replace(judgement(), sft=judged(None, n_total=0, n_failed=40))
    unknown = cell(result=result(judges=[nothing]))
    assert compare([unknown]).rows["small"]["naive"][0] == "– [–, –]"


def test_a_cell_without_a_result_stands_in_the_table_with_the_reason_and_the_others_stay():
    failed = unfinished("failed", "sft small failed: out of memory")
    found = compare([*GRID[:3], failed])
    assert found.rows["small"]["naive"] == ["failed", "sft small failed: out of memory"]
    assert "14.6" in found.rows["small"]["improved"][0]
    assert compare([unfinished("unfinished")]).rows["small"]["naive"][0] == "unfinished"
    assert "not run" in markdown(compare([failed, sized("large", "improved", 2)]))
    stopped = replace(cell(), result=None, until="data", recipe={})
    assert compare([stopped]).rows["small"]["naive"] == ["stopped after data"]
    found = compare([stopped, cell(arm="improved")])
    assert list(found.rows) == ["small"], "what it did not come to is no difference"
    assert compare([]).rows == {}


def test_what_changes_results_sets_rows_apart_however_it_is_written():
    cells = [cell(recipe=RECIPE | {"optimizer.lr": rate}) for rate in (1e-5, 2e-5)]
    assert list(compare(cells).rows) == ["small optimizer.lr=1e-05", "small optimizer.lr=2e-05"]
    again = ["optimizer.lr=0.00001", "evaluation.batch_size=4"]
    cells = [cell(overrides=["optimizer.lr=1e-5"]), cell(arm="improved", overrides=again)]
    assert list(compare(cells).rows) == ["small"]


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.dictionaries(st.sampled_from(["x", "y.z", "model.s", "e"]), st.integers(0, 2)),
            st.sampled_from(["naive", "other"]),
            st.integers(0, 2),
        ),
        max_size=8,
    )
)
def test_no_two_results_ever_fall_into_one_place(asked):
    cells = [
        cell(model, arm, recipe=recipe, fingerprint=str(at), folder=str(at), sweep=str(number))
        for at, (model, recipe, arm, number) in enumerate(asked)
    ]
    places = list(zip(rows_of(cells), (each.arm for each in cells), strict=True))
    assert len(set(places)) == len(cells)
    # And the same results are one cell, whatever folder they are in.
    twice = [*cells, *(replace(each, folder="again", sweep="again") for each in cells)]
    assert len(set(zip(rows_of(twice), (each.arm for each in twice), strict=True))) <= 2 * len(
        cells
    )


def seeded(*seeds, **about):
    return [cell(overrides=[f"seed={seed}"], seed=seed, **about) for seed in seeds]


def test_cells_that_differ_in_their_seed_alone_are_one_row_with_mean_and_spread():
    cells = []
    for number, each in enumerate(seeded(1, 2, 3)):
        tuned = judged(10.0 + 2 * number, avg_length=100.0 + number)
        found = result(judges=[replace(judgement(), sft=tuned)])
        difference = PairedDifference(3.0 * number, -1.0, 9.0, 38)
        cells.append(replace(each, result=replace(found, differences={MEASURE: difference})))
    found = compare(cells)
    assert list(found.rows) == ["small, 3 seeds"]
    entry = found.rows["small, 3 seeds"]["naive"]
    assert entry[:2] == ["12.0 [–, –]", "sd 2.0 between 3 seeds"]
    assert entry[2:4] == ["101 chars, 9 cut", "n 138, 6 failed"]
    assert entry[-1] == "Δ +3.0 [–, –]"
    assert any("mean of their win rates" in note for note in found.notes)
    assert not any("trained once" in note for note in found.notes)


def test_a_data_set_with_less_than_was_asked_for_is_named_once():
    def notes(*cells):
        return "\n".join(compare(cells).notes)

    config = cell().config | {"scheduler": {"warmup_num_steps": 10}}
    assert "all 10 optimizer steps lie within the warm-up" in notes(cell(config=config))
    config = cell().config | {"scheduler": {"warmup_num_steps": 9}}
    assert "warm-up" not in notes(cell(config=config))
    short = [Shortfall("self_instruct", "prompt 1", 24, 20, {"echo": 4})]
    grid = [
        cell(arm=arm, result=result(arm=arm, data=DataSet(9, 9.0, short)))
        for arm in ("naive", "improved")
    ]
    assert notes(*grid).count("self_instruct, prompt 1: 20 of the 24") == 1


METRICS = (("strict", "percent", (30.0, 34.5)), ("words", "words", (80.0, 120.0)))


def test_a_record_of_another_version_or_that_is_damaged_is_named_and_the_others_are_there(tmp_path):
    for name in ("good", "old", "new", "damaged", "wrong"):
        (tmp_path / name).mkdir()
        write_cell(tmp_path / name / "cell.json", cell())
    whole = read_json(tmp_path / "good" / "cell.json")
    old = {"model": "small", "method": "naive", "status": "finished", "result": {}}
    write_json(tmp_path / "old" / "cell.json", old)
    write_json(tmp_path / "new" / "cell.json", whole | {"version": 99})
    (tmp_path / "damaged" / "cell.json").write_text('{"mod')
    whole["result"]["judges"][0]["sft"]["n_total"] = "many"
    write_json(tmp_path / "wrong" / "cell.json", whole)
    found, passed_over = read_cells(tmp_path)
    assert [each.folder for each in found] == ["good"]
    damaged, new, old_one, wrong = passed_over
    assert "damaged/cell.json: cannot be read" in damaged
    assert "made by a newer version" in new
    assert "made by an older version" in old_one
    assert "run the sweep again" in old_one
    assert "wrong/cell.json: result.judges[0].sft.n_total: " in wrong
    assert "'many'" in wrong
    assert all(len(line.splitlines()) == 1 for line in passed_over)


def test_what_lies_where_a_record_is_expected_is_named_and_the_others_are_there(tmp_path):
    write_cell(tmp_path / "cell.json", cell("qwen-0.5b", "naive"))
    for number, harm in enumerate(BAD.values()):
        (tmp_path / f"bad-{number}").mkdir()
        harm(tmp_path / f"bad-{number}" / "cell.json")
    (tmp_path / "loop").symlink_to("loop")
    found, passed_over = read_cells(tmp_path)
    assert len(found) == 1
    assert "bad-0" in passed_over[0]
    assert len(passed_over) == MOST_LISTED + 1


def test_the_report_is_written_as_json_and_markdown_and_text_cannot_break_the_table(tmp_path):
    sly = unfinished("failed", "x | y\nz", model="a|b\n<script>", arm="c|d <script>")
    write_report(tmp_path, compare([sly, *GRID]))
    report = (tmp_path / "report.md").read_text()
    rows = [line for line in report.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert "<script>" not in report
    assert len(rows) == 2 + 3
    assert json.dumps(read_json(tmp_path / "report.json")).count("14.55") >= 4


def test_what_the_verdicts_of_all_seeds_come_to_is_told_where_it_is_known():
    over = OverSeeds({1: 13.0, 2: 16.0}, 14.5, 1.5, 9.0, 20.0, n=76, failed=4)
    difference = PairedDifference(6.5, -2.0, 15.0, 38)
    together = Together("small, 2 seeds", "naive", MEASURE, "percent", over, difference)
    found = compare(seeded(1, 2), together=[together])
    entry = found.rows["small, 2 seeds"]["naive"]
    assert (entry[0], entry[-1]) == ("14.5 [9.0, 20.0]", "Δ +6.5 [−2.0, +15.0]")
    lines = [line for line in found.measures if line.measured.arm == "naive"]
    assert [(line.arm, line.measured.value) for line in lines] == [
        ("naive, seed 1", 14.55),
        ("naive, seed 2", 14.55),
        ("naive", 14.5),
    ]
