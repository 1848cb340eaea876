r"""Which output a completion chose, for annotators that are told to answer ``Output (a)``.

AlpacaEval looks for a line that *begins* with ``Output (a)`` or ``Output (b)``.
That takes "Output (b) is not related to the question." for a vote for (b), and finds nothing in
``**Output (a)**`` or "The best is Output (a).". Here a line counts as a vote if it is nothing but
the name of an output, however it is emphasised; if it goes on with an explanation behind a mark
(``Output (a): …``); or if it is a sentence that says which is best. A line that asks, doubts,
denies, gives marks or goes on to praise the other is no vote, nor is a heading (``Output (a):``).
Anything else is no vote, and a completion with votes for both is none: what cannot be read is asked
again and then counted, while a misreading would never be seen.
"""

import re

NAME = r"(?:output|option|answer|response)?\s*\(?([ab])\)"
BARE_NAME = rf"(?:{NAME}|(?:output|option|answer|response)\s+([ab]))"
OPENING = (
    r"(?:(?:so|thus|therefore|hence|overall|finally|in (?:conclusion|summary|my opinion|my view)"
    r"|i (?:think|believe)(?: that)?)\b,?\s*)?"
)
BEST = r"(?:best|better|preferred|superior|preferable|winning)"
WHAT = (
    r"(?:output|option|answer|response|choice|one|model|verdict|judge?ment|preference|decision"
    r"|winner)"
)
MARK = r"(?:[:;,–—]|-\s|\.\s)"
VOTES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{BARE_NAME}(?P<rest>)",
        rf"{NAME}\s*{MARK}(?P<rest>.+)",
        rf"{OPENING}(?:the |my |a )?(?:final |overall )?(?:{BEST}|{BEST} {WHAT}|{WHAT})"
        rf"(?: here)?(?:\s+is|\s*:|\s+is:|\s+would be|\s*=)\s*{BARE_NAME}"
        r"(?:[:;,.–—-](?P<rest>.*))?",
        rf"{OPENING}i\s+(?:(?:would|will|'d)\s+)?"
        rf"(?:prefer|choose|select|pick|go with|vote for)\s+{BARE_NAME}"
        r"(?:[:;,.–—-](?P<rest>.*))?",
        rf"{OPENING}{NAME}\s+is\s+(?:(?:clearly|slightly|overall|much|the|a|my)\s+)*{BEST}"
        rf"(?:\s+{WHAT})?(?:\s+than (?:\(?[ab]\)|(?:output|the other)[\w ]*(?:\([ab]\))?))?"
        r"(?:,?\s+(?:because|since|as (?:it|the|this))\b(?P<rest>.*))?",
    )
]
AROUND = " \t*_`\"'“”‘’[]{}#>.!。！"
"""What may stand around a line without changing what it says."""
OTHER = {
    vote: re.compile(rf"(?:output|option|answer|response)?\s*\(?\b{other}\)", re.IGNORECASE)
    for vote, other in ("ab", "ba")
}
DOUBT = re.compile(
    r"\?|\b(?:but|however|although|though|yet|wait|actually|no(?! doubt)|nope|neither|nor|either"
    r"|both|equal|equally|tied?|only|unless|if|nicht|keine?|pas|nunca|tampoco|pero|aber|mais"
    r"|нет|не|но)\b"
    r"|[不没]|無|无|但|ない|\d\s*/\s*\d|\bout of \d",
    re.IGNORECASE,
)
FAULT = re.compile(
    r"\b(?:not|isn't|doesn't|wrong|incorrect|inaccurate|worse|worst|bad|poor|unhelpful|irrelevant"
    r"|invalid|fails?|misses|lacks?|off-topic|nonsens\w*|falsch|schlecht|mal[oa]?|faux|incorrecto)\b"
    r"|^\s*\d",
    re.IGNORECASE,
)
PRAISE = re.compile(rf"\b(?:{BEST}|right|correct|wins|more)\b", re.IGNORECASE)
CONTINUED = re.compile(r"\n[ \t]*(?=(?:is|was|are|does|has|should|would|fails|misses|can)\b)")
LABEL = re.compile(
    r"^(?:.{0,60}?\bexample\s+\d+(?:,? output \(a\) or output \(b\))?\s*\??\s*[:.)–-]"
    r"|\d+\s*[:.)])\s*",
    re.IGNORECASE,
)
"""What may stand before one of several votes: the number of its example."""


def chosen(completion: str) -> float | None:
    """Return 1.0 for output (a), 2.0 for output (b), None where it chose neither or both."""
    votes = set(_votes(completion))
    return votes.pop() if len(votes) == 1 else None


def chosen_in_turn(completion: str) -> list[float]:
    """Return the votes of a completion about several pairs, in their order."""
    return _votes("\n".join(LABEL.sub("", line.strip(AROUND)) for line in completion.splitlines()))


def _votes(completion: str) -> list[float]:
    lines = CONTINUED.sub(" ", "\n".join(completion.splitlines())).split("\n")
    return [1.0 if vote == "a" else 2.0 for line in lines if (vote := _vote(line))]


def _vote(line: str) -> str | None:
    plain = re.sub(r"[*_`\"“”]", "", line).strip(AROUND)
    for pattern in VOTES:
        if found := pattern.fullmatch(plain):
            vote = next(group for group in found.groups() if group in list("abAB")).lower()
            return vote if _agrees(vote, found["rest"] or "") else None
    return None


def _agrees(vote: str, rest: str) -> bool:
    """Whether ``rest``, the explanation of ``vote``, does not take it back."""
    if DOUBT.search(rest):
        return False
    other = OTHER[vote].search(rest)
    if other is None:
        return FAULT.search(rest) is None
    own, of_other = rest[: other.start()], rest[other.end() :]
    says_something = own.strip(" ,;:–—-.") or of_other.strip(AROUND)
    return bool(says_something) and not (FAULT.search(own) or PRAISE.search(of_other))
