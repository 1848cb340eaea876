"""What is common to all steps of an arm: a function makes or changes examples, the rest is made here.

A step is a plain function with keywords. It asks for what it needs by name, and either returns its
examples or, if it asks for ``output_dir``, writes ``examples.jsonl`` there:

    def halve(data: Sequence[Example], *, ratio: float) -> Sequence[Example]:
    def halve(output_dir: Path, *, data: Path, ratio: float) -> None:

Around it every example gets an id and its lineage, and the data set its figures:

    examples.jsonl   a row per example, with what it was before
    rejects.jsonl    all that is not used, with the reason
    stats.json       the figures; card.md with lengths.svg shows them to people

A step that asks a teacher says beforehand which requests it will make (`forecast_by`), so that a
plan is exact and a budget can be kept.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from mini_lima.chat import LEDGER, Chat, ChatRequest, read_ledger
from mini_lima.data.card import card, length_histogram
from mini_lima.data.examples import (
    EXAMPLES,
    Earlier,
    Example,
    Reject,
    StepReport,
    read_examples,
    row_of,
    write_examples,
)
from mini_lima.data.filters import MISSING
from mini_lima.data.measures import counts
from mini_lima.errors import UserError
from mini_lima.files import (
    adapter_of,
    problems,
    read_json,
    read_lines,
    write_json,
    write_jsonl,
    write_text,
)
from mini_lima.results import Shortfall
from mini_lima.store.targets import find

GIVEN = ("output_dir", "teacher", "seeds", "evaluation_set", "step_name")
"""Keywords that a step is given where it names them, besides the data sets that it reads."""
FORECAST = "forecast"
LEAST_USED = 0.5
"""Share of what a teacher was asked for below which a step fails, unless it is configured."""
Step = TypeVar("Step", bound=Callable[..., StepReport | Sequence[Example] | None])


@dataclass(frozen=True)
class Forecast:
    """What a step will ask and make, as far as that is known before.

    Attributes:
        requests: To the teacher; those that depend on replies stood in for by others as long.
        examples: As many as there can be.
        longer: Whether their outputs will be longer than these.
    """

    requests: Sequence[ChatRequest] = ()
    examples: Sequence[Example] = ()
    longer: bool = False


def forecast_by(says: Callable[..., Forecast]) -> Callable[[Step], Step]:
    """Give a step the function that says what it will ask and make.

    Args:
        says: Takes the step's keywords, in which each data set is a list of its examples, as far as
            they are known, and neither ``output_dir`` nor ``step_name``.
    """

    def given(step: Step) -> Step:
        setattr(step, FORECAST, says)
        return step

    return given


def has_forecast(step: Callable[..., Any]) -> bool:
    """Whether the function ``step`` says what it will ask and make."""
    return hasattr(step, FORECAST)


def forecast(
    step: str, keywords: Mapping[str, Any], before: Mapping[str, Forecast], **given: Any
) -> Forecast:
    """Say what the ``step`` of that dotted name will ask and make.

    Args:
        step: Its name.
        keywords: As configured.
        before: What is known of the data sets that it reads, by keyword.
        **given: What else it is given.

    Raises:
        UserError: something that it will read is not as it must be.
    """
    longer = any(each.longer for each in before.values())
    function = find("data", step)
    if not has_forecast(function):
        first = next(iter(before.values()), Forecast())
        return Forecast((), first.examples, longer)
    examples = {name: each.examples for name, each in before.items()}
    found: Forecast = getattr(function, FORECAST)(**keywords, **examples, **given)
    return replace(found, longer=found.longer or longer)


def run_step(
    output_dir: Path,
    *,
    step: str,
    name: str,
    keywords: Mapping[str, Any],
    code: str | None = None,
    teacher: Chat | None = None,
    inputs: Sequence[str] = (),
    least_used: float = LEAST_USED,
    **given: Path,
) -> None:
    """Run a step and complete what it wrote.

    Args:
        output_dir: Receives the files.
        step: Dotted name of its function.
        name: What the arm calls it.
        keywords: As configured.
        code: Hash of the function's file, where it is not ours; a part of the stage's identity.
        teacher: The model that it asks.
        inputs: Which of ``given`` are data sets; the first is the one that it changes.
        least_used: Share of what a prompt of it was to bring below which it fails.
        **given: Data sets and files by keyword.

    Raises:
        UserError: what it wrote is no data set, or its teacher brought too little.
    """
    function = find(f"step {name}", step)
    wanted = signature(function).parameters
    extra: dict[str, Any] = {} if teacher is None else {"teacher": teacher}
    if "step_name" in wanted:
        extra["step_name"] = name
    data = {each: read_examples(given[each]) for each in inputs}
    before = data[inputs[0]] if inputs else []
    if "output_dir" in wanted:
        returned = function(output_dir, **keywords, **given, **extra)
    else:
        returned = function(**keywords, **{**given, **data}, **extra)
    report = _report(name, returned)
    if report.examples is not None:
        write_examples(output_dir, report.examples)
    examples = _completed(output_dir, name, before)
    rejects = [each if each.prompt else replace(each, prompt=name) for each in report.rejects]
    said = replace(report, rejects=rejects)
    shortfalls = list(_shortfalls(name, output_dir, said, examples, examples == before))
    for short in shortfalls:
        if short.used < least_used * short.asked_for:
            raise UserError(
                f"step {short}: less than the share data.least_used={least_used:g}, below which a"
                " step fails: look at what brought it, or lower that"
            )
    if not examples:
        reasons = Counter(each.reason for each in rejects if not each.is_note)
        raise UserError(f"step {name} left no example at all: {dict(reasons) or 'none was made'}")
    write_examples(output_dir, examples)
    write_jsonl(output_dir / "rejects.jsonl", map(asdict, rejects))
    stats = counts(name, examples, before, said)
    earlier = [read_json(given[each] / "stats.json") for each in inputs]
    # Where replies of steps before are found; a step may ask elsewhere than the one before it.
    endpoints = [each for stats_before in earlier for each in stats_before["endpoints"]]
    endpoints += [] if report.endpoint is None else [report.endpoint]
    stats["endpoints"] = list(dict.fromkeys(endpoints))
    stats["shortfalls"] = list(map(asdict, shortfalls))
    for each in (short for stats_before in earlier for short in stats_before.get("shortfalls", ())):
        stats["shortfalls"] += [] if each in stats["shortfalls"] else [each]
    stats["before"] = {
        key: earlier[0][key] if earlier else None
        for key in ("step", "examples", "mean_output_characters", "output_lengths")
    }
    write_json(output_dir / "stats.json", stats)
    write_text(output_dir / "lengths.svg", length_histogram(name, examples, before))
    write_text(output_dir / "card.md", card(examples, stats))


def _shortfalls(
    name: str,
    output_dir: Path,
    report: StepReport,
    examples: Sequence[Example],
    unchanged: bool,
) -> Iterator[Shortfall]:
    """Yield the prompts of a step that brought less than they were to bring.

    Examples are a prompt's by their source, or by the step's name where no prompt is called so. Of
    a step that does not say what it asked, its ledger says how often it was answered at all, and
    examples that are all as they were say that nothing came of it.
    """
    sources = Counter(example.source for example in examples)
    asked = {**report.requests, **report.asked_for}
    for prompt, asked_for in asked.items():
        of_step = 0 if name in asked else sources[name]
        used = report.used.get(prompt, sources[prompt] or of_step)
        if used < asked_for:
            yield Shortfall(name, prompt, asked_for, used, _reasons(report.rejects, prompt))
    if not asked and (output_dir / LEDGER).is_file():
        ledger = read_ledger(output_dir / LEDGER)
        reasons = {f"no reply: {code}": count for code, count in ledger.failed.items()}
        reasons |= {"empty reply": ledger.empty} if ledger.empty else {}
        used = ledger.requests - sum(reasons.values())
        if unchanged and used:
            used, reasons = 0, {**reasons, "it changes no example": used}
        if reasons:
            yield Shortfall(name, name, ledger.requests, used, reasons)


def _reasons(rejects: Sequence[Reject], prompt: str) -> dict[str, int]:
    reasons = (each.reason for each in rejects if each.prompt == prompt)
    return dict(Counter(reason for reason in reasons if not reason.endswith(MISSING)))


def _report(name: str, returned: object) -> StepReport:
    if isinstance(returned, StepReport):
        return returned
    if isinstance(returned, list | tuple) and all(isinstance(each, Example) for each in returned):
        return StepReport(examples=returned)
    if returned is None:
        return StepReport()
    raise UserError(
        f"step {name}: returned a {type(returned).__name__}; a list of examples, StepReport, or"
        " nothing was expected"
    )


def _completed(output_dir: Path, name: str, before: Sequence[Example]) -> list[Example]:
    """Read what the step ``name`` wrote, and give each example its id and its lineage.

    A row with the id of an example before is that example: what the row leaves out is as it was,
    and an output that was changed is kept beside the new one.
    """
    from pydantic import ValidationError
    from pydantic_core import from_json

    path = output_dir / EXAMPLES
    if not path.is_file():
        raise UserError(f"step {name} wrote no {EXAMPLES}")
    adapter = adapter_of(Example)
    known = {each.id: each for each in before}
    examples: list[Example] = []
    place_of: dict[str, str] = {}
    for number, (place, line) in enumerate(read_lines(path)):
        try:
            row = from_json(line)
            if not isinstance(row, dict):
                raise UserError(f"step {name}: {place}: an object was expected, found {row!r:.40}")
            old = known.get(str(row.get("id")))
            whole = {"id": f"{name}.{number}", **(row_of(old) if old else {}), **row}
            example = _with_lineage(adapter.validate_python(whole), old, name)
        except ValidationError as error:
            raise UserError(f"step {name}: {place}: {problems(error)[0]}") from None
        except ValueError as error:
            raise UserError(f"step {name}: {place}: not JSON: {error}") from None
        if (first := place_of.setdefault(example.id, place)) != place:
            raise UserError(f"step {name}: {place}: the id {example.id!r} is also that of {first}")
        examples.append(example)
    return examples


def _with_lineage(example: Example, old: Example | None, name: str) -> Example:
    if old is not None and example.output != old.output and example.earlier == old.earlier:
        was = Earlier(old.output, old.source, old.request)
        example = replace(
            example,
            earlier=(*old.earlier, was),
            source=name if example.source == old.source else example.source,
            request=None if example.request == old.request else example.request,
        )
    return replace(example, task=example.task or example.id, source=example.source or name)
