"""What AlpacaEval's annotators are asked, and how their answers, and users' own, are read."""

import logging
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.evaluation import prompts
from mini_lima.evaluation.library import undisturbed
from mini_lima.evaluation.prompts import Shown, load_shipped
from tests.evaluation.judging import reply

READINGS = [
    ("chatgpt", "Output (a)", 1),
    ("chatgpt", "Output (b)", 2),
    ("chatgpt", "neither", None),
    ("chatgpt", "", None),
    ("alpaca_eval_gpt4", "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]", 2),
    ("alpaca_eval_gpt4", "[{'model': 'model_1', 'rank': 3}]", None),
    ("alpaca_eval_gpt4", "[{'model': ", None),
    ("alpaca_eval_clf_gpt4_turbo", "m", 1),
    ("alpaca_eval_clf_gpt4_turbo", " M\n", 2),
    ("alpaca_eval_clf_gpt4_turbo", "m or M", None),
    ("gpt4_turbo_clf", "B", 2),
    ("improved_lmsys_gpt4", "8 8\nequally good", 1.5),
    ("improved_lmsys_gpt4", "9 8\n", 1),
    ("Self-taught-llama3.1-70B-dpo", "A is right.\n\n[[B]]", 2),
    ("Self-taught-llama3.1-70B-dpo", "[[A]] or [[B]]", None),
]


def test_harmless_text_is_asked_about_in_alpaca_evals_own_words():
    shown = Shown("What is 1 + 1?", "It is 2.", 'I say "3",\nbut am not sure.')
    row = {"instruction": shown.instruction, "output_1": shown.first, "output_2": shown.second}
    for name in {name for name, *_ in READINGS if "Self" not in name} | {"gpt4_turbo"}:
        with undisturbed():
            import pandas as pd
            from alpaca_eval import constants, utils

            folder = constants.EVALUATORS_CONFIG_DIR
            config = utils.load_configs(folder / name)[name]
            template = (folder / config["prompt_template"]).read_text()
            ((prompt,), _) = utils.make_prompts(pd.DataFrame([row]), template)
            theirs = [(part["role"], part["content"]) for part in utils.prompt_to_chatml(prompt)]
        assert list(load_shipped(name).messages(shown)) == theirs


def test_completions_are_read_as_the_annotators_config_says_and_silently(caplog):
    with caplog.at_level(logging.DEBUG):
        for name, completion, preference in READINGS:
            assert load_shipped(name).read(reply(completion)) == [preference], (name, completion)
    assert caplog.records == []


@settings(max_examples=15)
@given(completion=st.text())
def test_no_completion_makes_reading_fail(completion):
    for name in ("chatgpt", "alpaca_eval_gpt4", "alpaca_eval_gpt4_fn", "lmsys_gpt4"):
        (preference,) = load_shipped(name).read(reply(completion))
        assert preference is None or 1 <= preference <= 2


def test_answers_to_a_users_prompt_are_read_as_the_configuration_says():
    for how, said, finish, preference in (
        ("named", "Output (b)", "stop", 2),
        ("named", "\nOutput (b)\n\nIt is more", "length", 2),
        ("named", "At first sight\nOutput (b)\nis better, but", "length", None),
        ("exact", " B\n", "stop", 2),
        ("exact", "B.", "stop", None),
        ("last", "B is wrong, A is right: A", "stop", 1),
        ("last", "It is a tie: C.", "stop", 1.5),
        ("last", "BA", "stop", None),
        ("last", "A is good, but", "length", None),
    ):
        read = prompts.votes_by(how, () if how == "named" else ("A", "B", "C"))
        assert read(reply(said, finish)) == [preference], said


VISIBLE = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1)


@settings(max_examples=50)
@given(said=st.text(), answers=st.lists(VISIBLE, min_size=2, max_size=3, unique=True))
def test_no_answer_makes_reading_fail_and_the_last_word_counts(said, answers):
    for how in ("exact", "last"):
        assert prompts.votes_by(how, answers)(reply(said))[0] in (1, 1.5, 2, None)
    assert prompts.votes_by("last", answers)(reply(f"{said} {answers[0]}"))[0] == 1


def test_every_shipped_annotator_is_followed():
    assert len(prompts.shipped()) > 40
    for name in prompts.shipped():
        annotator = load_shipped(name)
        assert annotator.name == name
        for each in annotator.members or (annotator,):
            content = "".join(content for _, content in each.prompt)
            marks = ("{instruction}", "{output_1}", "{output_2}")
            assert [content.count(mark) for mark in marks] == [each.batch] * 3
            assert not re.search(r"<\|(im_|start_|end_h|eot)", content)
            assert not content.startswith("\n\nHuman:")
            assert {role for role, _ in each.prompt} <= {"system", "user", "assistant"}
            assert each.prompt[-1][0] == "user"


def test_there_are_as_many_votes_as_pairs_or_none():
    numbered = "\n".join(f"{k}. **Output (a)**" for k in range(5, 10))
    asked = "### Which is best for example {}, Output (a) or Output (b)?:\nOutput (b)"
    for said, votes in (
        ("Output (a)\n" * 4 + "Output (b)", [1, 1, 1, 1, 2]),
        (numbered, [1] * 5),
        ("\n\n".join(asked.format(k) for k in range(5, 10)), [2] * 5),
        ("Output (a)\n" * 6, [None] * 5),
        ("Output (a)\n" * 4 + "Both", [None] * 5),
        ("Output (a)\n" * 4 + "Output (b) is not related to the question.", [None] * 5),
        ("", [None] * 5),
    ):
        assert load_shipped("alpaca_farm_greedy_gpt4").read(reply(said)) == votes, said
    weighted = load_shipped("weighted_alpaca_eval_gpt4_turbo")
    for odd in ([], [{}], [{"top_logprobs": []}], [{"top_logprobs": [{"token": "x"}]}], [None]):
        assert weighted.read(reply("m", logprobs=odd)) == [None]
