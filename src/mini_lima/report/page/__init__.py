"""The comparison as one page that needs nothing else: no script, no font, no network.

`material` reads what the cells left, the modules of sections turn it into HTML, `axes` and `charts`
draw, and `markup` lets no text through unescaped.
"""

from pathlib import Path

from mini_lima.files import write_text
from mini_lima.report.comparison import Comparison
from mini_lima.report.page import answers, diagnostics, length, results, setup
from mini_lima.report.page.markup import Html, element
from mini_lima.report.page.material import ReportData, gather
from mini_lima.report.page.style import STYLE

NOTHING_FROM_ELSEWHERE = "default-src 'none'; style-src 'unsafe-inline'"
SECTIONS = {
    "win-rates": ("Win rates", results.win_rates),
    "measures": ("Other measures", results.measured),
    "contrasts": ("Contrasts", results.contrasts),
    "length": ("Win rate and length", length.rate_and_length),
    "lengths": ("Lengths", length.lengths),
    "training": ("Training", diagnostics.training),
    "judging": ("Order and failures", diagnostics.judging),
    "health": ("Health", diagnostics.health),
    "data": ("Data", setup.data),
    "cost": ("Cost and time", setup.cost),
    "answers": ("Answers", answers.answers),
    "configuration": ("Configuration", setup.configuration),
    "provenance": ("Provenance", setup.provenance),
}


def write_page(folder: Path, comparison: Comparison) -> None:
    """Write ``report.html`` with what the store has about the cells of ``comparison``."""
    write_text(folder / "report.html", as_page(gather(comparison)))


def as_page(material: ReportData) -> str:
    """Return the document."""
    title = "Mini-LIMA: " + ", ".join(material.comparison.rows)
    links = [element("a", name, href=f"#{anchor}") for anchor, (name, _) in SECTIONS.items()]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=NOTHING_FROM_ELSEWHERE),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title[:200]),
        element("style", Html(STYLE)),
    )
    body = element(
        "body",
        results.summary(material),
        element("nav", *links, aria_label="Sections"),
        element("main", *(show(material) for _, show in SECTIONS.values())),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
