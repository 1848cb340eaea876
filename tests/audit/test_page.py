"""The page of an audit needs nothing else, and escapes what it shows."""

from html.parser import HTMLParser

from mini_lima.audit.page import as_page
from mini_lima.audit.several import spread
from mini_lima.audit.single import audit
from tests.audit.audited import folders


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
    assert {address[0] for address in page.fetched} == {"#"}, "markers of its own pictures"
    assert "url(" not in shown
    assert "@import" not in shown
    assert "prefers-color-scheme: dark" in shown
    assert shown.count("<svg ") == 3
