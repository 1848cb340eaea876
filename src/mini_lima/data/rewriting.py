"""Rewriting: every output goes through a prompt of its own, and everything else stays as it is.

The study's arm improved (its section 2.2) is this with prompt 4, which lengthens: the two data
sets then differ in one thing. Another prompt is another text file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mini_lima.chat import Chat, Reply, user_says
from mini_lima.data.examples import (
    Earlier,
    Example,
    Reject,
    StepReport,
    read_examples,
    write_examples,
)
from mini_lima.data.filters import Objection, RewritingFilters, rewriting_objection
from mini_lima.data.prompts import Template, read_template
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.language import languages

OF_EXAMPLE = ("name", "instruction", "instr", "input", "output", "system")
"""Fields that are filled in from the example; the study's prompt says ``instr``."""


@dataclass(frozen=True)
class WorkedExample:
    """An example inside the prompt: a short output and what it should have been.

    Its fields are ``ex_name``, ``ex_instr``, ``ex_input``, ``ex_output`` and ``ex_expanded``.
    """

    name: str
    instruction: str
    input: str
    output: str
    expanded: str


def expected(
    *,
    data: Sequence[Example],
    teacher: Chat,
    prompt: Path,
    worked_example: WorkedExample | None = None,
    fields: Mapping[str, str] | None = None,
    **_: Any,
) -> Forecast:
    """Say what `rewrite` will ask for the examples of ``data``."""
    texts = _prompts(data, prompt, worked_example, fields or {})
    return Forecast([teacher.model.request(each) for each in user_says(texts)], data, longer=True)


@forecast_by(expected)
def rewrite(
    output_dir: Path,
    *,
    data: Path,
    teacher: Chat,
    step_name: str,
    prompt: Path,
    worked_example: WorkedExample | None = None,
    fields: Mapping[str, str] | None = None,
    filters: RewritingFilters | None = None,
) -> StepReport:
    """Have every output of a data set rewritten.

    An example whose rewriting is empty or fails a filter is left out, kept as a reject and counted.

    Args:
        output_dir: Receives the examples.
        data: A finished data set.
        teacher: Who rewrites.
        step_name: What the arm calls this step.
        prompt: Template of the prompt. Its fields are those of an example (`OF_EXAMPLE`) and those
            of the next two.
        worked_example: Shown in every prompt.
        fields: Further texts, by the name of their field.
        filters: What is not used; None for all filters.
    """
    before = read_examples(data)
    texts = _prompts(before, prompt, worked_example, fields or {})
    with teacher.session(output_dir) as session:
        replies = session.ask(user_says(texts), label=f"{step_name}: {prompt.stem}")
    on = filters or RewritingFilters()
    languages_before = languages(example.instruction for example in before)
    after: list[Example] = []
    rejects: list[Reject] = []
    for example, reply in zip(before, replies, strict=True):
        if no := _objection(example, reply, worked_example, languages_before, on):
            rejects.append(Reject(no.code, example.id, reply.request_key, reply.text, no.detail))
        else:
            after.append(_rewritten(example, reply, step_name))
    write_examples(output_dir, after)
    return StepReport(
        rejects=rejects,
        requests={step_name: len(texts)},
        cost=session.ledger.value,
        teacher=teacher.model.model,
        endpoint=teacher.endpoint.identity,
    )


def _prompts(
    examples: Sequence[Example],
    prompt: Path,
    worked: WorkedExample | None,
    further: Mapping[str, str],
) -> list[str]:
    constant = dict(further)
    if worked is not None:
        short = {**asdict(worked), "instr": worked.instruction}
        del short["instruction"]
        constant |= {f"ex_{name}": text for name, text in short.items()}
    template = read_template(prompt, fields=[*OF_EXAMPLE, *constant], needs=("output",))
    return [_filled(template, each, constant) for each in examples]


def _filled(template: Template, example: Example, constant: Mapping[str, str]) -> str:
    own = {
        "name": example.name,
        "instruction": example.instruction,
        "instr": example.instruction,
        "input": example.input,
        "output": example.output,
        "system": example.system,
    }
    return template.fill({**constant, **own})


def _objection(
    example: Example,
    reply: Reply,
    worked: WorkedExample | None,
    expected: frozenset[str],
    on: RewritingFilters,
) -> Objection | None:
    if reply.error is not None:
        return Objection(f"no reply: {reply.error}")
    if not reply.text.strip():
        return Objection("empty reply")
    return rewriting_objection(
        reply.text.strip(),
        before=example.output,
        given=f"{example.instruction}\n{example.input}",
        example=(worked.output, worked.expanded) if worked else (),
        expected=expected,
        cut=reply.finish_reason == "length",
        on=on,
    )


def _rewritten(example: Example, reply: Reply, step_name: str) -> Example:
    return replace(
        example,
        output=reply.text.strip(),
        source=step_name,
        request=reply.request_key,
        earlier=(*example.earlier, Earlier(example.output, example.source, example.request)),
    )
