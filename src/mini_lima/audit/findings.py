"""What an audit says: every figure, named, and what stands out and must be known before it is used.

The text for a terminal, the JSON document for programs, which has every figure with its full
digits, and the page for a browser are all made of this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mini_lima.audit.checks import Health
from mini_lima.audit.checks import Rate as Rate
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit
from mini_lima.errors import listed

SIGNS = {
    "empty": "are empty",
    "starts_with_role": "start with a role word (is the assistant header in the prompt?)",
    "leaks_turns": "run on into further turns (is there a stop token?)",
    "repeats_itself": "repeat themselves",
    "ends_mid_sentence": "end in mid-sentence (cut at the length limit?)",
    "identical": "are one and the same text (was the question in the prompt?)",
}
"""The signs of `checks.Health`."""

UNLIKELY = 0.05
"""A p-value below which a difference is worth a word."""
SICK = 0.05
"""Share of the answers by which a sign has to be commoner than in the reference."""


@dataclass(frozen=True)
class Section:
    """Figures under a title."""

    title: str
    rows: list[tuple[str, str]]


def title(audit: Audit) -> str:
    """Say what the audit is of."""
    judges = ", ".join(listed(audit.annotators, 5))
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


@dataclass(frozen=True)
class Finding:
    """Something to know before the win rate is used; an ``alarm`` can change what it says."""

    level: Literal["alarm", "note"]
    text: str


def findings(audit: Audit) -> list[Finding]:
    """Return what stands out, alarms first."""
    found = [*_of_numbers(audit), *_of_judge(audit), *_of_answers(audit)]
    found += [Finding("note", remark) for remark in audit.remarks]
    return sorted(found, key=lambda finding: finding.level)


def _of_numbers(audit: Audit) -> Iterator[Finding]:
    wrong = [row for row in audit.stated if not row.agrees]
    for row in wrong:
        ours = "unknown" if row.recomputed is None else f"{row.recomputed:.10g}"
        yield Finding(
            "alarm",
            f"{audit.stated_in} says {row.figure} {row.stated:.10g}, the annotations {ours}",
        )
    if audit.stated and not wrong:
        names = ", ".join(row.figure for row in audit.stated)
        yield Finding("note", f"{audit.stated_in} follows from the annotations: {names}")
    missing, found = audit.missing, audit.found
    if missing.n:
        bounds = f"{figure(found.low_if_failures_lose)} to {figure(found.high_if_failures_win)}%"
        yield Finding(
            "alarm" if audit.is_incomplete else "note",
            f"{missing.n} verdicts ({missing.percent:.1f}%) are missing"
            + (f", {missing.n_absent} without even a row" if missing.n_absent else "")
            + f": with them the win rate is anywhere from {bounds}",
        )
    if missing.order_p is not None and missing.order_p < UNLIKELY:
        yield Finding(
            "alarm",
            f"verdicts are not missing at random: {figure(missing.percent_first)}% when the model "
            f"stood first, {figure(missing.percent_second)}% when second (p {missing.order_p:.2g})",
        )
    if missing.length_p is not None and missing.length_p < UNLIKELY:
        yield Finding(
            "note",
            "verdicts are missing on answers of another length: median "
            f"{figure(missing.median_length, 0)} characters, "
            f"{figure(missing.median_length_judged, 0)} where judged (p {missing.length_p:.2g})",
        )


def _of_judge(audit: Audit) -> Iterator[Finding]:
    seen = audit.consistency
    low, high = seen.order_effect_low, seen.order_effect_high
    # As they are printed: an interval that is shown to reach zero does not exclude it.
    if low is not None and high is not None and round(low, 1) * round(high, 1) > 0:
        yield Finding(
            "alarm",
            f"the place decides: the model wins {figure(seen.win_rate_first)}% when shown first, "
            f"{figure(seen.win_rate_second)}% when second",
        )
    if audit.order.source == "assumed":
        yield Finding("note", "who was shown first is assumed: too few raw completions to check")
    if audit.order.source == "unknown":
        yield Finding("note", "who was shown first is unknown: the raw completions fit no seed")
    for parts in audit.parts:
        differ = parts.p_value is not None and parts.p_value < UNLIKELY
        each = ", ".join(
            f"{part.name} {figure(part.found.win_rate)}% of {part.found.n_total}"
            for part in parts.parts
        )
        chance = "" if parts.p_value is None else f" (p {parts.p_value:.2g})"
        yield Finding(
            "alarm" if differ else "note",
            f"verdicts are of several kinds by {parts.by}"
            + (", and they differ" if differ else "")
            + f": {each}{chance}",
        )
    if audit.usage.get("none reported") and "reported" not in audit.usage:
        yield Finding("note", "no verdict came with any reported usage: who answered?")
    if audit.reuse.n_repeated:
        yield Finding("note", f"{audit.reuse.n_repeated} rows repeat another row's verdict")
    if audit.reuse.mixes_passes:
        yield Finding(
            "note",
            f"verdicts of several passes are mixed: by the times of their batches, "
            f"{audit.reuse.n_of_others} of {audit.reuse.n_timed} are from others than the largest",
        )
    if audit.readings and audit.readings.n_wordy:
        said = audit.readings
        such_as = f", such as “{said.examples[0]}”" if said.examples else ""
        yield Finding(
            "note",
            f"{said.n_wordy} of {said.n_plain + said.n_wordy} verdicts were read off a longer "
            f"text, of which {said.n_doubtful} do not say so plainly{such_as}",
        )


def _of_answers(audit: Audit) -> Iterator[Finding]:
    ours, theirs = audit.health, audit.health_of_reference
    for sign, text in SIGNS.items():
        if ours and _share(ours, sign) - (_share(theirs, sign) if theirs else 0) > SICK:
            yield Finding("alarm", f"{getattr(ours, sign)} of {ours.n} answers {text}")


def spread_findings(spread: Spread) -> list[Finding]:
    """Say whether several runs fit one judge."""
    figures = (
        f"the runs' win rates have a standard deviation of {spread.observed:.2f} points; one "
        f"judge's noise gives {spread.expected:.2f} (p {spread.p_value:.2g}, {spread.n_common} "
        "instructions in all runs)"
    )
    found = [
        Finding("note", f"the runs fit one judge: {figures}")
        if spread.fits_one_judge
        else Finding("alarm", f"the runs do not fit one judge: {figures}")
    ]
    if len(names := dict.fromkeys(spread.annotators)) > 1:
        told = "; ".join(listed(list(names), 5))
        found.append(Finding("note", f"the runs name different annotators: {told}"))
    for pair in spread.pairs:
        if pair.n_copied:
            found.append(
                Finding(
                    "alarm",
                    f"{pair.n_copied} verdicts of {pair.runs[0]} and {pair.runs[1]} are the same "
                    "ones, reused: they are no second opinion",
                )
            )
    return found


def _share(health: Health, sign: str) -> float:
    return float(asdict(health)[sign]) / health.n


def as_text(audits: Sequence[Audit], spread: Spread | None) -> str:
    """Return all audits, one below the other, then what several runs say together."""
    blocks = [_text(f"{a.folder}: {title(a)}", rates(a), findings(a), sections(a)) for a in audits]
    if spread is not None:
        runs = [Rate(n, r) for n, r in zip(spread.runs, spread.win_rates, strict=True)]
        title_of_all = f"{len(runs)} runs of the same outputs"
        blocks.append(_text(title_of_all, runs, spread_findings(spread), [spread_section(spread)]))
    return "\n\n".join(blocks)


def _text(
    title: str, rates: Sequence[Rate], found: Sequence[Finding], sections: Sequence[Section]
) -> str:
    marks = {"alarm": "!", "note": "-"}
    lines = [title, *_rates(rates), "", *(f"{marks[each.level]} {each.text}" for each in found)]
    for section in sections:
        width = max((len(name) for name, _ in section.rows), default=0)
        lines += ["", section.title, *(f"  {name:{width}}  {text}" for name, text in section.rows)]
    return "\n".join(lines)


def _rates(rates: Sequence[Rate]) -> list[str]:
    width = max(len(rate.name) for rate in rates)
    lines = []
    for rate in rates:
        found = rate.found
        figure = "    –" if found.win_rate is None else f"{found.win_rate:6.2f}%"
        interval = "" if found.low is None else f"[{found.low:.1f}, {found.high:.1f}]"
        lines.append(f"  {rate.name:{width}} {figure} {interval:14} of {found.n_total}".rstrip())
    return lines


def as_document(audits: Sequence[Audit], spread: Spread | None) -> dict[str, Any]:
    """Return ``audits``, one per folder, and ``spread``, None for a single folder."""
    return {
        "audits": [
            {**asdict(audit), "findings": [asdict(found) for found in findings(audit)]}
            for audit in audits
        ],
        "spread": None
        if spread is None
        else {**asdict(spread), "findings": [asdict(found) for found in spread_findings(spread)]},
    }
