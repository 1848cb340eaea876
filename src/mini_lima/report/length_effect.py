"""What of the improved data's effect is length: of the training text, or in the judge's eye.

The improved data are longer than the naive, and judges like long answers, so the difference
between the two arms says little by itself. Arms that take the same replies apart say more: improved
cut back to the naive lengths differs from naive in what is said and not in how long, and from
improved in what was cut off; halves of improved, by length or at random, have the same author. A
sentence is made of a contrast that is there, with its interval, and claims no more than that
holds.
"""

from collections.abc import Callable, Sequence

from mini_lima.measured import Contrast
from mini_lima.report.figures import figure, interval

NAIVE, IMPROVED, CUT = "naive", "improved", "improved_cut"
LONGEST, SHORTEST, RANDOM = "improved_longest", "improved_shortest", "improved_random"


def sentences(contrasts: Sequence[Contrast]) -> list[str]:
    """Return a paragraph for each row and judge that have an arm which tells length from content.

    Args:
        contrasts: Of a comparison; those of metrics, and between rows, play no part.
    """
    of: dict[tuple[str, str], list[Contrast]] = {}
    for each in contrasts:
        if each.judged and each.row is not None and len(each.terms) == 2:
            of.setdefault((each.row, each.measure), []).append(each)
    several = len({measure for _, measure in of}) > 1
    paragraphs = []
    for (row, measure), own in of.items():
        if told := _paragraph(own):
            name = f"{row}, {measure}" if several else row
            paragraphs.append(f"Length, {name}: {' '.join(told)}")
    return paragraphs


def _paragraph(contrasts: Sequence[Contrast]) -> list[str]:
    """Return the sentences about one row; none if no arm sets length apart."""

    def between(one: str, other: str) -> tuple[Contrast, int] | None:
        for each in contrasts:
            if each.terms.keys() == {one, other} and each.difference is not None:
                return each, each.terms[one]
        return None

    apart = [
        _sentence(between(CUT, NAIVE), _content),
        _sentence(between(IMPROVED, CUT), _length),
        _sentence(between(LONGEST, SHORTEST), _halves("the longest half", "the shortest half")),
        _sentence(between(LONGEST, RANDOM), _halves("the longest half", "a random half")),
        _sentence(between(SHORTEST, RANDOM), _halves("the shortest half", "a random half")),
    ]
    told = [sentence for sentence in apart if sentence]
    if not told:
        return []
    whole = between(IMPROVED, NAIVE)
    return [s for s in (_sentence(whole, _whole), *told, _liking(whole)) if s]


Telling = Callable[[str, int], str]
"""Makes a sentence of a difference with its interval, and of its sign: 0 where that is open."""


def _sentence(found: tuple[Contrast, int] | None, telling: Telling) -> str:
    if found is None:
        return ""
    contrast, sign = found
    return telling(_figures(contrast.difference, contrast.low, contrast.high, sign), _sign(*found))


def _figures(value: float | None, low: float | None, high: float | None, sign: int) -> str:
    value = None if value is None else sign * value
    ends = (low, high) if sign > 0 or low is None or high is None else (-high, -low)
    return f"{figure(value, sign='+')} points {interval(*ends, '+', always=True)}"


def _sign(contrast: Contrast, sign: int) -> int:
    """The sign of the difference if its interval holds one alone; 0 if it may be either."""
    return _sign_of(contrast.low, contrast.high) * sign


def _sign_of(low: float | None, high: float | None) -> int:
    if low is None or high is None or low <= 0 <= high:
        return 0
    return 1 if low > 0 else -1


def _whole(figures: str, sign: int) -> str:
    if not sign:
        return f"improved against naive is {figures}: whether there is an effect cannot be told."
    return f"improved against naive is {figures}."


def _content(figures: str, sign: int) -> str:
    at = f"At the naive lengths (improved_cut − naive) it is {figures}"
    if not sign:
        return f"{at}: what its content does, beside its length, cannot be told."
    return f"{at}: its content {'helps' if sign > 0 else 'harms'} at equal length."


def _length(figures: str, sign: int) -> str:
    cut = f"Cutting the same outputs short (improved − improved_cut) makes {figures}"
    if not sign:
        return f"{cut}: what the length of the training text does cannot be told."
    return f"{cut}: the longer training text {'adds' if sign > 0 else 'costs'} that much."


def _halves(one: str, other: str) -> Telling:
    def telling(figures: str, sign: int) -> str:
        between = f"Between {one} and {other} of improved lie {figures}"
        if not sign:
            return f"{between}, which may be nothing."
        return f"{between}: trained on {one}, the model does {'better' if sign > 0 else 'worse'}."

    return telling


def _liking(whole: tuple[Contrast, int] | None) -> str:
    """What a judge of length alone would have said of improved against naive."""
    if whole is None or (alone := whole[0].by_length) is None or alone.difference is None:
        return ""
    sign = _sign_of(alone.low, alone.high) * whole[1]
    judge = (
        "A judge that only looks at length would say"
        f" {_figures(alone.difference, alone.low, alone.high, whole[1])} of improved against naive"
    )
    own = _sign(*whole)
    if not sign:
        return f"{judge}: a liking for length alone need not favour either."
    if own == sign:
        return f"{judge}, the same way: a judge's liking for length can be behind the difference."
    if own:
        return f"{judge}, the other way: a liking for length is not behind the difference."
    return f"{judge}, where this judge leaves it open."
