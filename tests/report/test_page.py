"""The page: complete, safe whatever models write, whole when something is missing, and small."""

import itertools
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from mini_lima.experiment.sweep import compare, summarise
from mini_lima.files import read_json, write_json
from mini_lima.report.page import as_page
from mini_lima.report.page.data import gather
from mini_lima.store import contents
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


def test_the_report_is_there_before_anything_is_printed(sweep, monkeypatch):
    def fail(comparison):
        assert {path.name for path in sweep.glob("report.*")} > {"report.html", "report.md"}
        raise BrokenPipeError

    monkeypatch.setattr("mini_lima.report.table.show", fail)
    with pytest.raises(BrokenPipeError):
        summarise([sweep], into=sweep)


def test_nothing_of_it_is_obeyed_by_a_terminal_or_by_markdown(tmp_path, capsys):
    hostile = "\x1b]0;t\x07\x08\r\n# head\n|x|[y](http://evil)![z](http://evil)<img src=x>`\u202e"
    sweep = finished.build(tmp_path)
    finished.with_every_text(tmp_path, lambda value: value + hostile)
    summarise([sweep], into=sweep, track=False)
    report = (sweep / "report.md").read_text(encoding="utf-8")
    for shown in (capsys.readouterr().out, report):
        assert [c for c in shown if not c.isprintable() and c != "\n"] == []
    read = MarkdownIt("gfm-like", {"linkify": False}).parse(report)
    assert sum(each.type == "table_open" for each in read) == report.count("\n| --- ") > 0
    kinds = {each.type for block in read for each in block.children or ()}
    assert kinds <= {"text", "text_special", "html_inline", "softbreak"}
    assert {each.content for b in read for each in b.children or () if "html" in each.type} == {
        "<br>"
    }
    assert not {each.type for each in read} & {"heading_open", "html_block", "fence", "hr"}
    for is_row, lines in itertools.groupby(report.split("\n"), lambda line: line[:2] == "| "):
        if is_row:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


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
    assert ("stage.json has another content" in said) is damaged


def test_verdicts_that_were_changed_since_are_not_compared(sweep, tmp_path):
    before = compare([sweep])
    folder = next(tmp_path.glob("store/annotations/other-naive-*"))
    record = read_json(folder / "stage.json")
    write_json(folder / "stage.json", record | {"contents": contents.describe(folder, record)})
    assert compare([sweep]) == before
    (folder / "annotations.json").write_text("[]")
    after = compare([sweep])
    [told] = [note for note in after.notes if str(folder) in note]
    assert told.startswith("Passed over: ")
    assert told in Read(as_page(gather(after))).said
    assert len(after.contrasts) < len(before.contrasts)


def test_a_sweep_in_which_everything_failed_has_a_page_with_reasons_and_logs(sweep):
    failed = {"status": "failed", "reason": "out of memory\non card 0", "log": "logs/sft.log"}
    change(sweep, lambda record: record | failed | {"result": None, "costs": {}})
    said = Read(page_of(sweep)).said
    assert said.count("out of memory\non card 0") == 4
    assert "logs/sft.log" in said
    assert "0 finished" in said
    assert "$0.50" in said, "what their data cost is spent"
    assert "No cell has a win rate yet." in said


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
    models = [f"model-{number}" for number in range(21)]
    sweep = finished.build(tmp_path, models, questions=20, answer="<é" * 1500)
    finished.with_every_text(sweep, lambda value: value + "&" * 400)
    page = as_page(gather(compare([sweep])))
    assert 300_000 < len(page.encode()) < 2_000_000
    assert "The first 20 of 21 are drawn." in page, "curves of losses"
