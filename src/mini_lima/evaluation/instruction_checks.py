"""Constraints on an answer that a program can check: IFEval's 25 kinds, and two of ours.

An evaluation row names the kinds in ``instruction_id_list`` and says in ``kwargs``, an object for
each of them, what the answer must be like. Kinds, keywords and what counts as done are those of
Zhou et al., 2023, *Instruction-Following Evaluation for Large Language Models* (arXiv 2311.07911);
the code is ours. Ours alone are ``mini_lima:one_of`` (a label and nothing else) and
``mini_lima:line_count``, which sets of everyday instructions need. A kind is a function of a text
and of its keywords: its signature says which keywords there are and in what range, and
`read_checks` holds a row to it.

Three kinds need an opinion on what a word, a sentence or a language is. Words are runs of letters
and digits. Sentences end at a full stop, question or exclamation mark before a space, abbreviations
apart. Languages are told by langdetect, as IFEval does it, with a fixed seed; a text of which it
cannot tell is held to be in the right one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len, MinLen

from mini_lima.errors import UserError
from mini_lima.store import targets

IDS, KEYWORDS = "instruction_id_list", "kwargs"
"""The fields of an evaluation row."""
Count = Annotated[int, Ge(0)]
Number = Annotated[int, Ge(1)]
Text = Annotated[str, MinLen(1)]
Relation = Literal["less than", "at least"]

FIXED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
ABBREVIATIONS = ("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e")
SENTENCE_END = re.compile(r"""([\w.]*)[.!?…。！？]+["'”’)\]*]*(?=\s+(?![a-z])|\s*\Z)""")


@dataclass(frozen=True)
class Check:
    """What one constraint demands of an answer.

    Attributes:
        kind: IFEval's id, such as ``length_constraints:number_words``.
        function: Of the text and the keywords; whether the constraint holds.
        keywords: As the evaluation row has them.
    """

    kind: str
    function: Callable[..., bool]
    keywords: Mapping[str, Any]

    def holds(self, text: str, *, loose: bool = False) -> bool:
        """Whether ``text`` does what is demanded; nothing is done by an empty one.

        Args:
            text: An answer.
            loose: Try it also without its first line, its last line, and its asterisks, in which a
                model may have put a greeting, a closing remark and emphasis.
        """
        tried = _variants(text) if loose else [text]
        return any(each.strip() and self.function(each, **self.keywords) for each in tried)


def read_checks(fields: Mapping[str, Any]) -> list[Check]:
    """Return the checks of an evaluation row; an empty list if it has none.

    Args:
        fields: Of the row. Keywords that are null count as absent: tables have a column for each.

    Raises:
        UserError: a kind that does not exist, or keywords that do not fit it; names the field.
    """
    kinds, given = fields.get(IDS) or [], fields.get(KEYWORDS) or []
    if not isinstance(kinds, list):
        raise UserError(f"{IDS} must be a list of ids, found {kinds!r}")
    if not isinstance(given, list) or len(given) != len(kinds):
        raise UserError(
            f"{KEYWORDS} must be a list with an object for each of the {len(kinds)} ids in {IDS},"
            f" found {str(given)[:60]}"
        )
    return [_check(at, kind, given[at]) for at, kind in enumerate(kinds)]


def _check(at: int, kind: Any, given: Any) -> Check:
    if not isinstance(kind, str) or kind not in KINDS:
        near = get_close_matches(str(kind), KINDS, 1)
        perhaps = f"did you mean {near[0]}?" if near else f"there are {', '.join(KINDS)}"
        raise UserError(f"{IDS}[{at}]={kind!r}: no such check; {perhaps}")
    if not isinstance(given, dict):
        raise UserError(f"{KEYWORDS}[{at}] must be an object, found {given!r}")
    there = {name: value for name, value in given.items() if value is not None}
    named = {targets.TARGET: f"{__name__}.{KINDS[kind].__name__}", **there}
    found = targets.load(f"{KEYWORDS}[{at}]", named, provided=("text",))
    language = found.keywords.get("language")
    if language is not None and language not in _languages():
        raise UserError(
            f"{KEYWORDS}[{at}].language={language!r}: no code of a language that can be told;"
            f" there are {', '.join(_languages())}"
        )
    return Check(kind, found.function, found.keywords)


def _variants(text: str) -> Iterator[str]:
    lines = text.split("\n")
    for shorter in (lines, lines[1:], lines[:-1], lines[1:-1]):
        joined = text if shorter is lines else "\n".join(shorter).strip()
        yield joined
        yield joined.replace("*", "")


def _compares(count: int, relation: Relation, number: int) -> bool:
    return count < number if relation == "less than" else count >= number


def _parts(text: str, divider: str) -> list[str]:
    """What stands between dividers, which may begin and end the text; none if a part is blank."""
    parts = [part.strip() for part in text.split(divider)]
    parts = parts[not parts[0] :]
    parts = parts[: len(parts) - (not parts[-1])] if parts else []
    return parts if all(parts) else []


def keywords_exist(text: str, *, keywords: Annotated[list[Text], MinLen(1)]) -> bool:
    """All keywords occur, in whatever case."""
    return all(keyword.lower() in text.lower() for keyword in keywords)


def keyword_frequency(text: str, *, keyword: Text, frequency: Count, relation: Relation) -> bool:
    """The keyword, also as a part of longer words, occurs so often."""
    return _compares(text.lower().count(keyword.lower()), relation, frequency)


def forbidden_words(text: str, *, forbidden_words: Annotated[list[Text], MinLen(1)]) -> bool:
    """None of the words occurs as a whole word."""
    found = (re.search(rf"(?<!\w){re.escape(w)}(?!\w)", text, re.I) for w in forbidden_words)
    return not any(found)


def letter_frequency(
    text: str, *, letter: Annotated[str, Len(1, 1)], let_frequency: Count, let_relation: Relation
) -> bool:
    """The letter, or other character, occurs so often, in whatever case."""
    return _compares(text.lower().count(letter.lower()), let_relation, let_frequency)


def response_language(text: str, *, language: str) -> bool:
    """The text is in the language with this code, such as ``de``."""
    return _language(text) in (language, None)


def number_paragraphs(text: str, *, num_paragraphs: Number) -> bool:
    """So many paragraphs, with ``***`` between them."""
    return len(_parts(text, "***")) == num_paragraphs


def number_words(text: str, *, num_words: Count, relation: Relation) -> bool:
    """So many words."""
    return _compares(len(re.findall(r"\w+", text)), relation, num_words)


def number_sentences(text: str, *, num_sentences: Count, relation: Relation) -> bool:
    """So many sentences; what stands after the last full stop is one, too."""
    text = re.sub(r"^[ \t]*\d+\.(?=\s)", "", text, flags=re.M)  # the numbers of a list
    ends = [end for end in SENTENCE_END.finditer(text) if not _is_abbreviation(end[1])]
    rest = text[ends[-1].end() if ends else 0 :]
    return _compares(len(ends) + bool(re.search(r"\w", rest)), relation, num_sentences)


def _is_abbreviation(word: str) -> bool:
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isupper())


def nth_paragraph_first_word(
    text: str, *, num_paragraphs: Number, nth_paragraph: Number, first_word: Text
) -> bool:
    """So many paragraphs, with empty lines between them, of which one begins with the word."""
    paragraphs = [each.strip() for each in text.split("\n\n") if each.strip()]
    if len(paragraphs) != num_paragraphs or nth_paragraph > num_paragraphs:
        return False
    begins = re.match(r"""["']*([^\s.,?!"']*)""", paragraphs[nth_paragraph - 1])
    return begins is not None and begins[1].lower() == first_word.lower()


def number_placeholders(text: str, *, num_placeholders: Count) -> bool:
    """At least so many placeholders such as ``[address]``."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def postscript(text: str, *, postscript_marker: Text) -> bool:
    """There is a postscript with this marker, ``P.S.`` or ``P.P.S``, perhaps with spaces in it."""
    marker = re.escape(postscript_marker).replace(r"\.", r"\.\s?")
    return re.search(marker, text, re.I) is not None


def number_bullet_lists(text: str, *, num_bullets: Count) -> bool:
    """Exactly so many lines that begin with ``*`` (but not ``**``) or ``-``."""
    return len(re.findall(r"^[ \t]*(?:\*[^*\n]|-)", text, re.M)) == num_bullets


def constrained_response(text: str) -> bool:
    """One of the three answers that IFEval offers occurs."""
    return any(answer in text for answer in FIXED_ANSWERS)


def number_highlighted_sections(text: str, *, num_highlights: Count) -> bool:
    """At least so many passages within a line between ``*`` or ``**``."""
    passages = re.findall(r"\*[^\n*]*\*", text) + re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(passage.strip("*").strip()) for passage in passages) >= num_highlights


def multiple_sections(text: str, *, section_spliter: Text, num_sections: Count) -> bool:
    """At least so many sections that begin with the word and a number, such as ``Section 1``."""
    return len(re.findall(rf"{re.escape(section_spliter)}\s?\d+", text)) >= num_sections


def json_format(text: str) -> bool:
    """The whole text is JSON, perhaps in a fence of Markdown's."""
    try:
        json.loads(re.sub(r"\A```(?:json)?|```\Z", "", text.strip(), flags=re.I))
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str) -> bool:
    """There is a title in double angular brackets, ``<<so>>``."""
    return any(each.strip("<>").strip() for each in re.findall(r"<<[^\n]+>>", text))


def two_responses(text: str) -> bool:
    """Two different answers, with ``******`` between them."""
    answers = _parts(text, "******")
    return len(answers) == 2 and answers[0] != answers[1]


def repeat_prompt(text: str, *, prompt_to_repeat: Text) -> bool:
    """The text begins with the prompt, in whatever case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(text: str, *, end_phrase: Text) -> bool:
    """The text ends with the phrase, in whatever case, perhaps before a quotation mark."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """The whole text is in double quotation marks."""
    return re.fullmatch(r'"(?s:.*)"', text.strip()) is not None


def capital_word_frequency(
    text: str, *, capital_frequency: Count, capital_relation: Relation
) -> bool:
    """So many words are all in capital letters."""
    words = re.findall(r"\w[\w.-]*", text)
    return _compares(sum(map(str.isupper, words)), capital_relation, capital_frequency)


def english_capital(text: str) -> bool:
    """English without lower-case letters."""
    return text.isupper() and response_language(text, language="en")


def english_lowercase(text: str) -> bool:
    """English without capital letters."""
    return text.islower() and response_language(text, language="en")


def no_comma(text: str) -> bool:
    """No comma occurs."""
    return "," not in text


def one_of(text: str, *, choices: Annotated[list[Text], MinLen(1)]) -> bool:
    """The text is one of the choices and nothing else, whatever the case and marks around it."""
    return any(re.fullmatch(rf"\W*{re.escape(each)}\W*", text, re.I) for each in choices)


def line_count(text: str, *, num_lines: Count, relation: Relation) -> bool:
    """So many lines that are not blank."""
    lines = [line for line in text.splitlines() if line.strip()]
    return _compares(len(lines), relation, num_lines)


KINDS: Mapping[str, Callable[..., bool]] = {
    "keywords:existence": keywords_exist,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": forbidden_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:json_format": json_format,
    "detectable_format:title": title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeat_prompt,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "punctuation:no_comma": no_comma,
    "mini_lima:one_of": one_of,
    "mini_lima:line_count": line_count,
}


@cache
def _detectors() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.seed = 0  # ours alone, whatever else in this process uses the library
    factory.load_profile(PROFILES_DIRECTORY)
    return factory


@cache
def _languages() -> tuple[str, ...]:
    """The codes of the languages that can be told."""
    from langdetect.detector_factory import PROFILES_DIRECTORY

    return tuple(sorted(each.name for each in Path(PROFILES_DIRECTORY).iterdir()))


def _language(text: str) -> str | None:
    """The code of the language of ``text``; None if nothing in it tells."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None
