"""What of the improved data's effect is length: of the training text, or in the judge's eye.

The improved data are longer than the naive, and judges like long answers, so the difference
between the two arms says little by itself. Arms that take the same replies apart say more: improved
cut back to the naive lengths differs from naive in what is said and not in how long, and from
improved in what was cut off; halves of improved, by length or at random, have the same author. A
sentence is made of a contrast that is there, with its interval, and claims no more than the verdict
on that contrast: an interval that holds no 0 is no claim where the correction for all that was
asked takes it back.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from mini_lima.report.figures import figure, interval
from mini_lima.results import Contrast, PairedDifference

NAIVE, IMPROVED, CUT = "naive", "improved", "improved_cut"
HALVES = {
    "improved_longest": "longest",
    "improved_shortest": "shortest",
    "improved_random": "random",
}


def sentences(
    contrasts: Sequence[Contrast], only_length: Collection[str] = frozenset()
) -> list[str]:
    """Return a paragraph for each row and judge that have an arm which tells length from content.

    Args:
        contrasts: Of a comparison; those of metrics, and between rows, play no part.
        only_length: Measures of judges that look at nothing but length.
    """
    of: dict[tuple[str, str], list[Contrast]] = {}
    for each in contrasts:
        if each.judged and each.row is not None and len(each.terms) == 2:
            of.setdefault((each.row, each.measure), []).append(each)
    several = len({measure for _, measure in of}) > 1
    paragraphs = []
    for (row, measure), own in of.items():
        if told := _paragraph(own, only_length=measure in only_length):
            name = f"{row}, {measure}" if several else row
            paragraphs.append(f"Length, {name}: {' '.join(told)}")
    return paragraphs


@dataclass(frozen=True)
class _Difference:
    """One arm minus another; ``turned`` is −1 if the contrast is the other way round."""

    contrast: Contrast
    turned: int

    def __str__(self) -> str:
        """The figures with the verdict."""
        words, sign = _told(self.contrast, self.turned)
        if sign and self.contrast.verdict == "cannot tell":
            p, family = self.contrast.p_holm, self.contrast.family
            return f"{words}, cannot tell, as one of {family} contrasts (p {p:.2g})"
        return f"{words}, {('cannot tell', 'better', 'worse')[sign]}"

    @property
    def sign(self) -> int:
        """1 or −1 if the verdict says so, 0 if it may be either."""
        if self.contrast.verdict == "cannot tell":
            return 0
        return _told(self.contrast, self.turned)[1]


def _told(found: Contrast | PairedDifference, turned: int) -> tuple[str, int]:
    """Return the figures of a difference, and the sign that its interval leaves."""
    value, low, high = found.difference, found.low, found.high
    value = None if value is None else turned * value
    if turned < 0 and low is not None and high is not None:
        low, high = -high, -low
    words = f"{figure(value, sign='+')} points {interval(low, high, '+', always=True)}"
    if low is None or high is None or low <= 0 <= high:
        return words, 0
    return words, 1 if low > 0 else -1


def _paragraph(contrasts: Sequence[Contrast], *, only_length: bool) -> list[str]:
    """Return the sentences about one row; none if no arm sets length apart."""

    def between(one: str, other: str) -> _Difference | None:
        for each in contrasts:
            if each.terms.keys() == {one, other} and each.difference is not None:
                return _Difference(each, each.terms[one])
        return None

    whole, content, length = between(IMPROVED, NAIVE), between(CUT, NAIVE), between(IMPROVED, CUT)
    halves = [
        f"{HALVES[one]} − {HALVES[other]} half {found}"
        for one, other in combinations(HALVES, 2)
        if (found := between(one, other))
    ]
    if not (content or length or halves):
        return []
    told, besides = [], []
    if whole:
        told.append(f"improved − naive is {whole}.")
    if content:
        told.append(f"Content, at the naive lengths (improved_cut − naive): {content}.")
    if length:
        told.append(f"Length, of the same texts (improved − improved_cut): {length}.")
    if halves:
        told.append(f"Length, of as many examples: {'; '.join(halves)}.")
    if content or length:
        besides.append("a cut text may end in mid-air")
    if halves:
        besides.append("halves hold other instructions")
    told.append(f"Besides, {' and '.join(besides)}.")
    if only_length:
        told.append(
            "This judge looks at nothing but length: all of this is about how long the answers are."
        )
    elif whole and whole.contrast.by_length and whole.contrast.by_length.difference is not None:
        told.append(_judging_by_length(whole, whole.contrast.by_length))
    return told


def _judging_by_length(whole: _Difference, by_length: PairedDifference) -> str:
    """What a judge of length alone would have said of improved against naive."""
    words, sign = _told(by_length, whole.turned)
    judge = f"A judge that only looks at length would say {words} of improved − naive"
    if not sign:
        return f"{judge}: a liking for length alone need not favour either."
    if sign == whole.sign:
        return f"{judge}, the same way: a judge's liking for length can be behind the difference."
    if whole.sign:
        return f"{judge}, the other way: a liking for length does not explain the difference."
    return f"{judge}, where this judge leaves it open."
