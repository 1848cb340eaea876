"""The comparison as one page that needs nothing else: no script, no font, no network.

`data` reads what the cells left in the store, `tables`, `pictures` and `answers` lay parts of it
out, and the template report.html says where they stand and what is said of them.
"""

from pathlib import Path

from mini_lima.files import write_text
from mini_lima.report.comparison import Comparison
from mini_lima.report.html import render
from mini_lima.report.page import answers, pictures, tables
from mini_lima.report.page.data import ReportData, gather


def write_page(folder: Path, comparison: Comparison) -> None:
    """Write ``report.html`` with what the store has about the cells of ``comparison``."""
    write_text(folder / "report.html", as_page(gather(comparison)))


def as_page(data: ReportData) -> str:
    """Return the document."""
    return render(
        "report.html",
        data=data,
        comparison=data.comparison,
        tables=tables,
        pictures=pictures,
        answers=answers.shown(data),
    )
