"""Up to 20 instructions with all answers side by side and what the annotator said of each.

The instructions are spread evenly over the evaluation set and not chosen by anybody. Long answers
are cut so that a sweep of many cells still makes a page of less than two megabytes.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from mini_lima.report.page.axes import fitting
from mini_lima.report.page.markup import (
    Html,
    element,
    folded,
    missing,
    note,
    section,
    text,
    together,
)
from mini_lima.report.page.material import Evaluated, ReportData

MOST = 20
MOST_ROWS = 8
LONGEST = 1500
SUMMARY = 110
BUDGET = 700_000
"""Bytes for all answers together, as they are written."""
WORDS: Mapping[float, tuple[str, str | None]] = {
    1.0: ("loses", "bad"),
    1.5: ("tie", None),
    2.0: ("wins", "good"),
}


def answers(material: ReportData) -> Html:
    """Return the section."""
    judged = _of_first_seeds([each for each in material.evaluated if each.verdicts])
    title = "Answers side by side"
    if not judged:
        return section("answers", title, missing("No verdicts are to be had."))
    rows = list(dict.fromkeys(each.row for each in judged))[:MOST_ROWS]
    shown = [each for each in judged if each.row in rows]
    verdicts = [_by_instruction(each) for each in shown]
    asked = spread(list(dict.fromkeys(row["instruction"] for row in judged[0].verdicts)))
    most = BUDGET // (len(asked) * (len(shown) + len(rows) + 1))
    parts: list[Html] = [
        note(
            f"{len(asked)} instructions, evenly spread over the evaluation set. A verdict is on the"
            " model's answer against the reference, by the first annotator where there are several;"
            " first and second say where the model's answer stood."
            + (" Of several training seeds, the first has written them." if _seeded(judged) else "")
        )
    ]
    if len(rows) < len({each.row for each in judged}):
        parts.append(missing(f"Only the first {len(rows)} rows of the table are shown."))
    for instruction in asked:
        reference = next(
            (found[instruction][0]["output_1"] for found in verdicts if instruction in found), ""
        )
        blocks = [element("div", cut(instruction, most), class_="text", dir="auto")]
        pairs = zip(shown, verdicts, strict=True)
        for row, group in groupby(pairs, key=lambda pair: pair[0].row):
            cards = [_answer(each, found.get(instruction, []), most) for each, found in group]
            cards.append(_card("reference", "", reference, "", most))
            blocks += [
                element("h3", fitting(row, SUMMARY)),
                element("div", *cards, class_="answers"),
            ]
        parts.append(folded(fitting(" ".join(instruction.split()), SUMMARY), *blocks))
    return section("answers", title, *parts)


def _of_first_seeds(judged: Sequence[Evaluated]) -> list[Evaluated]:
    first: dict[tuple[str, str], Evaluated] = {}
    for each in judged:
        first.setdefault((each.row, each.column), each)
    return [*first.values()]


def _seeded(judged: Sequence[Evaluated]) -> bool:
    return any(each.seed is not None for each in judged)


def spread(instructions: Sequence[str]) -> list[str]:
    """Return at most 20 of ``instructions``, at even distances from the first on."""
    if len(instructions) <= MOST:
        return list(instructions)
    return [instructions[number * len(instructions) // MOST] for number in range(MOST)]


def verdict(row: Mapping[str, Any]) -> Html:
    """Return what the annotator said, with the place of the model's answer where it is known."""
    preference = row.get("preference")
    look: str | None = None
    if preference is None:
        words, look = f"failed ({row.get('failure') or 'no verdict'})", "bad"
    elif preference in WORDS:
        words, look = WORDS[preference]
    else:  # an annotator that weighs: 1 is the reference, 2 the model
        words = f"{'wins' if preference > 1.5 else 'loses'} ({preference - 1:.0%})"
    first = row.get("model_first")
    place = "" if first is None else f"{'first' if first else 'second'}: "
    return together([place, element("span", words, class_=look)])


def cut(answer: str, most: int) -> Html:
    """Return ``answer`` in at most about ``most`` bytes of markup, and say what was left out."""
    kept = answer[:LONGEST]
    while len(text(kept).encode()) > most:
        kept = kept[: int(len(kept) * 0.8)]
    if len(kept) == len(answer):
        return text(answer)
    return text(f"{kept} … ({len(answer):,} characters)")


def _by_instruction(each: Evaluated) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in each.verdicts:
        found.setdefault(row["instruction"], []).append(row)
    return found


def _answer(each: Evaluated, rows: Sequence[Mapping[str, Any]], most: int) -> Html:
    if not rows:
        return element(
            "div", element("strong", each.column), missing("not judged"), class_="answer"
        )
    said = together((verdict(row) for row in rows[:6]), " · ")
    return _card(each.column, said, rows[0]["output_2"], each.column, most)


def _card(name: str, said: object, answer: str, look: str, most: int) -> Html:
    shown = cut(answer, most) if answer.strip() else missing("(empty)")
    return element(
        "div",
        element("strong", name),
        element("div", said, class_="soft"),
        element("div", shown, class_="text", dir="auto"),
        class_=f"answer {look}".strip(),
    )
