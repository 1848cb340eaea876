"""Who was shown first, in a folder that does not say so.

alpaca_eval seeds the order by the instruction, so it can be drawn again; and a raw completion names
a place ("Output (a)"), which together with the preference says who stood there. The one is checked
against the other. A folder whose completions contradict the seed was made with another seed, or
with no shuffling at all; one that has hardly any is taken to have the library's default seed, and
the audit says that this is assumed.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mini_lima.audit.folder import Folder, Row
from mini_lima.evaluation.annotation import model_stands_first

Source = Literal["given", "seed", "not shuffled", "read", "assumed", "unknown"]

SEEDS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 42, 123)
"""Tried in this order. 0 is the library's default; 0 to 3 are those of its own analyses."""
AGREEING = 0.75
"""Share of the completions that have to agree: a parser misreads some, and a token that was drawn
need not be the likelier one that its weighted verdict favours."""
SURE = 4.0
"""Standard deviations by which they have to agree more often than they would by chance."""
FEW = 5
"""Completions below which nothing is confirmed."""
PLACE = re.compile(r"(?:^|\n)\W*(?:Output )?\(([ab])\)", re.IGNORECASE)
NAMED = re.compile(r"\W*Output \(([ab])\)\W*", re.IGNORECASE)
YES_OR_NO = re.compile(r"\"Output \(a\) is better than Output \(b\)\": *(true|false)")
FIRST, SECOND = ("m", "model_1", "A"), ("M", "model_2", "B")
"""How the library's prompts call the output that is shown first, and the other."""


@dataclass(frozen=True)
class Order:
    """How the order was found, and how many completions were checked against it."""

    source: Source
    seed: int | None
    n_checked: int
    n_agreeing: int


def find_order(folder: Folder) -> tuple[Order, list[Row]]:
    """Return how the order was found, and the rows with who was shown first as far as is known."""
    rows, swapped = folder.rows, folder.swapped
    given = [row.model_first for row in rows]
    told = [row.model_first for row in rows if row.preference is not None]
    if folder.is_ours or (told and None not in told):
        return Order("given", None, 0, 0), rows
    # What the library tells of some rows is evidence, as their completions are.
    seen = [_seen(row) if first is None else first for row, first in zip(rows, given, strict=True)]
    checked = sum(first is not None for first in seen)
    candidates: list[tuple[Source, int | None, list[bool | None]]] = [
        ("seed", seed, [_drawn(row.drawn_by or row.instruction, seed, swapped) for row in rows])
        for seed in SEEDS
    ]
    candidates.insert(1, ("not shuffled", None, [swapped] * len(rows)))
    for source, seed, firsts in candidates:
        agreeing = sum(a == b for a, b in zip(seen, firsts, strict=True) if a is not None)
        if _is_sure(agreeing, checked):
            return Order(source, seed, checked, agreeing), _ordered(rows, firsts)
        if seed == 0 and agreeing == checked:  # too few to tell
            source = "seed" if checked >= FEW else "assumed"
            return Order(source, seed, checked, agreeing), _ordered(rows, firsts)
    if _is_sure(checked, checked):
        return Order("read", None, checked, checked), _ordered(rows, seen)
    return Order("unknown", None, checked, 0), _ordered(rows, [None] * len(rows))


def _ordered(rows: Sequence[Row], firsts: Sequence[bool | None]) -> list[Row]:
    return [replace(row, model_first=first) for row, first in zip(rows, firsts, strict=True)]


def preferred_place(raw: object) -> int | None:
    """Return which of the places a raw completion prefers, 1 or 2, if it is of a known form.

    Known are "Output (a)", ranked models as a list, object or JSON text, a single token with or
    without its log probabilities, and the arguments of a function. One that names several places is
    about several pairs, or was not read by the library either.
    """
    if isinstance(raw, str):
        return _place_in_text(raw)
    if isinstance(raw, dict):
        if "ordered_models" in raw:
            return preferred_place(raw["ordered_models"])
        if isinstance(raw.get("best_output"), str):
            found = NAMED.fullmatch(raw["best_output"])
            return "ab".index(found[1].lower()) + 1 if found else None
        if place := _likelier(raw.get("logprobs")):
            return place
        message = raw.get("message")
        text = message.get("content") if isinstance(message, dict) else None
        return preferred_place(text) if isinstance(text, str) else None
    if isinstance(raw, list):
        best = [m for m in raw if isinstance(m, dict) and str(m.get("rank")) == "1"]
        return preferred_place(str(best[0].get("model"))) if len(best) == 1 else None
    return None


def _is_sure(agreeing: int, checked: int) -> bool:
    """Whether so many of the completions agree with an order that it is no accident."""
    enough = 2 * agreeing - checked >= SURE * math.sqrt(checked)
    return checked > 0 and agreeing >= AGREEING * checked and enough


def _place_in_text(raw: str) -> int | None:
    answers = YES_OR_NO.findall(raw)
    named = ["a" if answer == "true" else "b" for answer in answers] or PLACE.findall(raw)
    if named:
        return "ab".index(named[0].lower()) + 1 if len(named) == 1 else None
    raw = raw.strip()
    for text in (raw, raw.replace("'", '"')) if raw[:1] in ("{", "[") else ():
        try:
            return preferred_place(json.loads(text))
        except (ValueError, RecursionError):
            continue
    return 1 if raw in FIRST else 2 if raw in SECOND else None


def _likelier(logprobs: object) -> int | None:
    """Return the place that the last token with an answer gives more probability to."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in reversed(content if isinstance(content, list) else []):
        alternatives = token.get("top_logprobs") if isinstance(token, dict) else None
        known = [
            (each["logprob"], each["token"])
            for each in (alternatives if isinstance(alternatives, list) else [])
            if isinstance(each, dict)
            and isinstance(each.get("logprob"), int | float)
            and each.get("token") in (*FIRST, *SECOND)
        ]
        if known:
            return 1 if max(known)[1] in FIRST else 2
    return None


def _seen(row: Row) -> bool | None:
    """Tell from the verdict and its words whether the model stood first."""
    verdict, place = row.preference, preferred_place(row.raw_completion)
    if verdict is None or verdict == 1.5 or place is None:
        return None
    return bool((verdict > 1.5) == (place == 1))


def _drawn(instruction: str, seed: int, swapped: bool) -> bool | None:
    try:
        return model_stands_first(instruction, seed) != swapped
    except UnicodeEncodeError:  # half a surrogate pair, for which the library has no order either
        return None
