"""An audit as text for a terminal."""

from collections.abc import Sequence

from mini_lima.audit import words
from mini_lima.audit.findings import Finding, findings, spread_findings
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit

MARKS = {"alarm": "!", "note": "-"}


def as_text(audits: Sequence[Audit], spread: Spread | None) -> str:
    """Return all audits, one below the other, then what several runs say together."""
    blocks = [_audit(audit) for audit in audits]
    if spread is not None:
        found = [words.Rate(n, r) for n, r in zip(spread.runs, spread.win_rates, strict=True)]
        blocks.append(
            "\n".join(
                [
                    f"{len(spread.runs)} runs of the same outputs",
                    *_rates(found),
                    "",
                    *_findings(spread_findings(spread)),
                    *_section(words.spread_section(spread)),
                ]
            )
        )
    return "\n\n".join(blocks)


def _audit(audit: Audit) -> str:
    lines = [f"{audit.folder}: {words.title(audit)}", *_rates(words.rates(audit)), ""]
    lines += _findings(findings(audit))
    for section in words.sections(audit):
        lines += _section(section)
    return "\n".join(lines)


def _rates(rates: Sequence[words.Rate]) -> list[str]:
    width = max(len(rate.name) for rate in rates)
    lines = []
    for rate in rates:
        found = rate.found
        figure = "    –" if found.win_rate is None else f"{found.win_rate:6.2f}%"
        interval = "" if found.low is None else f"[{found.low:.1f}, {found.high:.1f}]"
        lines.append(f"  {rate.name:{width}} {figure} {interval:14} of {found.n_total}".rstrip())
    return lines


def _findings(found: Sequence[Finding]) -> list[str]:
    return [f"{MARKS[finding.level]} {finding.text}" for finding in found]


def _section(section: words.Section) -> list[str]:
    width = max((len(name) for name, _ in section.rows), default=0)
    return ["", section.title, *(f"  {name:{width}}  {text}" for name, text in section.rows)]
