"""What stands out in an audit: what to know before the win rate is used."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from mini_lima.audit.answers import Health
from mini_lima.audit.several import Spread
from mini_lima.audit.single import Audit
from mini_lima.audit.words import SIGNS, figure

UNLIKELY = 0.05
"""A p-value below which a difference is worth a word."""
SICK = 0.05
"""Share of the answers by which a sign has to be commoner than in the reference."""


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
    if seen.order_effect is not None and low is not None and high is not None and low * high > 0:
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
    if audit.reuse.n_stretches > audit.reuse.n_batches:
        yield Finding(
            "note",
            "verdicts of several passes are mixed: the times of "
            f"{audit.reuse.n_batches} batches lie in {audit.reuse.n_stretches} stretches",
        )
    if audit.readings and audit.readings.n_wordy:
        said = audit.readings
        yield Finding(
            "note",
            f"{said.n_wordy} of {said.n_plain + said.n_wordy} verdicts were read off a longer "
            f"text, of which {said.n_doubtful} do not say so plainly, such as “{said.examples[0]}”",
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
        found.append(Finding("note", f"the runs name different annotators: {'; '.join(names)}"))
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
