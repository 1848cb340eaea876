"""An audit as one page that needs nothing else: no script, no font, no network.

The one picture is a forest plot: the win rate with its interval, and below it that of every part of
the verdicts that should not differ.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mini_lima.audit import findings as said
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit
from mini_lima.report.charts import Interval, fitting, intervals
from mini_lima.report.figures import Table, figure
from mini_lima.report.html import render


@dataclass(frozen=True)
class Block:
    """A part of the page: of one folder, or of several runs together."""

    title: str
    about: str
    picture: Markup
    findings: Sequence[said.Finding]
    sections: Sequence[Table]


def as_page(audits: Sequence[Audit], spread: Spread | None) -> str:
    """Return the HTML of all audits, and of what several runs say together."""
    blocks = [
        _block(
            audit.folder,
            said.title(audit),
            said.rates(audit),
            said.findings(audit),
            said.sections(audit),
        )
        for audit in audits
    ]
    if spread is not None:
        runs = zip(spread.runs, spread.win_rates, strict=True)
        rates = [said.Rate(name, found) for name, found in runs]
        found = said.spread_findings(spread), [said.spread_section(spread)]
        blocks.insert(0, _block("The runs together", "Win rates of the runs", rates, *found))
    return render("audit.html", folders=[audit.folder for audit in audits], blocks=blocks)


def _block(
    title: str,
    about: str,
    rates: Sequence[said.Rate],
    findings: Sequence[said.Finding],
    sections: Sequence[said.Section],
) -> Block:
    groups: dict[str, list[Interval]] = defaultdict(list)
    for rate in rates:
        found = rate.found
        shown = "–" if found.win_rate is None else f"{figure(found.win_rate)}%"
        ends = found.win_rate, found.low, found.high
        name = fitting(rate.name[::-1], 46)[::-1]  # of a path, the end says more
        groups[name].append(Interval(f"of {found.n_total}", "improved", *ends, shown))
    picture = intervals(groups, f"Win rates: {title}", "win rate, %")
    tables = [Table(each.title, ["figure", "found"], each.rows) for each in sections]
    return Block(title, about, picture, findings, tables)
