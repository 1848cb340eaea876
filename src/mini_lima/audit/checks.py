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
from typing import Any

import numpy as np

from mini_lima.audit.files import name_of
from mini_lima.audit.folder import ORIGINS, Row
from mini_lima.audit.order import preferred_place
from mini_lima.evaluation.answer_checks import SHORT, leaks_turns, repeats_itself, starts_with_role
from mini_lima.evaluation.reading import chosen
from mini_lima.results import WinRate
from mini_lima.statistics import association_p, tabulate, two_groups_p, win_rate

PLAIN = re.compile(r"\W*Output \([ab]\)\W*")
MOST_PARTS = 8
"""Parts that are shown; the rarest are taken together."""
EXAMPLES = 3
SHOWN = 120
LEAST_IDENTICAL = 5
"""Answers that are one and the same below which that is no sign: two questions may have one."""

MOST_OF_OTHERS = 0.1
"""Share of the verdicts that may be from another pass: those that failed at first are asked again."""


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
    gone = np.array([row.preference is None for row in rows])
    first = np.array([row.model_first is True for row in rows])
    second = np.array([row.model_first is False for row in rows])
    length = np.array([np.nan if row.output_2 is None else len(row.output_2) for row in rows])
    ordered, measured = first | second, ~np.isnan(length)
    chance = {"seed": seed, "samples": samples}
    return Missing(
        n=int(gone.sum()),
        n_invalid=sum(row.is_invalid for row in rows),
        n_absent=sum(row.is_absent for row in rows),
        percent=100 * float(gone.mean()),
        percent_first=100 * float(gone[first].mean()) if first.any() else None,
        percent_second=100 * float(gone[second].mean()) if second.any() else None,
        order_p=_groups_p(gone[ordered].astype(float), first[ordered], **chance),
        median_length=_median(length[gone & measured]),
        median_length_judged=_median(length[~gone & measured]),
        length_p=_length_p(rows, **chance),
    )


def _groups_p(values: Any, first: Any, *, seed: int, samples: int) -> float | None:
    """Return the p-value of equal means, None if a group is empty."""
    if not first.any() or first.all():
        return None
    return two_groups_p(values, first, seed=seed, samples=samples)


def _length_p(rows: Sequence[Row], **chance: Any) -> float | None:
    """Return the p-value of as many missing verdicts on short answers as on long ones.

    The verdicts on an answer may be missing together, so whole answers are exchanged.
    """
    shares: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        if row.output_2 is not None:
            shares.setdefault((row.instruction, row.output_2), []).append(row.preference is None)
    missing = np.array([np.mean(each) for each in shares.values()])
    sizes = np.log1p([len(output) for _, output in shares])
    if not len(missing) or missing.min() == missing.max():
        return None
    return association_p(sizes, missing, **chance)


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None


@dataclass(frozen=True)
class Rate:
    """A win rate, and what the verdicts that it is over have in common."""

    name: str
    found: WinRate


@dataclass(frozen=True)
class Parts:
    """Verdicts divided ``by`` something; ``p_value`` is of the largest against all others."""

    by: str
    parts: list[Rate]
    p_value: float | None


@dataclass(frozen=True)
class Reuse:
    """Verdicts that are not a judgement of their own.

    ``n_repeated`` rows repeat another in everything that was asked and answered. The library notes
    one time per batch, and the batches of a pass are consecutive rows: ``n_passes`` are the fewest
    that the ``n_batches`` fit into, and ``n_of_others`` of the ``n_timed`` rows are from other
    passes than the largest.
    """

    n_repeated: int
    n_timed: int
    n_batches: int
    n_passes: int
    n_of_others: int

    @property
    def mixes_passes(self) -> bool:
        """Whether that is a mixture; with as many passes as batches the rows have another order."""
        is_in_order = 2 * self.n_passes <= self.n_batches + 1
        return is_in_order and self.n_of_others > MOST_OF_OTHERS * self.n_timed


@dataclass(frozen=True)
class Readings:
    """Verdicts read off more than the verdict: an explanation, a refusal, a question back.

    ``n_doubtful`` of the ``n_wordy``, with ``examples``, do not say what was read: "Output (b) is
    incorrect" was taken for a vote for (b).
    """

    n_plain: int
    n_wordy: int
    n_doubtful: int
    examples: list[str]


def usage(rows: Sequence[Row]) -> dict[str, int]:
    """Count the verdicts that could be read by what their endpoint reported of its work."""
    return dict(Counter(_usage(row) or "not known" for row in rows if row.preference is not None))


def _usage(row: Row) -> str | None:
    return {True: "reported", False: "none reported", None: None}[row.reported]


def by_origin(rows: Sequence[Row], **settings: Any) -> list[Parts]:
    """Divide the verdicts by reported usage, by annotator and by back-end, where they differ.

    Args:
        rows: All verdicts.
        settings: Of `win_rate`.
    """
    by: dict[str, list[str | None]] = {
        "reported usage": [_usage(row) for row in rows],
        "annotator": [row.annotator for row in rows],
        **{column: [row.origins.get(column) for row in rows] for column in ORIGINS},
    }
    found = [_parts(name, rows, values, **settings) for name, values in by.items()]
    return [parts for parts in found if parts is not None]


def reuse(rows: Sequence[Row]) -> Reuse:
    """Find verdicts that were copied from others, or from an earlier pass."""
    judged = [row for row in rows if not row.nothing_to_judge]
    asked = {
        (
            *(row.instruction, row.output_1, row.output_2, row.annotator, row.model_first),
            *(row.preference, row.seconds, row.date, str(row.repeat), str(row.raw_completion)),
        )
        for row in judged
    }
    times = [moment for row in rows if (moment := row.moment) is not None]
    n_passes, of_largest = _passes(times)
    return Reuse(
        n_repeated=len(judged) - len(asked),
        n_timed=len(times),
        n_batches=len(set(times)),
        n_passes=n_passes,
        n_of_others=len(times) - of_largest,
    )


def _passes(times: Sequence[float | str]) -> tuple[int, int]:
    """Return into how many passes the batches of rows with ``times`` fit, and the largest's rows.

    Batches of one pass do not overlap: from its first row to its last, each has its rows alone.
    """
    first: dict[float | str, int] = {}
    last: dict[float | str, int] = {}
    for place, time in enumerate(times):
        first.setdefault(time, place)
        last[time] = place
    sizes = Counter(times)
    n_passes = running = 0
    for place, time in enumerate(times):
        running += first[time] == place
        n_passes = max(n_passes, running)
        running -= last[time] == place
    most = [0] * (len(times) + 1)
    for place, time in enumerate(times):
        ended = most[first[time]] + sizes[time] if last[time] == place else 0
        most[place + 1] = max(most[place], ended)
    return n_passes, most[-1]


def readings(rows: Sequence[Row]) -> Readings | None:
    """Tell plain verdicts from wordy ones; None for an annotator that answers in another form."""
    said = [row.raw_completion for row in rows if row.preference is not None]
    said = [raw for raw in said if isinstance(raw, str) and raw.strip()]
    wordy = [raw for raw in said if not PLAIN.fullmatch(raw)]
    if not said or len(wordy) > len(said) / 2:
        return None
    doubtful = [raw for raw in wordy if chosen(raw) in (None, *{1, 2} - {preferred_place(raw)})]
    names = [name_of(raw) for raw in doubtful[:EXAMPLES]]
    return Readings(
        n_plain=len(said) - len(wordy),
        n_wordy=len(wordy),
        n_doubtful=len(doubtful),
        examples=[name if len(name) <= SHOWN else f"{name[:SHOWN]}…" for name in names],
    )


def _parts(
    by: str, rows: Sequence[Row], values: Sequence[str | None], **settings: Any
) -> Parts | None:
    """Divide ``rows`` by ``values``, None where not known; None if there is one part alone."""
    known = [(value, row) for value, row in zip(values, rows, strict=True) if value is not None]
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
    read = [(name, row.preference) for name, row in known if row.preference is not None]
    p_value = _groups_p(
        np.array([preference for _, preference in read]),
        np.array([name == names[0] for name, _ in read], dtype=bool),
        seed=settings["seed"],
        samples=settings["samples"],
    )
    parts = [
        Rate(name, win_rate(tabulate(row for n, row in known if n == name), **settings))
        for name in names
    ]
    return Parts(by, parts, p_value)


@dataclass(frozen=True)
class Health:
    """How many of ``n`` answers show a sign."""

    n: int
    empty: int
    starts_with_role: int
    leaks_turns: int
    repeats_itself: int
    ends_mid_sentence: int
    identical: int


def health(answers: Sequence[str]) -> Health:
    """Count the signs of illness in ``answers``."""
    written = Counter(answer.strip() for answer in answers if answer.strip())
    commonest = max(written.values(), default=0)
    return Health(
        n=len(answers),
        empty=sum(not answer.strip() for answer in answers),
        starts_with_role=sum(map(starts_with_role, answers)),
        leaks_turns=sum(map(leaks_turns, answers)),
        repeats_itself=sum(map(repeats_itself, answers)),
        ends_mid_sentence=sum(
            len(answer) >= SHORT and answer.rstrip()[-1:].isalnum() for answer in answers
        ),
        identical=commonest if commonest >= min(LEAST_IDENTICAL, max(len(answers), 3)) else 0,
    )
