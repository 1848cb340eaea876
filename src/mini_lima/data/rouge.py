"""ROUGE-L between texts, fast enough to compare every new instruction with all earlier ones.

Source: Lin 2004, *ROUGE*; Self-Instruct (Wang et al. 2022, section 2.2) keeps an instruction only
if its ROUGE-L with every other one is below 0.7. The F1 of the longest common subsequence of two
lists of words is 2·LCS / (n + m), which is what rapidfuzz calls the normalised Indel similarity.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALIKE = 0.7
"""ROUGE-L (F1) above which two texts count as near-duplicates."""
EAST_ASIAN = r"\u3040-\u30ff\u3400-\u9fff"
WORD = re.compile(rf"[{EAST_ASIAN}]|[^\W{EAST_ASIAN}]+")
"""A word, or a character of a script that puts no spaces between words."""


def words(text: str) -> list[str]:
    """Return the words of ``text`` in lower case."""
    return WORD.findall(text.casefold())


def rouge_l(one: str, other: str) -> float:
    """Return the F1 of ROUGE-L over lower-case words, between 0 and 1; 0 if a text has no word."""
    from rapidfuzz.distance import Indel

    first, second = words(one), words(other)
    return Indel.normalized_similarity(first, second) if first and second else 0.0


def alike(text: str, others: Iterable[str]) -> str | None:
    """Return the first and most similar of ``others`` if its ROUGE-L with ``text`` is above 0.7."""
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    told = list(others)
    query = words(text)
    if not query:
        return None
    best = process.extractOne(
        query, map(_words_once, told), scorer=Indel.normalized_similarity, score_cutoff=ALIKE
    )
    # The cutoff lets 0.7 itself pass, and floating point a little below it.
    return told[best[2]] if best and round(best[1], 9) > ALIKE else None


_words_once = lru_cache(maxsize=10_000)(words)


def rouge_l_of_all(
    some: Sequence[Sequence[str]], others: Sequence[Sequence[str]], at_least: float = 0.0
) -> "NDArray[np.float64]":
    """Return ROUGE-L of each of ``some`` with each of ``others``, shape (some, others).

    Args:
        some: Texts as `words`, none without any.
        others: The same.
        at_least: A score below it is 0.
    """
    import numpy as np
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    codes: dict[str, str] = {}

    def spelled(told: Sequence[str]) -> str:
        """One character per word: strings are compared ten times as fast as lists."""
        return "".join(codes.setdefault(word, chr(len(codes))) for word in told)

    return process.cdist(
        [spelled(each) for each in some],
        [spelled(each) for each in others],
        scorer=Indel.normalized_similarity,
        score_cutoff=at_least,
        dtype=np.float64,
        workers=-1,
    )
