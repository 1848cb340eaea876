"""What each filter objects to, and the good data beside it that it must let pass."""

from dataclasses import asdict, fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import Reply
from mini_lima.data.filters import (
    MEANING,
    Filters,
    RewritingFilters,
    TaskFilter,
    rewriting_objection,
)
from mini_lima.data.seeds import Instance, Task
from tests.composing import configured

STORY = "Write a story about the sea and the people who live from it."
SEED = Task("s", "story", STORY, (Instance("", "Once there was a fisherman, and he had no luck."),))
EXAMPLE = ("It rains.", "It pours, and the whole of the street is a river that carries hats away")


def said_of_task(instruction: str, filters: Filters | None = None) -> str | None:
    no = TaskFilter(filters or Filters(), [SEED]).task(instruction, [SEED.instruction])
    return no.code if no else None


def said_of_output(output: str, instruction: str = "Answer.", given_: str = "") -> str | None:
    task = Task("t", "t", instruction, ())
    no = TaskFilter(Filters(), [SEED]).instance(Instance(given_, output), task)
    return no.code if no else None


def said_of_rewriting(output: str, before: str = "No.", stopped: str = "stop", **params: Any):
    defaults: dict[str, Any] = {
        "before": before,
        "given": "Is this the end?",
        "example": EXAMPLE,
        "expected": frozenset(["english"]),
        "on": RewritingFilters(),
        "rewritten": {},
    }
    reply = Reply("key", output, stopped, "m", None, cached=False)
    no = rewriting_objection(reply, **(defaults | params))
    return no.code if no else None


TASKS = {
    "Write a story about the sea and the people who live by it.": "near_duplicate",
    "WRITE a story about the sea, and the people who live from it": "near_duplicate",
    "Describe what you see in the attached photo.": "needs_file",
    "Describe the following image in one sentence.": "needs_file",
    "What is the person in the picture below doing?": "needs_file",
    "Summarise the uploaded document.": "needs_file",
    "Escribe un poema para el cumpleaños de la hermana de un amigo.": "wrong_language",
    "写一首关于春天的诗。": "wrong_language",
    "Instruction: Write a limerick.": "scaffold",
    "Sort the words.\nInput: pear, apple\nOutput: apple, pear": "scaffold",
}
GOOD_TASKS = [
    "Write a poem about the sea.",
    "Explain how image compression works.",
    "Name the file extension that the program needs.",
    "Using the table below, count the birds.",
    "Paint a picture in words of your home town.",
    "Translate 'the house is old' into Spanish.",
    "Explain the French saying « la vie est belle et les jours sont courts ».",
    "What is the input of a hash function, and what is its output?",
    "Σ",
    "1 + 1 =",
]


def test_a_task_is_objected_to_or_passes() -> None:
    for instruction, code in TASKS.items():
        assert said_of_task(instruction) == code
        assert said_of_task(instruction, replace(Filters(), **{code: False})) is None
    assert [each for each in GOOD_TASKS if said_of_task(each)] == []


OUTPUTS = {
    "I'm sorry, but I can't help with that.": "refusal",
    "Sorry, but I am unable to provide medical advice.": "refusal",
    "I cannot assist with this request.": "refusal",
    "I apologize, but I'm not able to generate such content.": "refusal",
    "As an AI language model, I do not have feelings.": "refusal",
    "Well, as an AI, I have no opinion on the matter.": "refusal",
    "Output: positive": "scaffold",
    "**Output:** positive": "scaffold",
    "positive\nInput: The food was cold.\nOutput: negative": "scaffold",
    '{"instruction": "Sort.", "output": "a"}': "scaffold",
    "El hombre que vive en la casa de al lado no es el que yo conozco.": "wrong_language",
    "Это очень хороший вопрос.": "wrong_language",
    "Once there was a fisherman, and he had no luck.": "echo",
}
GOOD_OUTPUTS = [
    "I'm sorry for your loss. Please call me when you can.",
    "Unfortunately, the museum is closed on Mondays.",
    "I'm sorry, I can't come to your party on Saturday.",
    "AI will change how we work.",
    "The output: a number, as always.",
    "Instructions:\n1. Boil the water.",
    "positive",
    "x² + y² = 1",
    "for i in range(10):\n    print(i)",
    "αβγ is how the alphabet begins",
    "Dr Søndergaard and Señor Peña met at the café de la Paix.",
    "Once",
]


def test_an_output_is_objected_to_or_passes() -> None:
    for output, code in OUTPUTS.items():
        assert said_of_output(output) == code
        task_filter = TaskFilter(replace(Filters(), **{code: False}), [SEED])
        assert task_filter.instance(Instance("", output), Task("t", "t", "Answer.", ())) is None
    assert [each for each in GOOD_OUTPUTS if said_of_output(each)] == []


REWRITINGS = {
    "No": "not_longer",
    "No.": "not_longer",
    "I'm sorry, I cannot generate that.": "refusal",
    "Output: No, and never again in this life!": "scaffold",
    "El hombre que vive en la casa de al lado no es el que yo conozco.": "wrong_language",
    EXAMPLE[1]: "echo",
    f"{EXAMPLE[1]}!": "echo",
}


def test_a_rewriting_is_objected_to_or_passes() -> None:
    for output, code in REWRITINGS.items():
        assert said_of_rewriting(output) == code
        assert said_of_rewriting(output, on=replace(RewritingFilters(), **{code: False})) is None
    assert said_of_rewriting("No, and it is a long road that we still have to go.") is None
    assert said_of_rewriting("No, and", stopped="length") == "cut_off"
    on = RewritingFilters(cut_off=False)
    assert said_of_rewriting("No, and", stopped="length", on=on) is None
    assert said_of_rewriting(" ") == "empty reply"
    again = "No, and it is a long road that we still have to go."
    assert said_of_rewriting(again, rewritten={again: "Yes."}) == "echo"
    assert said_of_rewriting(again, rewritten={again: "No."}) is None


@settings(max_examples=50)
@given(st.text(), st.text(), st.text())
def test_no_text_makes_a_filter_raise(output: str, given_: str, instruction: str) -> None:
    task_filter = TaskFilter(Filters(), [SEED])
    task_filter.task(instruction, [output, given_])
    task_filter.instance(Instance(given_, output), Task("t", "t", instruction, ()))
    said_of_rewriting(output, before=given_, given=instruction)


def test_every_filter_has_a_meaning_and_a_switch_in_the_studys_arms() -> None:
    steps = configured("data=improved").data.steps
    switches = {"self_instruct": Filters, "lengthen": RewritingFilters}
    for step, kind in switches.items():
        assert steps[step]["filters"] == asdict(kind())
    assert {each.name for kind in switches.values() for each in fields(kind)} == set(MEANING)


# In the methods


BAD = [
    "",
    " ",
    "ok",
    "Output: it is long enough to be used, but it begins with a label.",
    "I'm sorry, but as an AI language model I cannot help with that.",
    "Ответ на этот вопрос довольно длинный и написан по-русски.",
    "It pours",
]
