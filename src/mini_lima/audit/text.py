"""An audit as text for a terminal, and as a JSON document for programs.

The document has every figure with its full digits, and the findings beside it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

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

MARKS = {"alarm": "!", "note": "-"}


def as_text(audits: Sequence[Audit], spread: Spread | None) -> str:
    """Return all audits, one below the other, then what several runs say together."""
    blocks = [_audit(audit) for audit in audits]
    if spread is not None:
        found = [Rate(n, r) for n, r in zip(spread.runs, spread.win_rates, strict=True)]
        blocks.append(
            "\n".join(
                [
                    f"{len(spread.runs)} runs of the same outputs",
                    *_rates(found),
                    "",
                    *_findings(spread_findings(spread)),
                    *_section(spread_section(spread)),
                ]
            )
        )
    return "\n\n".join(blocks)


def _audit(audit: Audit) -> str:
    lines = [f"{audit.folder}: {title(audit)}", *_rates(rates(audit)), ""]
    lines += _findings(findings(audit))
    for section in sections(audit):
        lines += _section(section)
    return "\n".join(lines)


def _rates(rates: Sequence[Rate]) -> list[str]:
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


def _section(section: Section) -> list[str]:
    width = max((len(name) for name, _ in section.rows), default=0)
    return ["", section.title, *(f"  {name:{width}}  {text}" for name, text in section.rows)]


def as_document(audits: Sequence[Audit], spread: Spread | None) -> dict[str, Any]:
    """Return ``audits``, one per folder, and ``spread``, None for a single folder."""
    return {
        "audits": [
            {**asdict(audit), "findings": [asdict(found) for found in findings(audit)]}
            for audit in audits
        ],
        "spread": None
        if spread is None
        else {**asdict(spread), "findings": [asdict(found) for found in spread_findings(spread)]},
    }
