"""What the models answered, side by side, and what the annotator made of it: a row per instruction.

An instruction has several verdicts (both orders, repeats); a row shows their mean, as a share of
wins in percent, which is what the win rate is the mean of, and in words each of them by where the
model's answer stood, for an annotator that prefers a place is seen there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Verdicts = Sequence[Mapping[str, Any]]
"""Rows of annotations.json."""


def table(annotations: Mapping[str, Verdicts]) -> dict[str, Any]:
    """Return the ``columns`` and ``rows`` of the table.

    Args:
        annotations: Verdicts on each model, in one order of instructions.
    """
    columns = ["instruction", "reference"]
    rows: dict[str, list[Any]] = {}
    for which, verdicts in annotations.items():
        figures = ("answer", "win %", "verdicts", "failed", "when first", "when second")
        columns += [f"{which} {figure}" for figure in figures]
        for instruction, own in by_instruction(verdicts).items():
            read = [each["preference"] for each in own if each["preference"] is not None]
            won = 100 * (sum(read) / len(read) - 1) if read else None
            row = rows.setdefault(instruction, [instruction, own[0]["output_1"]])
            row += [own[0]["output_2"], won, len(read), len(own) - len(read)]
            for first in (True, False):
                found = [each["preference"] for each in own if each["model_first"] is first]
                row.append(", ".join(map(in_words, found)))
    assert all(len(row) == len(columns) for row in rows.values())
    return {"columns": columns, "rows": list(rows.values())}


def in_words(preference: float | None) -> str:
    """Return a verdict on the model's answer; between lost and won, the share that was won."""
    words = {None: "failed", 1.0: "lost", 1.5: "tie", 2.0: "won"}
    return words.get(preference) or f"{100 * ((preference or 0) - 1):.0f} %"


def by_instruction(verdicts: Verdicts) -> dict[str, list[Mapping[str, Any]]]:
    """Return the verdicts on each instruction."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for each in verdicts:
        found.setdefault(each["instruction"], []).append(each)
    return found
