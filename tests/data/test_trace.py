"""The chain behind an example, from the data set and the response cache alone."""

import re

import pytest

from mini_lima.data.trace import newest_data_set, trace
from mini_lima.errors import UserError
from tests.data.conftest import DataSet, Study
from tests.data.teachers import Teacher
from tests.data.test_prompts import PROMPT_1, PROMPT_3


@pytest.fixture
def before(study: Study) -> DataSet:
    return study.naive_by(Teacher())


@pytest.fixture
def after(study: Study, before: DataSet) -> DataSet:
    with study.taught_by(Teacher()) as endpoint:
        return study.improved(before, endpoint)


def in_order(told: str, *parts: str) -> bool:
    return re.search(".*".join(map(re.escape, parts)), told, re.DOTALL) is not None


def test_an_improved_example_shows_every_prompt_and_reply_and_both_outputs(
    after: DataSet,
) -> None:
    example = next(each for each in after.examples if each.earlier[0].source == "prompt 3")
    (earlier,) = example.earlier
    told = trace(after.folder, example.id, after.cache)
    assert in_order(
        told,
        example.id,
        str(example.task_request),
        PROMPT_1,
        "reply of fake-1",
        example.instruction,
        str(earlier.request),
        PROMPT_3,
        "reply of fake-1",
        earlier.output,
        str(example.request),
        "Given is a question-answer task",
        "reply of fake-1",
        example.output,
    )


def test_what_is_not_there_is_said(after: DataSet) -> None:
    with pytest.raises(UserError, match=r"nowhere\.1"):
        trace(after.folder, "nowhere.1", after.cache)
    with pytest.raises(UserError, match=r"other\.sqlite"):
        trace(after.folder, after.examples[0].id, after.folder / "other.sqlite")
    with pytest.raises(UserError, match=r"examples\.jsonl"):
        trace(after.folder / "nothing", "x", after.cache)
    with pytest.raises(UserError, match="--data"):
        newest_data_set(after.folder, "x")
