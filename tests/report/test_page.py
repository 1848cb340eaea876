"""The page: complete, safe whatever models write, whole when something is missing, and small."""

import itertools
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.experiment.sweep import compare, summarise
from mini_lima.files import read_json, write_json
from mini_lima.report.charts import fitting, thinned
from mini_lima.report.figures import Table
from mini_lima.report.html import UNPRINTABLE, render, that_fit
from mini_lima.report.page import as_page, write_page
from mini_lima.report.page.answers import cut, spread
from mini_lima.report.page.data import gather
from tests.report import finished

HOSTILE = (
    "</style></svg></title><script>alert(1)</script><img src=x onerror='alert(2)'>\"&$\x00\u202e"
)
VOID = {"meta"}
SECTIONS = 12


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
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said += data


def page_of(sweep):
    return as_page(gather(compare([sweep])))


@pytest.fixture
def sweep(tmp_path):
    return finished.build(tmp_path)


def change(sweep, changed):
    """Replace each record below ``sweep`` by what ``changed`` makes of it."""
    for path in sweep.glob("*/cell.json"):
        write_json(path, changed(read_json(path)))


def test_it_says_all_that_is_known_loads_nothing_and_is_the_same_again(sweep):
    page = page_of(sweep)
    assert page == page_of(sweep)
    seen = Read(page)
    assert seen.open == []
    assert seen.tags["section"] == SECTIONS
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
    assert not set(seen.tags) & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert {value[0] for name, value in seen.attributes if name in ("href", "src")} == {"#"}
    assert "url(" not in page
    assert "@import" not in page
    for picture in re.findall(r"<svg.*?</svg>", page, flags=re.S):
        assert not re.search("#[0-9a-f]{6}", picture), "colours are those of the scheme"


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


@settings(max_examples=10)
@given(st.text(st.one_of(st.sampled_from("<>&'\"/=b{%}"), st.characters())))
def test_text_stays_text_in_elements_and_attributes(said):
    seen = Read(render("audit.html", folders=[said], blocks=[]))
    printable = UNPRINTABLE.sub("\ufffd", said)
    assert seen.said.count(f"Audit of {printable}") == 2
    assert not seen.tags["b"]


def test_nothing_of_it_is_obeyed_by_a_terminal_or_by_markdown(tmp_path, capsys):
    hostile = "\x1b]0;t\x07\x08\r\n# head\n|x|[y](http://evil)![z](http://evil)<img src=x>`\u202e"
    sweep = finished.build(tmp_path)
    finished.with_every_text(tmp_path, lambda value: value + hostile)
    summarise([sweep], into=sweep, track=False)
    report = (sweep / "report.md").read_text(encoding="utf-8")
    for shown in (capsys.readouterr().out, report):
        assert [c for c in shown if not c.isprintable() and c != "\n"] == []
    read = MarkdownIt("gfm-like", {"linkify": False}).parse(report)
    kinds = {each.type for block in read for each in block.children or ()}
    assert kinds <= {"text", "text_special", "html_inline", "softbreak"}
    assert {each.content for b in read for each in b.children or () if "html" in each.type} == {
        "<br>"
    }
    assert not {each.type for each in read} & {"heading_open", "html_block", "fence", "hr"}
    for is_row, lines in itertools.groupby(report.split("\n"), lambda line: line[:2] == "| "):
        if is_row:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_only_the_models_of_the_study_have_the_studys_figures_beside_them(sweep):
    page = page_of(sweep)
    assert page.count("<title>the study:") == 3
    assert "the study: 14.55" in page
    assert "measured once" in page
    for cell in sweep.glob("qwen*"):
        shutil.rmtree(cell)
    without = page_of(sweep)
    assert "the study:" not in without
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

    seen = Read(as_page(gather(found)))
    for said in (
        "other, 3 seeds",
        "sd 11.1 between 3 seeds",
        "other, 3 seeds: naive, seed 2",
        "improved · 3",
        "Small circles",
        "Of several training seeds, the first",
        "Training loss of",
        "The number behind an arm is the training seed.",
    ):
        assert said in seen.said, said
    assert seen.said.count("naive: from 5.000") == 1

    (tmp_path / "later").mkdir()
    for cell in sweep.glob("*seed=3"):
        cell.rename(tmp_path / "later" / cell.name)
    assert {each.row for each in compare([sweep]).together} == {"other, 2 seeds"}
    parts = compare([sweep, tmp_path / "later"])
    assert (parts.rows, parts.contrasts) == (found.rows, found.contrasts)

    (tmp_path / "store/annotations/other-naive-2/annotations.json").unlink()
    without = compare([sweep])
    assert [each.arm for each in without.together] == ["improved"]
    assert without.rows["other, 2 seeds"]["naive"][0] == "14.8 [–, –] – incomplete"


def test_the_report_goes_into_a_folder_that_is_made_or_it_is_said_why_not(sweep, tmp_path, capsys):
    summarise([sweep], into=tmp_path / "new" / "folder")
    assert {path.suffix for path in (tmp_path / "new" / "folder").glob("report.*")} == {
        ".html",
        ".json",
        ".md",
    }
    assert "report.html" in capsys.readouterr().out
    with pytest.raises(UserError, match="no folder for the report"):
        summarise([sweep], into=next(sweep.rglob("cell.json")) / "below")


@pytest.mark.parametrize("damaged", [False, True])
def test_what_the_store_has_lost_is_said_and_the_rest_is_there(sweep, tmp_path, damaged):
    comparison = compare([sweep])
    for file in ("annotations.json", "stats.json", "metrics.jsonl", "stage.json"):
        for path in tmp_path.rglob(file):
            path.write_text('{"') if damaged else path.unlink()
    said = Read(as_page(gather(comparison))).said
    for line in (
        "No verdicts are to be had.",
        "No data set is to be had.",
        "No training has written its losses yet.",
        "No stage's record is to be had.",
        "files of the store could not be read",
        "14.8 [9.8, 19.8]",
    ):
        assert line in said
    assert ("it is damaged" in said) is damaged


def test_without_the_store_there_is_what_the_cells_say(sweep, tmp_path):
    shutil.rmtree(tmp_path / "store")
    said = Read(page_of(sweep)).said
    assert "14.8 [9.8, 19.8]" in said
    assert "There is nothing to contrast yet." in said
    assert f"{tmp_path / 'store/data/naive-1'}: not there" in said


def test_a_sweep_in_which_everything_failed_has_a_page_with_reasons_and_logs(sweep):
    failed = {"status": "failed", "reason": "out of memory\non card 0", "log": "logs/sft.log"}
    change(sweep, lambda record: record | failed | {"result": None, "costs": {}})
    said = Read(page_of(sweep)).said
    assert said.count("out of memory\non card 0") == 4
    assert "logs/sft.log" in said
    assert "0 finished" in said
    assert "$0.50" in said, "what their data cost is spent"
    assert "No cell has a win rate yet." in said


def test_any_number_of_arms_has_a_place_and_a_look_in_every_picture(sweep):
    arms = [f"_improved_{name}" for name in ("cut", "longest", "shortest", "random", "other")]
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
    assert all(f"var(--{look})" in page for look in ("other", "other-2", "other-3", "other-4"))
    xs = [float(value) for name, value in seen.attributes if name == "x"]
    assert 0 <= min(xs) <= max(xs) <= 400
    assert seen.said.count("_improved_lo") > 3, "in a legend too, which matplotlib leaves out"


def test_what_a_record_need_not_say_costs_no_page(sweep):
    optional = {"stages", "annotations", "costs", "steps"}
    change(sweep, lambda record: {k: v for k, v in record.items() if k not in optional})
    assert "14.8 [9.8, 19.8]" in Read(page_of(sweep)).said


def test_a_sweep_of_records_that_another_version_wrote_is_refused_in_a_line(sweep, capsys):
    change(sweep, lambda record: {k: v for k, v in record.items() if k != "version"})
    assert main(["compare", str(sweep)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "made by an older version of Mini-LIMA: run the sweep again" in line


def test_without_a_judge_there_is_a_page_of_metrics(sweep):
    def unjudged(record):
        rows = [row for row in record["result"]["measurements"] if not row["judged"]]
        record["result"] |= {"judges": [], "measurements": rows}
        return record | {"annotations": {}}

    change(sweep, unjudged)
    seen = Read(page_of(sweep))
    assert "Nobody judges." in seen.said
    assert "36.5 [35.5, 37.5]" in seen.said
    assert "no judge" in seen.said
    assert seen.tags["section"] == SECTIONS


def test_what_is_not_known_is_no_number(sweep, tmp_path):
    def unknown(record):
        for which in ("baseline", "sft"):
            nothing = {"win_rate": None, "low": None, "high": None}
            record["result"]["judges"][0][which] |= nothing
        return record

    change(sweep, unknown)
    for path in tmp_path.rglob("metrics.jsonl"):
        path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": NaN}\n')
    for path in tmp_path.rglob("ledger.json"):
        ledger = read_json(path)
        unknown = {"input_tokens": 0, "output_tokens": 0, "usd": 0.0, "unpriced": 40}
        write_json(path, ledger | {"value": ledger["value"] | unknown})
    page = page_of(sweep)
    said = Read(page).said
    assert "No cell has a win rate yet." in said
    assert said.count("the loss of 1 steps is not a number") == 4
    costs = Read(page.partition('id="cost"')[2].partition("</section>")[0]).said
    assert costs.count("–––not known") == 3


def test_a_large_sweep_with_long_answers_stays_under_two_megabytes(tmp_path):
    models = [f"model-{number}" for number in range(24)]
    sweep = finished.build(tmp_path, models, questions=20, answer="<é" * 1500)
    finished.with_every_text(sweep, lambda value: value + "&" * 400)
    write_page(sweep, compare([sweep]))
    page = sweep / "report.html"
    assert 300_000 < page.stat().st_size < 2_000_000
    assert "The first 20 of 24 are drawn." in page.read_text(encoding="utf-8"), "curves of losses"


def test_what_is_cut_says_so_and_what_is_shown_is_spread_evenly():
    assert cut("short", 100) == "short"
    assert len(cut("<" * 5000, 900)) < 260
    assert "(5,000 characters)" in cut("<" * 5000, 900)
    chosen = spread([str(number) for number in range(805)])
    assert len(chosen) == len(set(chosen)) == 20
    assert {int(b) - int(a) for a, b in itertools.pairwise(chosen)} == {40, 41}
    assert spread(["a", "b"]) == ["a", "b"]
    curve = [(float(step), 1.0) for step in range(10_001)]
    assert len(thinned(curve)) <= 301
    assert (thinned(curve)[0], thinned(curve)[-1]) == (curve[0], curve[-1])
    assert thinned(curve[:7]) == curve[:7]
    assert len(that_fit(Table("numbers", ["a"] * 5, [["x" * 5000] * 5] * 12))) == 5
    assert fitting("a " * 9, 17) == "a a a a a a a a a"
    assert fitting("模型" * 9, 17) == "模型模型模型模…"
