r"""Which output a completion chose, for annotators that are told to answer ``Output (a)``.

AlpacaEval looks for a line that *begins* with ``Output (a)`` or ``Output (b)``.
That takes "Output (b) is not related to the question." for a vote for (b), and finds nothing in
``**Output (a)**`` or "The best is Output (a).". Here a line counts as a vote if it is nothing but
the name of an output, however it is emphasised; if it goes on with an explanation behind a mark
(``Output (a): …``); or if it is a sentence that says which is best. Anything else is no vote, and a
completion with votes for both is none.
"""

import re

NAME = r"(?:output|option|answer|response)?\s*\(?([ab])\)"
BARE_NAME = rf"(?:{NAME}|(?:output|option|answer|response)\s+([ab]))"
OPENING = r"(?:(?:so|thus|therefore|hence|overall|in (?:conclusion|summary)|finally)\b,?\s*)?"
BEST = r"(?:best|better|preferred|superior|preferable|winning)"
WHAT = r"(?:output|option|answer|response|choice|one|model|verdict|judge?ment|preference|decision)"
VOTES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"{BARE_NAME}",
        rf"{NAME}\s*(?:[:;,–—]|-\s|\.\s).*",
        rf"{OPENING}(?:the |my |a )?(?:final |overall )?(?:{BEST}|{BEST} {WHAT}|{WHAT})"
        rf"(?: here)?(?:\s+is|\s*:|\s+is:|\s+would be|\s*=)\s*{BARE_NAME}(?:[:;,.–—-].*)?",
        rf"{OPENING}i\s+(?:(?:would|will|'d)\s+)?"
        rf"(?:prefer|choose|select|pick|go with|vote for)\s+{BARE_NAME}(?:[:;,.–—-].*)?",
        rf"{OPENING}{NAME}\s+is\s+(?:(?:clearly|slightly|overall|much|the|a|my)\s+)*{BEST}"
        rf"(?:\s+{WHAT})?(?:\s+(?:than|because|as|since|for|to)\b.*)?",
    )
]
AROUND = " \t*_`\"'“”‘’[]{}#>.!"
"""What may stand around a line without changing what it says."""


def chosen(completion: str) -> float | None:
    """Return 1.0 for output (a), 2.0 for output (b), None where it chose neither or both."""
    votes = {vote for line in completion.splitlines() if (vote := _vote(line))}
    return {"a": 1.0, "b": 2.0}[votes.pop()] if len(votes) == 1 else None


def _vote(line: str) -> str | None:
    plain = re.sub(r"[*_`\"“”]", "", line).strip(AROUND)
    for pattern in VOTES:
        if found := pattern.fullmatch(plain):
            return next(group for group in found.groups() if group).lower()
    return None
