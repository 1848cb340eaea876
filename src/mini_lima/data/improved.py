"""The improved method (the study, section 2.2): prompt 4 rewrites every output of the naive set.

Everything but the outputs stays as it is, so the two data sets differ in one thing.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from mini_lima.chat import ChatModel, Endpoint
from mini_lima.data import prompts
from mini_lima.data.examples import Example, Reject, read_examples, write_data_set
from mini_lima.data.teacher import Teacher


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
    teacher: ChatModel,
    endpoint: Endpoint,
    cache: Path,
    worked_example: WorkedExample,
) -> None:
    """Write the improved data set.

    An example whose rewriting is empty or was cut off by the length limit is left out and counted.

    Args:
        output_dir: Receives ``examples.jsonl``, ``rejects.jsonl`` and ``stats.json``.
        naive: A finished naive data set.
        teacher: The model that rewrites.
        endpoint: Where the teacher is reached.
        cache: The response cache's file.
        worked_example: Shown in every prompt 4.
    """
    before = read_examples(naive)
    asked = [_prompt(example, worked_example) for example in before]
    replies = Teacher(teacher, endpoint, cache).ask(asked, label="prompt 4: longer outputs")

    after: list[Example] = []
    rejects: list[Reject] = []
    for example, reply in zip(before, replies, strict=True):
        output = reply.text.strip()
        if output and reply.finish_reason != "length":
            key = reply.request_key
            after.append(replace(example, output=output, source="prompt 4", request=key))
        else:
            reason = "prompt 4: reply cut off" if output else "prompt 4: empty reply"
            rejects.append(Reject(reason, example.id, reply.request_key, reply.text))
    mean_before = fmean(len(example.output) for example in before)
    write_data_set(output_dir, after, rejects, naive_mean_output_characters=mean_before)


def _prompt(example: Example, worked: WorkedExample) -> str:
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
