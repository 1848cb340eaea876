"""The improved method (the study, section 2.2): prompt 4 rewrites every output of the naive set.

Everything but the outputs stays as it is, so the two data sets differ in one thing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mini_lima.chat import Chat, Reply, user_says
from mini_lima.data import prompts
from mini_lima.data.examples import DataSet, Example, Reject, read_examples
from mini_lima.data.filters import RewritingFilters
from mini_lima.data.screening import Objection, rewriting_objection
from mini_lima.data.writing import write_data_set
from mini_lima.files import read_json
from mini_lima.language import languages


@dataclass(frozen=True)
class WorkedExample:
    """The example inside prompt 4: a short output and what it should have been."""

    name: str
    instruction: str
    input: str
    output: str
    expanded: str


def build(
    output_dir: Path,
    *,
    naive: Path,
    teacher: Chat,
    worked_example: WorkedExample,
    filters: RewritingFilters | None = None,
) -> None:
    """Write the improved data set.

    An example whose rewriting is empty or fails a filter is left out, kept as a reject and counted.

    Args:
        output_dir: Receives what `write_data_set` writes.
        naive: A finished naive data set.
        teacher: Who rewrites.
        worked_example: Shown in every prompt 4.
        filters: What is not used; None for all filters.
    """
    before = read_examples(naive)
    with teacher.session(output_dir) as session:
        texts = [prompt_4(example, worked_example) for example in before]
        replies = session.ask(user_says(texts), label="prompt 4: longer outputs")
    on = filters or RewritingFilters()
    expected = languages(example.instruction for example in before)
    after: list[Example] = []
    rejects: list[Reject] = []
    for example, reply in zip(before, replies, strict=True):
        if no := _objection(example, reply, worked_example, expected, on):
            reason, key = f"prompt 4: {no.code}", reply.request_key
            rejects.append(Reject(reason, example.id, key, reply.text, no.detail))
        else:
            after.append(_rewritten(example, reply))
    data_set = DataSet(
        method="improved",
        examples=after,
        rejects=rejects,
        requests={"prompt 4": len(texts)},
        teacher=teacher.model.model,
        endpoint=teacher.endpoint.identity,
        cost=session.ledger.value,
    )
    naive_stats = read_json(naive / "stats.json")
    write_data_set(
        output_dir,
        data_set,
        naive_cost=naive_stats["cost"],
        naive_endpoint=naive_stats["endpoint"],
        naive_output_lengths=naive_stats["output_lengths"],
        naive_mean_output_characters=naive_stats["mean_output_characters"],
    )


def _objection(
    example: Example,
    reply: Reply,
    worked: WorkedExample,
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
        example=(worked.output, worked.expanded),
        expected=expected,
        cut=reply.finish_reason == "length",
        on=on,
    )


def _rewritten(example: Example, reply: Reply) -> Example:
    return replace(
        example,
        output=reply.text.strip(),
        source="prompt 4",
        request=reply.request_key,
        naive_source=example.source,
        naive_request=example.request,
        naive_output=example.output,
    )


def prompt_4(example: Example, worked: WorkedExample) -> str:
    """The prompt that asks for a longer output of ``example``."""
    return prompts.longer_output(
        {
            "ex_name": worked.name,
            "ex_instr": worked.instruction,
            "ex_input": worked.input,
            "ex_output": worked.output,
            "ex_expanded": worked.expanded,
            "name": example.name,
            "instr": example.instruction,
            "input": example.input,
            "output": example.output,
        }
    )
