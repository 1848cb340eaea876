"""What can be wrong with verdicts and answers although each of them looks right.

A win rate over the verdicts that could be read is that of all only if what is missing is missing by
chance. So the missing are compared with the others in what was shown first and in the length of the
answer. Verdicts of one back-end should not differ from those of another, each should be a judgement
of its own, and say what was read in it. Where parts differ, the p-value says how easily chance does
as much; these are looks around, each on its own, not a family of tests.

Signs of illness in the answers have false alarms (a dialogue that was asked for, a list without a
full stop), so the same is counted for the reference, whose share is what health looks like.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from mini_lima.audit.order import preferred_place
from mini_lima.audit.rows import Row, moment_of, name_of
from mini_lima.evaluation.answer_checks import SHORT, leaks_turns, repeats_itself, starts_with_role
from mini_lima.evaluation.reading import chosen
from mini_lima.statistics import WinRate, association_p, tabulate, two_groups_p, win_rate

PLAIN = re.compile(r"\W*Output \([ab]\)\W*")
ORIGINS = (
    "annotator",
    "served_model",
    "model",
    "preference_model",
    "system_fingerprint",
    "version",
)
"""Columns that say where a verdict is from."""
MOST_PARTS = 8
"""Parts that are told apart; the rarest are taken together."""
EXAMPLES = 3
SHOWN = 120

ENDS = tuple(".!?。！？…:;)]}\"'`*”’»>|~")


@dataclass(frozen=True)
class Missing:
    """The verdicts that are not there, and whether they are a random part.

    ``n_invalid`` of the ``n`` had a value that is no preference, ``n_absent`` have no row at all.
    The medians are characters of the model's answers; percentages are of the verdicts asked for in
    that order.
    """

    n: int
    n_invalid: int
    n_absent: int
    percent: float
    percent_first: float | None
    percent_second: float | None
    order_p: float | None
    median_length: float | None
    median_length_judged: float | None
    length_p: float | None


def missing(rows: Sequence[Row], *, seed: int, samples: int) -> Missing:
    """Describe the verdicts without a preference."""
    gone = np.array([row["preference"] is None for row in rows])
    first = np.array([row["model_first"] is True for row in rows])
    second = np.array([row["model_first"] is False for row in rows])
    length = np.array(
        [np.nan if row["output_2"] is None else len(row["output_2"]) for row in rows], dtype=float
    )
    ordered, measured = first | second, ~np.isnan(length)
    chance = {"seed": seed, "samples": samples}
    return Missing(
        n=int(gone.sum()),
        n_invalid=sum(row["is_invalid"] for row in rows),
        n_absent=sum(row["is_absent"] for row in rows),
        percent=100 * float(gone.mean()),
        percent_first=100 * float(gone[first].mean()) if first.any() else None,
        percent_second=100 * float(gone[second].mean()) if second.any() else None,
        order_p=exchanged_p(gone[ordered].astype(float), first[ordered], **chance),
        median_length=_median(length[gone & measured]),
        median_length_judged=_median(length[~gone & measured]),
        length_p=_length_p(rows, gone, length, **chance),
    )


def exchanged_p(values: Any, first: Any, *, seed: int, samples: int) -> float | None:
    """Return the p-value of equal means, None if a group is empty."""
    if not first.any() or first.all():
        return None
    return two_groups_p(values, first, seed=seed, samples=samples)


def _length_p(rows: Sequence[Row], gone: Any, length: Any, **chance: Any) -> float | None:
    """Return the p-value of as many missing verdicts on short answers as on long ones.

    The verdicts on an answer may be missing together, so whole answers are exchanged.
    """
    shares: dict[tuple[object, object], list[bool]] = {}
    for row, is_gone, size in zip(rows, gone, length, strict=True):
        if not np.isnan(size):
            shares.setdefault((row["instruction"], row["output_2"]), []).append(bool(is_gone))
    missing = np.array([np.mean(each) for each in shares.values()])
    sizes = np.log1p([len(str(output)) for _, output in shares])
    if not len(missing) or missing.min() == missing.max():
        return None
    return association_p(sizes, missing, **chance)


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None


@dataclass(frozen=True)
class Part:
    """Some of the verdicts, what they have in common, and their win rate."""

    name: str
    found: WinRate


@dataclass(frozen=True)
class Parts:
    """Verdicts taken apart ``by`` something; ``p_value`` is of the largest against all others."""

    by: str
    parts: list[Part]
    p_value: float | None


@dataclass(frozen=True)
class Reuse:
    """Verdicts that are not a judgement of their own.

    ``n_repeated`` rows repeat another in everything that was asked and answered. The library notes
    one time per batch, and batches are consecutive rows: ``n_batches`` of them in ``n_stretches``
    stretches say whether verdicts of several passes are mixed.
    """

    n_repeated: int
    n_batches: int
    n_stretches: int


@dataclass(frozen=True)
class Readings:
    """Verdicts read off more than the verdict: an explanation, a refusal, a question back.

    ``n_doubtful`` of the ``n_wordy`` do not say what was read: "Output (b) is incorrect" was taken
    for a vote for (b).
    """

    n_plain: int
    n_wordy: int
    n_doubtful: int
    examples: list[str]


def usage(rows: Sequence[Row]) -> dict[str, int]:
    """Count the verdicts that could be read by what their endpoint reported of its work."""
    read = [row for row in rows if row["preference"] is not None]
    return dict(Counter(_usage(row) or "not known" for row in read))


def taken_apart(rows: Sequence[Row], **settings: Any) -> list[Parts]:
    """Take the verdicts apart by reported usage, by back-end and by annotator, where they differ.

    Args:
        rows: All verdicts.
        settings: Of `win_rate`.
    """
    by = {"reported usage": [_usage(row) for row in rows]}
    by |= {column: [row.get(column) for row in rows] for column in ORIGINS}
    found = [_parts(name, rows, values, **settings) for name, values in by.items()]
    return [parts for parts in found if parts is not None]


def reuse(rows: Sequence[Row]) -> Reuse:
    """Find verdicts that were copied from others, or from an earlier pass."""
    judged = [row for row in rows if row["output_1"] is None or row["output_1"] != row["output_2"]]
    asked = Counter(
        tuple(
            str(row.get(name))
            for name in (
                *("instruction", "output_1", "output_2", "annotator", "model_first", "repeat"),
                *("preference", "raw_completion", "time_per_example", "date"),
            )
        )
        for row in judged
    )
    times = [moment_of(row) for row in rows]
    times = [time for time in times if time is not None]
    return Reuse(
        n_repeated=len(judged) - len(asked),
        n_batches=len(set(times)),
        n_stretches=sum(1 for _ in groupby(times)),
    )


def readings(rows: Sequence[Row]) -> Readings | None:
    """Tell plain verdicts from wordy ones; None for an annotator that answers in another form."""
    said = [row["raw_completion"] for row in rows if row["preference"] is not None]
    said = [raw for raw in said if isinstance(raw, str) and raw.strip()]
    wordy = [raw for raw in said if not PLAIN.fullmatch(raw)]
    if not said or len(wordy) > len(said) / 2:
        return None
    examples = [_beginning(name_of(raw)) for raw in wordy[:EXAMPLES]]
    votes = [(chosen(raw), preferred_place(raw)) for raw in wordy]
    doubtful = sum(vote is None or vote != place for vote, place in votes)
    return Readings(len(said) - len(wordy), len(wordy), doubtful, examples)


def _parts(by: str, rows: Sequence[Row], values: Sequence[object], **settings: Any) -> Parts | None:
    """Take ``rows`` apart by ``values``, None where not known; None if there is one part alone."""
    known = [
        (str(value), row) for value, row in zip(values, rows, strict=True) if value is not None
    ]
    counted = Counter(name for name, _ in known)
    if len(counted) < 2:
        return None
    if len(counted) > MOST_PARTS:
        kept = {name for name, _ in counted.most_common(MOST_PARTS - 1)}
        rest = f"{len(counted) - len(kept)} others"
        known = [(name if name in kept else rest, row) for name, row in known]
        counted = Counter(name for name, _ in known)
        counted[rest] = 0  # stands last
    names = [name for name, _ in counted.most_common()]
    read = [(name, row["preference"]) for name, row in known if row["preference"] is not None]
    p_value = exchanged_p(
        np.array([preference for _, preference in read]),
        np.array([name == names[0] for name, _ in read], dtype=bool),
        seed=settings["seed"],
        samples=settings["samples"],
    )
    parts = [
        Part(name, win_rate(tabulate([row for n, row in known if n == name]), **settings))
        for name in names
    ]
    return Parts(by, parts, p_value)


def _usage(row: Row) -> str | None:
    """Say whether the endpoint reported what the verdict took; None if nobody kept it."""
    price, usage = row["price_per_example"], row.get("usage")
    if price is not None:
        return "reported" if price > 0 else "none reported"
    if "served_model" not in row or row["raw_completion"] is None:  # not ours, or nobody was asked
        return None
    counts = usage.values() if isinstance(usage, dict) else ()
    is_reported = any(isinstance(n, int | float) and n > 0 for n in counts)
    return "reported" if is_reported else "none reported"


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


@dataclass(frozen=True)
class Health:
    """How many of ``n`` answers show a sign."""

    n: int
    empty: int
    starts_with_role: int
    leaks_turns: int
    repeats_itself: int
    ends_mid_sentence: int


def health(answers: Sequence[str]) -> Health:
    """Count the signs of illness in ``answers``."""
    return Health(
        n=len(answers),
        empty=sum(not answer.strip() for answer in answers),
        starts_with_role=sum(map(starts_with_role, answers)),
        leaks_turns=sum(map(leaks_turns, answers)),
        repeats_itself=sum(map(repeats_itself, answers)),
        ends_mid_sentence=sum(
            len(answer) >= SHORT and not answer.rstrip().endswith(ENDS) for answer in answers
        ),
    )
