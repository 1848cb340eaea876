"""The page of an audit needs nothing else, and escapes what it shows."""

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from tests.audit.audited import folders

from mini_lima.audit.page import as_page
from mini_lima.audit.several import spread
from mini_lima.audit.single import audit


class Page(HTMLParser):
    """Collects the tags of a page, and whatever would make it fetch something."""

    def __init__(self):
        super().__init__()
        self.tags, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_is_self_contained_escaped_and_has_both_schemes(runs):
    read = folders(runs, "a", "b")
    shown = as_page([audit(f, samples=50) for f in read], spread(read, samples=50))
    page = Page()
    page.feed(shown)
    assert "script" not in page.tags
    assert "&lt;script&gt;" in shown
    assert page.fetched == []
    assert "url(" not in shown
    assert "@import" not in shown
    assert "prefers-color-scheme: dark" in shown
    pictures = re.findall(r"<svg.*?</svg>", shown, flags=re.S)
    assert len(pictures) == 3
    for picture in pictures:
        drawn = ElementTree.fromstring(picture)
        width = float(drawn.get("viewBox").split()[2])
        places = [float(line.get(end)) for line in drawn.iter("line") for end in ("x1", "x2")]
        assert places
        assert all(0 <= place <= width for place in places)


@pytest.mark.parametrize("name", ["W" * 60, "results/" * 20, "模型" * 30, "i" * 300])
def test_long_names_end_where_the_plot_begins(runs, name):
    (read,) = folders(runs, "a")
    several = dataclasses.replace(spread([read, read], samples=50), runs=[name, "short"])
    shown = as_page([], several)
    (cut, whole) = re.findall(r'<text x="0"[^>]*>(.*?)</text>', shown)
    assert whole == "short"
    assert cut.startswith("…")
    assert cut[1:]
    assert name.endswith(cut[1:])
    assert len(cut) <= 34
