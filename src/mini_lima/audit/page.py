"""An audit as one page that needs nothing else: no script, no font, no network.

Everything that comes from a folder is escaped. The one picture is a forest plot: the win rate with
its interval, and below it that of every part of the verdicts that should not differ.
"""

from collections.abc import Sequence
from html import escape

from mini_lima.audit.findings import (
    Finding,
    Rate,
    Section,
    findings,
    rates,
    sections,
    spread_findings,
    spread_section,
    title,
)
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0;
  --paper: #fff; --mark: #0b62c4; --alarm: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --paper: #0d1117; --mark: #6cb0ff; --alarm: #ff8a80; } }
body { margin: 2rem auto; max-width: 52rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
.soft, th { color: var(--soft); } ul { padding-left: 1.2rem; }
.alarm { color: var(--alarm); list-style-type: "! "; }
table { border-collapse: collapse; width: 100%; } td, th { padding: .25rem .75rem .25rem 0;
  text-align: left; font-weight: normal; border-bottom: 1px solid var(--line); }
th { width: 40%; } .plot { overflow-x: auto; }
svg { width: 100%; min-width: 36rem; height: auto; }
svg text { fill: var(--ink); font-size: 13px; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
svg .bar { stroke: var(--mark); stroke-width: 3; } svg circle { fill: var(--mark); }
"""

LABELS, PLOT, FIGURES, ROW, TOP = 270, 400, 170, 26, 22


def as_page(audits: Sequence[Audit], spread: Spread | None) -> str:
    """Return the HTML of all audits, and of what several runs say together."""
    blocks = [_spread(spread)] if spread is not None else []
    blocks += [_audit(audit) for audit in audits]
    name = "Audit of " + ", ".join(audit.folder for audit in audits)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(name)}</h1>\n" + "\n".join(blocks) + "\n</body>\n</html>\n"
    )


def _spread(spread: Spread) -> str:
    rates = [Rate(n, r) for n, r in zip(spread.runs, spread.win_rates, strict=True)]
    return "\n".join(
        [
            "<h2>The runs together</h2>",
            _forest(rates, "Win rates of the runs"),
            _findings(spread_findings(spread)),
            _section(spread_section(spread)),
        ]
    )


def _audit(audit: Audit) -> str:
    return "\n".join(
        [
            f"<h2>{escape(audit.folder)}</h2>",
            f'<p class="soft">{escape(title(audit))}</p>',
            _forest(rates(audit), f"Win rates of {audit.model}"),
            _findings(findings(audit)),
            *(_section(section) for section in sections(audit)),
        ]
    )


def _findings(found: Sequence[Finding]) -> str:
    items = [f'<li class="{finding.level}">{escape(finding.text)}</li>' for finding in found]
    return f"<ul>{''.join(items)}</ul>"


def _section(section: Section) -> str:
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in section.rows
    ]
    return f"<h3>{escape(section.title)}</h3>\n<table>{''.join(rows)}</table>"


def _forest(rates: Sequence[Rate], label: str) -> str:
    """Draw win rates with their intervals on an axis from 0 to the next ten above them."""
    ends = [rate.found.high or rate.found.win_rate or 0 for rate in rates]
    top = min(100, 10 * int(max(ends) // 10 + 1))
    height = TOP + ROW * len(rates) + TOP

    def x(percent: float) -> float:
        return LABELS + PLOT * percent / top

    parts = []
    for tick in range(0, top + 1, 10 if top <= 60 else 20):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" '
            f'y2="{height - TOP}" stroke="currentColor"/><text class="soft" x="{x(tick):.1f}" '
            f'y="{height - 5}" text-anchor="middle">{tick}%</text>'
        )
    for number, rate in enumerate(rates):
        found, y = rate.found, TOP + ROW * (number + 0.5)
        figure = "–" if found.win_rate is None else f"{found.win_rate:.1f}% of {found.n_total}"
        parts.append(f'<text x="0" y="{y + 4:.1f}">{escape(_fitting(rate.name))}</text>')
        parts.append(f'<text class="soft" x="{LABELS + PLOT + 16}" y="{y + 4:.1f}">{figure}</text>')
        if found.low is not None and found.high is not None:
            parts.append(
                f'<line class="bar" x1="{x(found.low):.1f}" x2="{x(found.high):.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor"/>'
            )
        if found.win_rate is not None:
            parts.append(f'<circle cx="{x(found.win_rate):.1f}" cy="{y:.1f}" r="5"/>')
    return (
        f'<div class="plot"><svg role="img" aria-label="{escape(label)}" '
        f'viewBox="0 0 {LABELS + PLOT + FIGURES} {height}">{"".join(parts)}</svg></div>'
    )


def _fitting(name: str) -> str:
    """Cut off the beginning of a name that is too wide for its column."""
    widths = [
        13 if ord(each) > 0x2E7F or each in "MW@" else 9 if each.isupper() else 8 for each in name
    ]
    shown = len(name)
    while sum(widths[len(name) - shown :]) > LABELS:
        shown -= 1
    return name if shown == len(name) else f"…{name[len(name) - shown + 1 :]}"
