"""The figures of an audit, named: what its text and its page are both made of."""

from dataclasses import asdict, dataclass

from mini_lima.audit.answers import Health
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit
from mini_lima.statistics import WinRate

SIGNS = {
    "empty": "are empty",
    "starts_with_role": "start with a role word (is the assistant header in the prompt?)",
    "leaks_turns": "run on into further turns (is there a stop token?)",
    "repeats_itself": "repeat themselves",
    "ends_mid_sentence": "end in mid-sentence (cut at the length limit?)",
}
"""The signs of `answers.Health`."""


@dataclass(frozen=True)
class Rate:
    """A win rate with its interval, in percent, and what it is over."""

    name: str
    found: WinRate
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """Figures under a title."""

    title: str
    rows: list[tuple[str, str]]


def title(audit: Audit) -> str:
    """Say what the audit is of."""
    judges = ", ".join(audit.annotators)
    return (
        f"{audit.model} against {audit.reference}, judged by {judges} "
        f"on {audit.n_instructions} instructions"
    )


def rates(audit: Audit) -> list[Rate]:
    """Return the win rate over all verdicts, then over parts that should not differ from it."""
    found = [Rate("all verdicts", audit.found)]
    if audit.model_first and audit.model_second:
        found.append(Rate("model shown first", audit.model_first))
        found.append(Rate("model shown second", audit.model_second))
    for parts in audit.parts:
        found += [Rate(f"{parts.by}: {part.name}", part.found) for part in parts.parts]
    if audit.lengths and audit.lengths.n_matched:
        ratio, matched = audit.lengths.ratio, audit.lengths.win_rate_matched
        found.append(Rate(f"lengths within a factor {ratio:g}", matched))
    return found


def sections(audit: Audit) -> list[Section]:
    """Return every figure, by what it is about."""
    found, seen, missing = audit.found, audit.consistency, audit.missing
    order = {
        "given": "as the file says",
        "seed": f"drawn again with seed {audit.order.seed}",
        "not shuffled": "the reference's output 1 always first",
        "read": "read off the raw completions",
        "assumed": f"assumed: drawn with the library's seed {audit.order.seed}",
        "unknown": "not known",
    }[audit.order.source]
    if audit.order.n_checked:
        order += f"; {audit.order.n_agreeing} of {audit.order.n_checked} raw completions agree"
    made = [
        Section(
            "Verdicts",
            [
                ("read", f"{found.n_total}"),
                (
                    "missing",
                    f"{missing.n} ({missing.percent:.1f}%), of which {missing.n_absent} without "
                    f"a row, {missing.n_invalid} no preference",
                ),
                ("standard error", figure(found.standard_error, 2)),
                ("if the missing lose", f"{figure(found.low_if_failures_lose, 2)}%"),
                ("if the missing win", f"{figure(found.high_if_failures_win, 2)}%"),
                ("ties", f"{figure(seen.tie_rate)}%"),
                ("usage", ", ".join(f"{name}: {n}" for name, n in audit.usage.items()) or "–"),
                *_missing_rows(audit),
            ],
        ),
        Section("Order", [("who was shown first", order), *_order_rows(audit)]),
    ]
    if audit.lengths:
        size = audit.lengths
        made.append(
            Section(
                "Length in characters",
                [
                    ("model", f"mean {size.average:.0f}, median {size.median:.0f}"),
                    (
                        "reference",
                        f"mean {size.average_reference:.0f}, median {size.median_reference:.0f}",
                    ),
                    ("pairs of about equal length", f"{size.n_matched} of {size.n}"),
                    ("length-controlled win rate", _length_controlled(audit)),
                ],
            )
        )
    if audit.health:
        made.append(
            Section(
                "Answers of the model (reference)",
                [
                    (
                        text.partition(" (")[0],
                        _counts(sign, audit.health, audit.health_of_reference),
                    )
                    for sign, text in SIGNS.items()
                ],
            )
        )
    return made


def _missing_rows(audit: Audit) -> list[tuple[str, str]]:
    gone = audit.missing
    if not gone.n:
        return []
    rows = []
    if gone.order_p is not None:
        each = f"{figure(gone.percent_first)}% and {figure(gone.percent_second)}%"
        rows.append(("missing with the model first, second", f"{each}, p {gone.order_p:.2g}"))
    if gone.length_p is not None:
        each = f"{figure(gone.median_length, 0)} and {figure(gone.median_length_judged, 0)}"
        rows.append(("median length where missing, judged", f"{each}, p {gone.length_p:.2g}"))
    return rows


def _order_rows(audit: Audit) -> list[tuple[str, str]]:
    seen = audit.consistency
    rows = []
    if seen.order_effect is not None:
        interval = f"[{figure(seen.order_effect_low)}, {figure(seen.order_effect_high)}]"
        rows.append(("first minus second", f"{figure(seen.order_effect)} points {interval}"))
    if seen.order_disagreement is not None:
        rows.append(("verdict changes with the order", f"{seen.order_disagreement:.1f}%"))
    if seen.flip_rate is not None:
        rows.append(("verdict changes when asked again", f"{seen.flip_rate:.1f}%"))
    for pair in (each for each in seen.agreements if each.n):
        names = " and ".join(pair.annotators)
        rows.append((f"{names} agree", f"{figure(pair.agreement)}% of {pair.n}"))
    return rows


def spread_section(spread: Spread) -> Section:
    """Return what the runs say of each other, in pairs."""
    return Section(
        "Runs in pairs",
        [
            (
                f"{pair.runs[0]} − {pair.runs[1]}",
                f"{pair.difference:+.2f} points, p {pair.p_value:.2g}; "
                f"{pair.flips:.1f}% of the verdicts differ",
            )
            for pair in spread.pairs
        ],
    )


def _length_controlled(audit: Audit) -> str:
    found = audit.length_controlled
    stated = audit.length_controlled_stated
    text = found.undefined or (
        f"{figure(found.win_rate, 2)}% [{figure(found.low)}, {figure(found.high)}]"
    )
    return text if stated is None else f"{text}; {audit.stated_in} says {stated:.2f}%"


def _counts(sign: str, ours: Health, theirs: Health | None) -> str:
    count = asdict(ours)[sign]
    text = f"{count} of {ours.n}"
    return f"{text} ({asdict(theirs)[sign]} of {theirs.n})" if theirs else text


def figure(value: float | None, digits: int = 1) -> str:
    """Return ``value`` for people."""
    return "–" if value is None else f"{value:.{digits}f}"
