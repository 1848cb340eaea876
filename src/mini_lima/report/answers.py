"""What the models answered, side by side, and what the annotator made of it: a row per instruction.

An instruction has several verdicts (both orders, repeats); a row shows their mean, as a share of
wins in percent, which is what the win rate is the mean of.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def table(annotations: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return the ``columns`` and ``rows`` of the table.

    Args:
        annotations: Rows of annotations.json of each model, in one order of instructions.
    """
    columns = ["instruction", "reference"]
    rows: dict[str, list[Any]] = {}
    for which, verdicts in annotations.items():
        columns += [f"{which} answer", f"{which} win %", f"{which} verdicts", f"{which} failed"]
        for instruction, own in _by_instruction(verdicts).items():
            read = [each["preference"] for each in own if each["preference"] is not None]
            won = 100 * (sum(read) / len(read) - 1) if read else None
            row = rows.setdefault(instruction, [instruction, own[0]["output_1"]])
            row += [own[0]["output_2"], won, len(read), len(own) - len(read)]
    assert all(len(row) == len(columns) for row in rows.values())
    return {"columns": columns, "rows": list(rows.values())}


def _by_instruction(verdicts: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in verdicts:
        found.setdefault(each["instruction"], []).append(each)
    return found
