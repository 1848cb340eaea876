"""What the models answered, side by side, and what the annotator made of it: a row per instruction.

An instruction has several verdicts (both orders, repeats); a row shows their mean, as a share of
wins in percent, which is what the win rate is the mean of, and in words each of them by where the
model's answer stood, for an annotator that prefers a place is seen there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

WORDS: Mapping[float | None, str] = {1.0: "lost", 1.5: "tie", 2.0: "won", None: "failed"}


def table(annotations: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return the ``columns`` and ``rows`` of the table.

    Args:
        annotations: Rows of annotations.json of each model, in one order of instructions.
    """
    columns = ["instruction", "reference"]
    rows: dict[str, list[Any]] = {}
    for which, verdicts in annotations.items():
        figures = ("answer", "win %", "verdicts", "failed", "when first", "when second")
        columns += [f"{which} {figure}" for figure in figures]
        for instruction, own in _by_instruction(verdicts).items():
            read = [each["preference"] for each in own if each["preference"] is not None]
            won = 100 * (sum(read) / len(read) - 1) if read else None
            row = rows.setdefault(instruction, [instruction, own[0]["output_1"]])
            row += [own[0]["output_2"], won, len(read), len(own) - len(read)]
            row += [_in_words(own, model_first) for model_first in (True, False)]
    assert all(len(row) == len(columns) for row in rows.values())
    return {"columns": columns, "rows": list(rows.values())}


def _in_words(verdicts: Sequence[dict[str, Any]], model_first: bool) -> str:
    """Each verdict in that order; a preference between lost and won as the share that was won."""
    found = [each["preference"] for each in verdicts if each["model_first"] is model_first]
    return ", ".join(WORDS.get(one) or f"{100 * (one - 1):.0f} %" for one in found)


def _by_instruction(verdicts: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in verdicts:
        found.setdefault(each["instruction"], []).append(each)
    return found
