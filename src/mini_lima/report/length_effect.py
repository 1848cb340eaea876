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
class _Told:
    """A difference in words.

    Attributes:
        figures: With its interval.
        sign: 1 or −1 if the verdict says so, 0 if it may be either.
        left_open: What is said of it then.
        by_length: What a judge of length alone would say, turned the same way.
    """

    figures: str
    sign: int
    left_open: str = "cannot tell"
    by_length: "_Told | None" = None

    def __str__(self) -> str:
        """The figures with the verdict."""
        return f"{self.figures}, {({1: 'better', -1: 'worse'}).get(self.sign, self.left_open)}"


def _paragraph(contrasts: Sequence[Contrast], *, only_length: bool) -> list[str]:
    """Return the sentences about one row; none if no arm sets length apart."""

    def between(one: str, other: str) -> _Told | None:
        for each in contrasts:
            if each.terms.keys() == {one, other} and each.difference is not None:
                return _of_contrast(each, each.terms[one])
        return None

    content, length = between(CUT, NAIVE), between(IMPROVED, CUT)
    halves = [
        f"{HALVES[one]} − {HALVES[other]} half {found}"
        for one, other in combinations(HALVES, 2)
        if (found := between(one, other))
    ]
    apart = [
        *([f"Content, at the naive lengths (improved_cut − naive): {content}."] if content else []),
        *([f"Length, of the same texts (improved − improved_cut): {length}."] if length else []),
        *([f"Length, of as many examples: {'; '.join(halves)}."] if halves else []),
    ]
    if not apart:
        return []
    whole = between(IMPROVED, NAIVE)
    caution = _caution(cut=bool(content or length), halves=bool(halves))
    liking = (
        "This judge looks at nothing but length: all of this is about how long the answers are."
        if only_length
        else _liking(whole)
    )
    told = [f"improved − naive is {whole}."] if whole else []
    return [*told, *apart, *filter(None, [caution, liking])]


def _of_contrast(contrast: Contrast, sign: int) -> _Told:
    alone = contrast.by_length
    by_length = None
    if alone is not None and alone.difference is not None:
        by_length = _of_difference(alone, sign)
    told = _of_difference(contrast, sign)
    if contrast.verdict != "cannot tell" or not told.sign:
        return _Told(told.figures, told.sign, told.left_open, by_length)
    among = f"cannot tell, as one of {contrast.family} contrasts (p {contrast.p_holm:.2g})"
    return _Told(told.figures, 0, among, by_length)


def _of_difference(found: Contrast | PairedDifference, sign: int) -> _Told:
    value, low, high = found.difference, found.low, found.high
    value = None if value is None else sign * value
    if sign < 0 and low is not None and high is not None:
        low, high = -high, -low
    figures = f"{figure(value, sign='+')} points {interval(low, high, '+', always=True)}"
    if low is None or high is None or low <= 0 <= high:
        return _Told(figures, 0)
    return _Told(figures, 1 if low > 0 else -1)


def _caution(*, cut: bool, halves: bool) -> str:
    """What else the arms differ in."""
    said = ["a cut text may end in mid-air"] * cut + ["halves hold other instructions"] * halves
    return f"Besides, {' and '.join(said)}."


def _liking(whole: _Told | None) -> str:
    """What a judge of length alone would have said of improved against naive."""
    if whole is None or whole.by_length is None:
        return ""
    alone = whole.by_length
    judge = f"A judge that only looks at length would say {alone.figures} of improved − naive"
    if not alone.sign:
        return f"{judge}: a liking for length alone need not favour either."
    if alone.sign == whole.sign:
        return f"{judge}, the same way: a judge's liking for length can be behind the difference."
    if whole.sign:
        return f"{judge}, the other way: a liking for length does not explain the difference."
    return f"{judge}, where this judge leaves it open."
