"""The prompts are the study's, and what is inserted into them is never looked at again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.data import prompts
from mini_lima.data.prompts import read_template
from mini_lima.data.seeds import Instance, Task
from mini_lima.errors import UserError
from tests.data.conftest import ASSETS

PROMPT_1 = "Following are some examples of {name, instruction} pairs. Please generate more pairs like these. Maintain the same format and be as creative as possible."
PROMPT_3 = "Following data is in a JSON line with name and instruction. Please generate five instances according to the example data, and return them in the format of the example data in a JSONL format. Ensure that the name, instruction, and instances conform to the example data's format."
PROMPT_4 = "Given is a question-answer task with task name, instruction and input-output instance. The output text is too short, insipid, dull, boring. Let it be more creative, detailed, interesting, engaging, fascinating, and specific. Generate more creative words for the output part according to the task name, instruction and input. Here is a example: Data give to you: Task name: '{ex_name}', Instruction: '{ex_instr}', Input: '{ex_input}, output: '{ex_output}'. Output should be: {ex_expanded}. Example part end. Following is content of the task: Task name: '{name}', Instruction: '{instr}', Input: '{input}, output: '{output}'. Print output text directly."

FEW_SHOT = ["ex_name", "ex_instr", "ex_input", "ex_output", "ex_expanded"]
FIELDS = [*FEW_SHOT, "name", "instr", "input", "output"]

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    [r"\1 \g<0> \\ \n", "{output}", "{name} {ex_name}", "{}", "{{name}}", "%s {0}", "\u2028\n'\""]
)
tasks = st.builds(
    Task, texts, texts, texts, st.lists(st.builds(Instance, texts, texts), max_size=3).map(tuple)
)


def template(name: str, *fields: str) -> prompts.Template:
    return read_template(ASSETS / f"prompts/{name}.txt", fields=fields, needs=())


LENGTHEN = template("4_lengthen", *FIELDS)


def test_prompt_4_is_word_for_word_the_studys() -> None:
    assert LENGTHEN.text == PROMPT_4


def pair(task: Task) -> dict[str, object]:
    return {"name": task.name, "instruction": task.instruction}


def whole(task: Task) -> dict[str, object]:
    instances = [{"input": each.input, "output": each.output} for each in task.instances]
    return pair(task) | {"instances": instances}


@given(st.fixed_dictionaries({field: texts for field in FIELDS}))
def test_prompt_4_takes_any_text_once_and_as_it_is(fields: dict[str, str]) -> None:
    assert LENGTHEN.fill(fields) == PROMPT_4.format(**fields)


def test_a_field_that_nobody_fills_in_or_that_is_lacking_is_said(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("Shorten {output} of {nmae} as {a, b}.\n")
    with pytest.raises(UserError, match=r"mine\.txt: \{nmae\}"):
        read_template(mine, fields=("output", "name"), needs=("output",))
    mine.write_text("Shorten it.")
    with pytest.raises(UserError, match=r"no \{output\}"):
        read_template(mine, fields=("output", "name"), needs=("output",))
