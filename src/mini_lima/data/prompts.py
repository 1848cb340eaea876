"""The four prompts of the study, word for word, and the data that each is followed by.

They are the study's instrument: oddities of spelling and quoting are part of it and stay. Text from
seeds and from the teacher is inserted once and never looked at again, so an output that contains
braces or ``{name}`` arrives unchanged.
"""

import json
import re
from collections.abc import Iterable, Mapping

from mini_lima.data.seeds import Task

PROMPT_1 = (
    "Following are some examples of {name, instruction} pairs. Please generate more pairs like"
    " these. Maintain the same format and be as creative as possible."
)
PROMPT_2 = (
    "Following is a JSON line with name, instruction, and instances. Given some instances, please"
    " generate two more instances based on the provided information, add them to the JSONL file,"
    " and return it in the same line format."
)
PROMPT_3 = (
    "Following data is in a JSON line with name and instruction. Please generate five instances"
    " according to the example data, and return them in the format of the example data in a JSONL"
    " format. Ensure that the name, instruction, and instances conform to the example data's"
    " format."
)
PROMPT_4 = (
    "Given is a question-answer task with task name, instruction and input-output instance. The"
    " output text is too short, insipid, dull, boring. Let it be more creative, detailed,"
    " interesting, engaging, fascinating, and specific. Generate more creative words for the output"
    " part according to the task name, instruction and input. Here is a example: Data give to you:"
    " Task name: '{ex_name}', Instruction: '{ex_instr}', Input: '{ex_input}, output:"
    " '{ex_output}'. Output should be: {ex_expanded}. Example part end. Following is content of the"
    " task: Task name: '{name}', Instruction: '{instr}', Input: '{input}, output: '{output}'. Print"
    " output text directly."
)


def more_pairs(tasks: Iterable[Task]) -> str:
    """Prompt 1 with the {name, instruction} pairs of ``tasks``."""
    return "\n".join([PROMPT_1, *(_pair(task) for task in tasks)])


def more_instances(task: Task) -> str:
    """Prompt 2 with ``task`` and the instances it has."""
    return f"{PROMPT_2}\n{_whole(task)}"


def new_instances(task: Task, *, example: Task) -> str:
    """Prompt 3, one-shot: an earlier task with its instances, then ``task``, which has none."""
    return f"{PROMPT_3}\nExample data: {_whole(example)}\nData: {_pair(task)}"


def longer_output(fields: Mapping[str, str]) -> str:
    """Prompt 4; ``fields`` are its nine braced names.

    Raises:
        KeyError: a braced name that ``fields`` lacks.
    """
    return re.sub(r"\{(\w+)\}", lambda match: fields[match.group(1)], PROMPT_4)


def _pair(task: Task) -> str:
    return _json({"name": task.name, "instruction": task.instruction})


def _whole(task: Task) -> str:
    instances = [{"input": each.input, "output": each.output} for each in task.instances]
    return _json({"name": task.name, "instruction": task.instruction, "instances": instances})


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False)
