"""Which language a text is in, as far as its script and its most frequent small words tell.

No model and no dependency: it need not know every language, only notice that a teacher or a model
asked in English went on in Chinese or Spanish. A text that does not tell (code, a number, one word)
is in no language, and nothing is held against it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache

SMALL_WORDS = {
    "english": "the of and to is in for that with your a an this are it from by as be or you on",
    "german": "der die das und ist nicht ein eine mit für den zu auf von dem sich im auch wie es",
    "french": "le la les des et est une dans pour que avec du un sur pas par en qui vous au ce",
    "spanish": "el la los las del y que una para con por es en un su se lo como más no al",
    "italian": "il la che di una per gli con della sono è un del le i non in si da come anche",
    "portuguese": "o a os as que uma para com não do da em um é por se no na dos mais como",
    "dutch": "de het een en van is dat niet met voor op zijn aan ook te in die er naar wordt",
}
WORDS = {name: frozenset(words.split()) for name, words in SMALL_WORDS.items()}
FEWEST = 3
SHARE = 0.12
"""A text is in a language if so many, and this share, of its words are small words of it."""
SCRIPTS_OF_EAST_ASIA = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
NAMES_A_LANGUAGE = re.compile(
    r"translat|language|bilingual|multilingual|foreign|loanword|etymolog|\b(?:latin|greek|russian|"
    r"french|german|spanish|italian|portuguese|dutch|chinese|mandarin|cantonese|japanese|korean|"
    r"arabic|hebrew|hindi|swedish|norwegian|danish|finnish|polish|czech|turkish|vietnamese|thai|"
    r"ukrainian|hungarian|romanian|swahili|bengali|urdu|persian|farsi|welsh|irish|catalan)\b",
    re.IGNORECASE,
)


def languages(texts: Iterable[str]) -> frozenset[str]:
    """Return the languages that ``texts`` are in, without those that cannot be told."""
    return frozenset(found for text in texts if (found := language(text)))


def language(text: str) -> str | None:
    """Return the name of the language of ``text``, or of its script; None if it does not tell."""
    script = _script(text)
    if script != "LATIN":
        return script
    hits, total = _small_words(text)
    if not hits:
        return None
    (name, most), *_ = hits.most_common(1)
    return name if most >= max(FEWEST, SHARE * total) else None


def is_foreign(text: str, expected: frozenset[str]) -> bool:
    """Whether ``text`` is plainly in a language other than those ``expected`` (none: never)."""
    found = language(text)
    if not expected or found is None or found in expected:
        return False
    hits, _ = _small_words(text)
    return hits[found] == 0 or hits[found] > 2 * max(hits[name] for name in expected)


def _small_words(text: str) -> tuple[Counter[str], int]:
    words = re.findall(r"[^\W\d_]+", text.casefold())
    counted = Counter(words)
    hits = {name: sum(counted[word] for word in small) for name, small in WORDS.items()}
    return Counter({name: count for name, count in hits.items() if count}), len(words)


def _script(text: str) -> str | None:
    """The script of most letters, None without a majority or, except for Latin, enough of them."""
    if text.isascii():
        return "LATIN" if re.search(r"[A-Za-z]", text) else None
    scripts = Counter({"LATIN": len(re.findall(r"[A-Za-z]", text))})
    for letter, count in Counter(re.findall(r"[^\W\d_A-Za-z]", text)).items():
        scripts[_script_of(letter)] += count
    (name, most), *_ = scripts.most_common(1)
    return name if 2 * most > scripts.total() and (name == "LATIN" or most > FEWEST) else None


@cache
def _script_of(letter: str) -> str:
    name = unicodedata.name(letter, "UNKNOWN").split()[0]
    return "EAST ASIAN" if name in SCRIPTS_OF_EAST_ASIA else name
