"""Contrasts as a configuration declares them: ``a - b``, or ``(a - b) - (c - d)``, by arm names.

``baseline`` is the untuned model. The minus stands between spaces, for an arm's name may have one
in it. Which arms there are is known to a sweep alone: `unknown` is asked there.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from mini_lima.errors import UserError, listed
from mini_lima.results import BASELINE

_NAME = r"([^\s()]+)"
_PAIR = rf"\s*{_NAME}\s+[-−]\s+{_NAME}\s*"
_DIFFERENCE = re.compile(_PAIR)
_INTERACTION = re.compile(rf"\s*\({_PAIR}\)\s*[-−]\s*\({_PAIR}\)\s*")


@dataclass(frozen=True)
class Declared:
    """A contrast within one row of the table.

    Attributes:
        kind: As `mini_lima.results.Contrast` has it.
        name: What minus what.
        terms: Arms with their signs, or their weights where an arm occurs twice.
    """

    kind: Literal["sft", "data", "interaction"]
    name: str
    terms: dict[str, int]


def difference(one: str, other: str) -> Declared:
    """Return the contrast of two arms, of which one may be the baseline."""
    kind: Literal["sft", "data"] = "sft" if BASELINE in (one, other) else "data"
    return Declared(kind, f"{one} − {other}", {one: 1, other: -1})


def parse(text: str) -> Declared:
    """Read one declaration.

    Raises:
        UserError: it is none, or its arms cancel out.
    """
    if found := _DIFFERENCE.fullmatch(text):
        one, other = found.groups()
        if one == other:
            raise UserError(f"contrasts: {text!r}: {one} minus itself is nothing")
        return difference(one, other)
    if not (found := _INTERACTION.fullmatch(text)):
        raise UserError(
            f"contrasts: {text!r}: write arm - arm, or (arm - arm) - (arm - arm), with spaces"
            f" around the minus; {BASELINE} is the untuned model"
        )
    a, b, c, d = found.groups()
    terms = Counter({a: 0, b: 0, c: 0, d: 0})
    for arm, sign in ((a, 1), (b, -1), (c, -1), (d, 1)):
        terms[arm] += sign
    left = {arm: sign for arm, sign in terms.items() if sign}
    if a == b or c == d or len(left) < 3:
        shorter = " - ".join(sorted(left, key=lambda arm: -left[arm]))
        raise UserError(
            f"contrasts: {text!r}: "
            + (f"is the same as {shorter}: write that" if shorter else "comes to nothing")
        )
    return Declared("interaction", f"({a} − {b}) − ({c} − {d})", left)


def unknown(contrasts: Iterable[str], arms: Collection[str]) -> list[str]:
    """Return a line for each contrast that names what is not among ``arms``."""
    known = {*arms, BASELINE}
    lines = []
    for text in contrasts:
        for arm in parse(text).terms:
            if arm not in known:
                near = get_close_matches(arm, known, 1)
                perhaps = (
                    f"did you mean {near[0]}?"
                    if near
                    else f"there are {', '.join(listed(list(arms)))}"
                )
                lines.append(f"contrasts: {text!r}: there is no arm {arm}; {perhaps}")
    return lines
