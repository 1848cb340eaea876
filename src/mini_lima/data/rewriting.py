"""Rewriting: every output goes through a prompt of its own, and everything else stays as it is.

The study's arm improved (its section 2.2) is this with prompt 4, which lengthens: the two data
sets then differ in one thing. Another prompt is another text file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mini_lima.chat import Chat, user_says
from mini_lima.data.examples import (
    Earlier,
    Example,
    Reject,
    StepReport,
    read_examples,
)
from mini_lima.data.filters import RewritingFilters, rewriting_objection
from mini_lima.data.prompts import read_template
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.text.language import languages

OF_EXAMPLE = ("name", "instruction", "instr", "input", "output", "system")
"""Fields that are filled in from the example; the study's prompt says ``instr``."""


@dataclass(frozen=True)
class FewShot:
    """An example inside the prompt: a short output and what it should have been.

    Its fields are ``ex_name``, ``ex_instr``, ``ex_input``, ``ex_output`` and ``ex_expanded``.
    """

    name: str
    instruction: str
    input: str
    output: str
    expanded: str

    def fields(self) -> dict[str, str]:
        """Return its texts by the names that the study's prompt has for them."""
        named = {f"ex_{name}": text for name, text in vars(self).items()}
        return {**named, "ex_instr": named.pop("ex_instruction")}


def _expect_rewritten(
    *,
    data: Sequence[Example],
    teacher: Chat,
    prompt: Path,
    few_shot: FewShot | None = None,
    fields: Mapping[str, str] | None = None,
    **_: Any,
) -> Forecast:
    texts = _prompts(data, prompt, few_shot, fields or {})
    return Forecast([teacher.model.request(each) for each in user_says(texts)], data, longer=True)


@forecast_by(_expect_rewritten)
def rewrite(
    output_dir: Path,
    *,
    data: Path,
    teacher: Chat,
    step_name: str,
    prompt: Path,
    few_shot: FewShot | None = None,
    fields: Mapping[str, str] | None = None,
    filters: RewritingFilters | None = None,
) -> StepReport:
    """Have every output of a data set rewritten.

    An example whose rewriting is empty or fails a filter is left out, kept as a reject and counted.

    Args:
        output_dir: Receives the ledger of the requests.
        data: A finished data set.
        teacher: Who rewrites.
        step_name: What the arm calls this step.
        prompt: Template of the prompt. Its fields are those of an example (`OF_EXAMPLE`) and those
            of the next two.
        few_shot: Shown in every prompt.
        fields: Further texts, by the name of their field.
        filters: What is not used; None for all filters.
    """
    before = read_examples(data)
    texts = _prompts(before, prompt, few_shot, fields or {})
    with teacher.session(output_dir) as session:
        replies = session.ask(user_says(texts), label=f"{step_name}: {prompt.stem}")
    languages_before = languages(example.instruction for example in before)
    shown = (few_shot.output, few_shot.expanded) if few_shot else ()
    after: list[Example] = []
    rejects: list[Reject] = []
    rewritten: dict[str, str] = {}
    for example, reply in zip(before, replies, strict=True):
        text = reply.text.strip()
        if no := rewriting_objection(
            reply,
            before=example.output,
            given=f"{example.instruction}\n{example.input}",
            example=shown,
            expected=languages_before,
            on=filters or RewritingFilters(),
            rewritten=rewritten,
        ):
            rejects.append(Reject(no.code, example.id, reply.request_key, reply.text, no.detail))
            continue
        rewritten.setdefault(text, example.output)
        was = Earlier(example.output, example.source, example.request)
        after.append(
            replace(
                example,
                output=text,
                source=step_name,
                request=reply.request_key,
                earlier=(*example.earlier, was),
            )
        )
    return StepReport(
        after,
        rejects=rejects,
        requests={step_name: len(texts)},
        cost=session.ledger.value,
        teacher=teacher.model.model,
        endpoint=teacher.endpoint.identity,
    )


def _prompts(
    examples: Sequence[Example],
    prompt: Path,
    few_shot: FewShot | None,
    further: Mapping[str, str],
) -> list[str]:
    constant = {**further, **(few_shot.fields() if few_shot else {})}
    template = read_template(prompt, fields=[*OF_EXAMPLE, *constant], needs=("output",))
    return [template.fill({**constant, **_own_fields(each)}) for each in examples]


def _own_fields(example: Example) -> dict[str, str]:
    texts = {**vars(example), "instr": example.instruction}
    return {name: texts[name] for name in OF_EXAMPLE}
