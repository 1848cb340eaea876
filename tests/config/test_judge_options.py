"""Judges as a command line names them: what is wrong is said before anything runs."""

import pytest

from mini_lima.errors import UserError
from tests.composing import configured

SECOND = "+annotator@other_annotators.second=chatgpt"


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["annotator.name=chatgtp"], r"annotator\.name=chatgtp: .*chatgpt"),
        ([SECOND, "other_annotators.second.name=longset"], r"other_annotators\.second\.name=long"),
        (["annotator=coin", "annotator.rule._target_=my.judge"], r"annotator\.rule\._target_=my"),
        (["annotator.prompt=misspelt.txt"], r"annotator\.prompt=misspelt\.txt: no such file"),
        (["annotator.chat=null"], r"annotator\.chat is missing: chatgpt is put to a model"),
        (["annotator.repeats=0"], r"annotator\.repeats=0"),
    ],
)
def test_a_judge_that_cannot_judge_is_refused(overrides, complaint):
    with pytest.raises(UserError, match=complaint):
        configured(*overrides)


def test_one_token_is_too_few_for_an_answer_that_names_an_output(tmp_path):
    prompt = tmp_path / "mine.txt"
    prompt.write_text("{instruction} (a) {output_1} (b) {output_2}", encoding="utf-8")
    with pytest.raises(UserError, match=r"annotator\.chat\.max_tokens=1: too few"):
        configured("annotator=gpt-4.1", f"annotator.prompt={prompt}")
    config = configured(
        *("annotator=gpt-4.1", f"annotator.prompt={prompt}"),
        *("annotator.reading=weighted", "annotator.answers=['(a)','(b)']"),
    )
    assert config.annotator.asks_model
