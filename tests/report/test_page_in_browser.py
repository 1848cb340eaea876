"""The page as a browser shows it: nothing runs off its side, and nothing fails in it.

One start of Chromium shows the page at both widths, and beside it a page that is known to be too
wide and to fail: a test that would miss both says nothing about the first.
"""

import json
import re
import shutil
import subprocess

import pytest

from mini_lima.experiment.sweep import compare
from mini_lima.report.page import write_page
from tests.report import finished

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (1280, 390)
FRAMES = """<!doctype html><body><script>
const found = {};
for (const [name, width] of PAGES) {
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 900;
  frame.style.border = 0;
  frame.src = name;
  frame.onload = () => {
    const inside = frame.contentDocument;
    inside.querySelectorAll("details").forEach(each => each.open = true);
    const page = inside.documentElement;
    found[[name, width]] = [page.scrollWidth, page.clientWidth, page.scrollHeight];
    document.title = JSON.stringify(found);
  };
  document.body.append(frame);
}
</script></body>"""
WIDE = (
    "<!doctype html><div style='width: 2000px'>wide</div><script>console.error('it fails')</script>"
)


@pytest.fixture(scope="module")
def browser():
    """One that starts: a distribution's placeholder for one that is not installed does not."""
    for path in filter(None, map(shutil.which, NAMES)):
        if subprocess.run([path, "--version"], capture_output=True).returncode == 0:
            return path
    pytest.skip(f"no browser is installed: {', '.join(NAMES)}")


def test_nothing_runs_off_the_side_and_nothing_fails(tmp_path, browser):
    long = "Donaudampfschifffahrtsgesellschaft" * 20
    sweep = finished.build(tmp_path, ("qwen-0.5b", long[:100]), seeds=(1, 2))
    finished.with_every_text(tmp_path, lambda value: f"{value}<script>nothing()</script>{long}")
    write_page(sweep, compare([sweep]))
    (sweep / "wide.html").write_text(WIDE)
    pages = [["report.html", width] for width in WIDTHS] + [["wide.html", 390]]
    (sweep / "frames.html").write_text(FRAMES.replace("PAGES", json.dumps(pages)))
    shown = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"),
            *("--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"),
            f"--user-data-dir={tmp_path / 'profile'}",
            (sweep / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", shown.stdout)
    assert title, shown.stdout[-2000:] + shown.stderr[-2000:]
    found = json.loads(title[1])
    for width in WIDTHS:
        scrolled, client, height = found[f"report.html,{width}"]
        assert client > width - 20
        assert scrolled <= client
        assert height > 3000
    assert found["wide.html,390"][0] >= 2000
    said = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert any("it fails" in line for line in said)
    assert [line for line in said if "wide.html" not in line] == []
