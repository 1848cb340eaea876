"""An audit as a JSON document: every figure with its full digits, and the findings beside it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mini_lima.audit.findings import findings, spread_findings
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit


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
