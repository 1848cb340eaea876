"""The page: complete, safe whatever models write, whole when something is missing, and small."""

import itertools
import json
import shutil
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report import finished

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.experiment.sweep import compare, summarise
from mini_lima.files import read_json, write_json
from mini_lima.report.page import SECTIONS, as_page, gather, write_page
from mini_lima.report.page.answers import cut, spread
from mini_lima.report.page.axes import ticks
from mini_lima.report.page.charts import thinned
from mini_lima.report.page.markup import UNPRINTABLE, element, listed, table

HOSTILE = (
    "</style></svg></title><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\x00\u202e"
)
VOID = {"meta", "line", "rect", "path", "polyline"}


class Read(HTMLParser):
    """What a browser would see: elements, their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.said, self.open = Counter(), [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.attributes += attrs
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def page_of(sweep):
    return as_page(gather(compare([sweep])))


@pytest.fixture
def sweep(tmp_path):
    return finished.build(tmp_path)


def test_it_is_written_beside_the_other_reports(sweep, capsys):
    summarise([sweep], into=sweep)
    assert {path.name for path in sweep.glob("report.*")} == {
        "report.html",
        "report.json",
        "report.md",
    }
    assert "report.html" in capsys.readouterr().out


def test_it_says_all_that_is_known(sweep):
    seen = Read(page_of(sweep))
    assert seen.open == []
    assert seen.tags["section"] == len(SECTIONS)
    for said in (
        "14.8 [9.8, 19.8]",  # win rate
        "qwen-0.5b: improved − naive",  # contrast
        "cannot tell",
        "33.2 [28.2, 38.2]",  # another annotator
        "81.5%, κ 0.25 (n 46)",
        "other: naive, by judge-2",
        "strict, %",
        "36.5 [35.5, 37.5]",  # a metric
        "21.2 [20.0, 22.5]",  # length-controlled
        "+39.0",  # effect of the order
        "no verdict in the reply: 2",
        "2 of 48 – incomplete",
        "3 cut",  # warning about the answers
        "echo: 4",  # funnel
        "$0.25",
        "data naive-1: 2 models answered",
        "$0.50",  # both data sets together
        "model.name",  # setting that differs
        "sft.epochs",  # setting that does not
        "0123456789ab with changes",
        "torch 2.13.0",
        "deepspeed not installed",
        "2026-01-02 03:04",
        "improved of other: An answer.",
        "The reference's answer.",
        "failed (no verdict)",
    ):
        assert said in seen.said, said
    pictures = [value for name, value in seen.attributes if name == "aria-label"]
    assert len(pictures) >= seen.tags["svg"] == 6


def test_it_loads_nothing_and_runs_nothing(sweep):
    page = page_of(sweep)
    seen = Read(page)
    assert not set(seen.tags) & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert {value[0] for name, value in seen.attributes if name in ("href", "src")} == {"#"}
    assert "url(" not in page
    assert "@import" not in page


def test_no_text_of_models_data_or_configuration_becomes_markup(tmp_path):
    sweep = finished.build(tmp_path)
    before = Read(page_of(sweep))
    finished.with_every_text(tmp_path, lambda value: value + HOSTILE)
    seen = Read(page_of(sweep))
    assert seen.tags["script"] == seen.tags["img"] == 0
    assert set(seen.tags) == set(before.tags)
    assert not any(name.startswith("on") for name, _ in seen.attributes)
    assert seen.open == []
    assert seen.said.count("<script>alert(1)</script>") > 200
    assert "\x00" not in seen.said


@given(st.text(st.one_of(st.sampled_from("<>&'\"/=b"), st.characters())))
def test_text_stays_text_in_elements_and_attributes(said):
    seen = Read(str(element("p", said, title=said)))
    printable = UNPRINTABLE.sub("\ufffd", said)
    assert seen.tags == {"p": 1}
    assert seen.attributes == [("title", printable)]
    assert seen.said == printable


def test_only_the_models_of_the_study_have_the_studys_figures_beside_them(sweep):
    page = page_of(sweep)
    assert page.count('class="study"') == 3
    assert "the study: 14.55" in page
    assert "measured once" in page
    for cell in sweep.glob("qwen*"):
        shutil.rmtree(cell)
    without = page_of(sweep)
    assert 'class="study"' not in without
    assert "measured once" not in without


def test_several_seeds_stand_beside_what_they_come_to(tmp_path):
    sweep = finished.build(tmp_path, ("other",), seeds=(1, 2, 3))
    found = compare([sweep])
    naive, _ = found.together
    assert (naive.row, naive.measure) == ("other, 3 seeds", "win rate by judge-1")
    over = naive.over
    rates = [*over.values.values()]
    # 36 verdicts were read of each seed: 12 won and 12 tied, and 4 or 8 by luck.
    assert rates == pytest.approx([100 * (18 + more) / 36 for more in (0, 4, 8)])
    assert over.value == pytest.approx(rates[1])
    assert over.spread == pytest.approx(100 * 4 / 36)
    assert over.low < rates[0] < rates[2] < over.high
    (contrast,) = [each for each in found.contrasts if each.name == "other: naive − baseline"]
    assert naive.difference.low == contrast.low
    assert (contrast.seeds, contrast.verdict) == (3, "cannot tell")

    page = as_page(gather(found))
    seen = Read(page)
    assert seen.open == []
    assert page.count('class="single"') == 2 * 3
    for said in (
        "other, 3 seeds",
        "sd 11.1 between 3 seeds",
        "other, 3 seeds: naive, seed 2",
        "Single training seeds",
        "improved · 3",
        "Small circles",
        "Of several training seeds, the first",
        "Training loss of",
        "The number behind an arm is the training seed.",
    ):
        assert said in seen.said, said
    assert page.count('class="curve"') == 6


def test_the_report_goes_into_a_folder_that_is_made_or_it_is_said_why_not(sweep, tmp_path):
    summarise([sweep], into=tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "report.html").is_file()
    with pytest.raises(UserError, match="no folder for the report"):
        summarise([sweep], into=next(sweep.rglob("cell.json")) / "below")


def test_seeds_of_several_sweeps_are_compared_as_one(tmp_path):
    sweep = finished.build(tmp_path, ("other",), seeds=(1, 2, 3))
    whole = compare([sweep])
    (tmp_path / "later").mkdir()
    for cell in sweep.glob("*seed=3"):
        cell.rename(tmp_path / "later" / cell.name)
    (two,) = {each.row for each in compare([sweep]).together}
    assert two == "other, 2 seeds"
    parts = compare([sweep, tmp_path / "later"])
    assert (parts.rows, parts.contrasts, parts.together) == (
        whole.rows,
        whole.contrasts,
        whole.together,
    )


def test_a_seed_whose_verdicts_are_gone_leaves_a_mean_without_an_interval(tmp_path):
    sweep = finished.build(tmp_path, ("other",), seeds=(1, 2))
    (tmp_path / "store/annotations/other-naive-2/annotations.json").unlink()
    found = compare([sweep])
    assert [each.arm for each in found.together] == ["improved"]
    assert found.rows["other, 2 seeds"]["naive"][0] == "14.8 [–, –] – incomplete"
    assert "14.8 [–, –]" in Read(as_page(gather(found))).said


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("annotations.json", "No verdicts are to be had."),
        ("stats.json", "No data set is to be had."),
        ("metrics.jsonl", "No training has written its losses yet."),
        ("stage.json", "No stage's record is to be had."),
    ],
)
@pytest.mark.parametrize("damaged", [False, True])
def test_what_the_store_has_lost_is_said_and_the_rest_is_there(
    sweep, tmp_path, file, says, damaged
):
    comparison = compare([sweep])
    for path in tmp_path.rglob(file):
        path.write_text('{"') if damaged else path.unlink()
    said = Read(as_page(gather(comparison))).said
    assert says in said
    assert "files of the store could not be read" in said
    assert ("it is damaged" in said) is damaged
    assert "14.8 [9.8, 19.8]" in said


def test_without_the_store_there_is_what_the_cells_say(sweep, tmp_path):
    shutil.rmtree(tmp_path / "store")
    said = Read(page_of(sweep)).said
    assert "14.8 [9.8, 19.8]" in said
    assert "There is nothing to contrast yet." in said
    assert f"{tmp_path / 'store/data/naive-1'}: not there" in said


def test_a_sweep_in_which_everything_failed_has_a_page_with_reasons_and_logs(sweep):
    for path in sweep.glob("*/cell.json"):
        failed = {"status": "failed", "reason": "out of memory\non card 0", "log": "logs/sft.log"}
        failed |= {"result": None, "costs": {}}
        write_json(path, read_json(path) | failed)
    said = Read(page_of(sweep)).said
    assert said.count("out of memory\non card 0") == 4
    assert "logs/sft.log" in said
    assert "4 cells, 0 finished" in said
    assert "$0.50" in said, "what their data cost is spent"
    assert "No cell has a win rate yet." in said


def test_any_number_of_arms_has_a_place_and_a_look_in_every_picture(sweep):
    arms = [f"improved_{name}" for name in ("cut", "longest", "shortest", "random", "other")]
    for path in sweep.glob("other-improved/cell.json"):
        record = read_json(path)
        for arm in arms:
            result = json.loads(json.dumps(record["result"]).replace('"improved"', f'"{arm}"'))
            own = {"arm": arm, "fingerprint": arm, "result": result}
            own |= {"steps": record["steps"] | {arm: {}}}
            (sweep / arm).mkdir()
            write_json(sweep / arm / "cell.json", record | own)
    page = page_of(sweep)
    seen = Read(page)
    assert seen.open == []
    for arm in arms:
        assert f"other: {arm} − baseline" in seen.said
        assert f"other: {arm} − improved" in seen.said, "it is one step more"
    looks = {value for name, value in seen.attributes if name == "class"}
    assert {"other", "other-2", "other-3", "other-4"} <= looks
    xs = [float(value) for name, value in seen.attributes if name == "x"]
    assert 0 <= min(xs) <= max(xs) <= 480


@pytest.mark.parametrize("absent", ["stages", "annotations", "costs", "steps"])
def test_what_a_record_need_not_say_costs_no_page(sweep, absent):
    for path in sweep.glob("*/cell.json"):
        record = read_json(path)
        del record[absent]
        write_json(path, record)
    assert "14.8 [9.8, 19.8]" in Read(page_of(sweep)).said


def test_a_sweep_of_records_that_another_version_wrote_is_refused_in_a_line(sweep, capsys):
    for path in sweep.glob("*/cell.json"):
        record = read_json(path)
        del record["version"]
        write_json(path, record)
    assert main(["compare", str(sweep)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "made by an older version of Mini-LIMA: run the sweep again" in line


def test_without_a_judge_there_is_a_page_of_metrics(sweep):
    for path in sweep.glob("*/cell.json"):
        record = read_json(path)
        result = record["result"]
        rows = [row for row in result["measurements"] if not row["judged"]]
        result |= {"judges": [], "measurements": rows}
        write_json(path, record | {"annotations": {}})
    seen = Read(page_of(sweep))
    assert "Nobody judges." in seen.said
    assert "36.5 [35.5, 37.5]" in seen.said
    assert "no judge" in seen.said
    assert seen.tags["section"] == len(SECTIONS)


def test_unknown_win_rates_and_losses_that_are_no_numbers_are_said(sweep, tmp_path):
    for path in sweep.glob("*/cell.json"):
        record = read_json(path)
        for which in ("baseline", "sft"):
            unknown = {"win_rate": None, "low": None, "high": None}
            record["result"]["judges"][0][which] |= unknown
        write_json(path, record)
    for path in tmp_path.rglob("metrics.jsonl"):
        path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": NaN}\n')
    said = Read(page_of(sweep)).said
    assert "No cell has a win rate yet." in said
    assert said.count("the loss of 1 steps is not a number") == 4


def test_tokens_that_nobody_reported_are_no_zeros(tmp_path):
    sweep = finished.build(tmp_path)
    for path in tmp_path.rglob("ledger.json"):
        book = read_json(path)
        unknown = {"input_tokens": 0, "output_tokens": 0, "usd": 0.0, "unpriced": 40}
        write_json(path, book | {"value": book["value"] | unknown})
    section = Read(page_of(sweep).partition('id="cost"')[2].partition("</section>")[0]).said
    assert section.count("–––not known") == 3


def test_a_large_sweep_with_long_answers_stays_under_two_megabytes(tmp_path):
    models = [f"model-{number}" for number in range(40)]
    sweep = finished.build(tmp_path, models, answer="<é" * 1500)
    finished.with_every_text(sweep, lambda value: value + "&" * 400)
    write_page(sweep, compare([sweep]))
    assert 300_000 < (sweep / "report.html").stat().st_size < 2_000_000


def test_the_study_on_all_its_questions_with_two_seeds_stays_under_two_megabytes(tmp_path):
    models = ("qwen-0.5b", "qwen-1.8b")
    long = "An answer <of> several & sentences. " * 50
    sweep = finished.build(tmp_path, models, questions=805, answer=long, seeds=(1, 2))
    page = page_of(sweep)
    assert 200_000 < len(page.encode()) < 2_000_000
    assert page.count("1,8") > 20, "long answers are cut, and their length is said"


def test_many_rows_are_cut_and_it_is_said():
    said = Read(str(table(["a", "b"], [["x" * 5000] * 5] * 12, "numbers"))).said
    assert "7 more rows are not shown" in said


def test_a_long_list_is_cut_and_it_is_said():
    said = Read(str(listed([f"item {number}" for number in range(100)]))).said
    assert "item 39… and 60 more" in said


def test_a_cut_answer_keeps_to_its_bytes_and_names_its_length():
    assert cut("short", 100) == "short"
    long = cut("<" * 5000, 900)
    assert len(long) < 1000
    assert "(5,000 characters)" in long


def test_shown_instructions_are_spread_evenly_and_are_the_same_every_time():
    chosen = spread([str(number) for number in range(805)])
    assert len(chosen) == len(set(chosen)) == 20
    gaps = {int(b) - int(a) for a, b in itertools.pairwise(chosen)}
    assert gaps == {40, 41}
    assert spread(["a", "b"]) == ["a", "b"]


def test_a_long_curve_keeps_its_ends():
    curve = [(float(step), 1.0) for step in range(10_001)]
    drawn = thinned(curve)
    assert len(drawn) <= 301
    assert (drawn[0], drawn[-1]) == (curve[0], curve[-1])
    assert thinned(curve[:7]) == curve[:7]


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_are_few_and_hold_the_numbers_between_them(low, size):
    at = ticks(low, low + size)
    assert 2 <= len(at) <= 9
    assert at == sorted(at)
    slack = 1e-6 * (at[-1] - at[0])
    assert at[0] <= low + slack
    assert at[-1] >= low + size - slack
