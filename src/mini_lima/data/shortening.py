"""The step that cuts outputs: `truncate`.

A cut is made at the end of a word or of a sentence, never inside what a reader sees as one
character (a letter with its accents, an emoji of several parts): Unicode's extended grapheme
clusters, UAX #29. Scripts that put no spaces between words may be cut after any character, since
finding their words takes a dictionary.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from mini_lima.data.examples import Example, Reject, StepReport
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.errors import UserError

if TYPE_CHECKING:
    from regex import Pattern

End = Literal["word", "sentence"]
LOOK_AHEAD = 40
"""Characters after a word in which the end of its line, or the next word, is looked for."""

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]"
SPACE = r"[\s\x1c-\x1f]"
"""As `str.isspace` has it."""
OPENING = r"[\p{Ps}\p{Pi}]"
CLOSING = r"[\p{P}--[\p{Ps}\p{Pi}]]"
WORD = rf"""(?x)
    (?:(?={OPENING})\X)*+ (?={UNSPACED})\X (?:(?={CLOSING})\X)*+  # one character, marks around it
  | (?:(?!{SPACE}|{UNSPACED})\X)++                                 # all that is between spaces
"""
r"""A word and its marks, of whole grapheme clusters: each is one ``\X``, and what stands before it
looks at how it begins."""
STOP = r"[.!?…。！？｡।॥؟۔][\p{P}\p{S}]*+\Z"
"""How a word ends with which a sentence ends: its mark, and quotes or emphasis behind it."""
ABBREVIATION = r"(?i)\W*(?:mrs?|ms|dr|prof|st|vs|etc|cf|fig|eq|vol|pp?|(?:\p{L}\.)*\p{L})\."


def _expect_truncated(data: Sequence[Example], **how: Any) -> Forecast:
    """Expect every example, cut: which of them would be empty depends on the texts."""
    cut_ones = {each.id: each for each in truncate(data, **how).examples or ()}
    return Forecast(examples=[cut_ones.get(e.id) or replace(e, output=e.output[:1]) for e in data])


@forecast_by(_expect_truncated)
def truncate(
    data: Sequence[Example],
    *,
    words: Annotated[int, Ge(1)] | None = None,
    characters: Annotated[int, Ge(1)] | None = None,
    to: Literal["earlier"] | None = None,
    end: End = "word",
) -> StepReport:
    """Cut every output that is longer than it may be; the others stay as they are.

    Exactly one of words, characters and to says how long that is. What has no word, or no sentence,
    within it is left out, as a reject.

    Args:
        data: Whose outputs are cut.
        words: So many words; a character of a script without spaces counts as one.
        characters: So many characters.
        to: ``earlier``: as many characters as the output had before the last step that changed it.
            An example that no step has changed stays as it is.
        end: Cut at the end of a ``word``, or of a ``sentence``.

    Raises:
        UserError: not exactly one length.
    """
    sizes = {"words": words, "characters": characters, "to": to}
    given = [name for name, size in sizes.items() if size is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"truncate takes exactly one of words, characters and to; found {found}")
    after: list[Example] = []
    rejects: list[Reject] = []
    shorter = 0
    for example in data:
        if words is not None:
            most = _after_words(example.output, words)
        elif characters is not None:
            most = characters
        else:
            most = len(example.earlier[-1].output) if example.earlier else len(example.output)
        if output := cut(example.output, most, end):
            shorter += output != example.output
            after.append(replace(example, output=output))
        else:
            rejects.append(Reject("nothing is left", example.id, example.request, example.output))
    figures = {"truncated": shorter, "unchanged": len(after) - shorter, "empty": len(rejects)}
    if to is not None:
        figures["never_changed"] = sum(not example.earlier for example in data)
    return StepReport(after, rejects=rejects, figures=figures)


def cut(text: str, most: int, end: End) -> str:
    """Return the longest beginning of ``text`` that ends with a word, or sentence, within ``most``.

    Args:
        text: What is cut.
        most: Characters (code points); a text that has no more is returned as it is.
        end: At what it may be cut.

    Returns:
        The beginning, without space at its end; empty if no word, or sentence, ends within it. The
        last word loses the marks for which there is no room: of "Positive, and how!" 8 characters
        are "Positive", the label that it was.
    """
    if len(text) <= most:
        return text
    last = 0
    for word in _pattern(WORD).finditer(text):
        if word.end() > most:
            bare = word.start() + _without_marks(word[0])
            return text[: bare if end == "word" and word.start() < bare <= most else last]
        if end == "word" or _ends_sentence(text, word.start(), word.end()):
            last = word.end()
    return text[:last]


def _without_marks(word: str) -> int:
    """Return how many characters ``word`` has without the marks at its end: a comma, a quote."""
    clusters = _pattern(r"\X").findall(word)
    while clusters and _pattern(r"\p{P}").match(clusters[-1]):
        clusters.pop()
    return sum(map(len, clusters))


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """Whether the word from ``start`` to ``end`` is the last of a sentence, or of a line."""
    after = text[end : end + LOOK_AHEAD]
    coming = after.lstrip()
    if not coming or "\n" in after[: len(after) - len(coming)]:
        return True
    word = text[start:end]
    if not _pattern(STOP).search(word) or coming[0].islower():
        return False
    numbers_a_line = word.rstrip(".").isdigit() and not text[:start].rpartition("\n")[2].strip()
    return not numbers_a_line and not _pattern(ABBREVIATION).fullmatch(word)


def _after_words(text: str, words: int) -> int:
    """Return how many characters of ``text`` its first ``words`` take up."""
    before = 0
    for number, word in enumerate(_pattern(WORD).finditer(text)):
        if number == words:
            return before
        before = word.end()
    return len(text)


@cache
def _pattern(pattern: str) -> "Pattern[str]":
    import regex

    return regex.compile(pattern, regex.VERSION1)
