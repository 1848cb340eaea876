"""ROUGE-L between texts, fast enough to compare every new instruction with all earlier ones.

Source: Lin 2004, *ROUGE*; Self-Instruct (Wang et al. 2022, section 2.2) keeps an instruction only
if its ROUGE-L with every other one is below 0.7. The F1 of the longest common subsequence of two
token lists is 2·LCS / (n + m), which is what rapidfuzz calls the normalised Indel similarity; it is
fastest over strings, so each distinct token stands for one character.
"""

import re
import sys
from collections.abc import Iterable
from functools import lru_cache

ALIKE = 0.7
"""ROUGE-L (F1) above which two texts count as near-duplicates."""
EAST_ASIAN = r"\u3040-\u30ff\u3400-\u9fff"
TOKEN = re.compile(rf"[{EAST_ASIAN}]|[^\W{EAST_ASIAN}]+")
"""A word, or a character of a script that puts no spaces between words."""

_codes: dict[str, str] = {}


def rouge_l(one: str, other: str) -> float:
    """Return the F1 of ROUGE-L over lower-case words, between 0 and 1; 0 if a text has no word."""
    from rapidfuzz.distance import Indel

    first, second = _characters(one), _characters(other)
    return Indel.normalized_similarity(first, second) if first and second else 0.0


def alike(text: str, others: Iterable[str]) -> str | None:
    """Return the first and most similar of ``others`` if its ROUGE-L with ``text`` is above 0.7."""
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    told = list(others)
    query = _characters(text)
    if not query:
        return None
    best = process.extractOne(
        query, map(_characters, told), scorer=Indel.normalized_similarity, score_cutoff=ALIKE
    )
    # The cutoff lets 0.7 itself pass, and floating point a little below it.
    return told[best[2]] if best and round(best[1], 9) > ALIKE else None


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case."""
    return TOKEN.findall(text.casefold())


@lru_cache(maxsize=100_000)
def _characters(text: str) -> str:
    """Write ``text`` with one character per token."""
    return "".join(_codes.setdefault(t, chr(len(_codes) % sys.maxunicode)) for t in words(text))
