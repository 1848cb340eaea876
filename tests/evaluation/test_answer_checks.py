"""What is wrong with an answer, by examples of each fault and of what only looks like it."""

import pytest

from mini_lima.evaluation.answer_checks import faults, summary
from mini_lima.evaluation.metrics import AnsweredInstruction

PROSE = (
    "The tide turned before noon, and with it went our last excuse. We folded the chairs, counted "
    "the children twice, and walked back over the dunes to where the cars stood baking. Nobody "
    "spoke until somebody found the melon that we had forgotten in the shade, still almost cold."
)
ENGLISH = "Which of the two is better for you, and why is that so?"


def found(
    text,
    *,
    instruction=ENGLISH,
    reference="It is the first of them.",
    cut=False,
    room=100,
    error=None,
):
    answer = AnsweredInstruction(instruction, text, reference, len(text.split()), cut, {})
    return faults(answer, error=error, shortened=room < 100)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("assistant\nOf course!", "starts_with_role"),
        ("Assistant: Of course!", "starts_with_role"),
        ("\nuser\nWho?", "starts_with_role"),
        ("Of course!\nuser\nAnd now?\nassistant\nNo.", "leaks_turns"),
        ("Of course!\n\nHuman: And now?", "leaks_turns"),
        ("Of course!\n### Instruction:\nNow sing.", "leaks_turns"),
        ("Of course!<|im_end|>\n<|im_start|>user", "leaks_turns"),
        ("Of course! [/INST] No.", "leaks_turns"),
        ("no " * 80, "repeats_itself"),
        ("!" * 200, "repeats_itself"),
        ("ha" * 400, "repeats_itself"),
        ("巩俐," * 40, "repeats_itself other_language"),
        (f"{PROSE}\n" + "and so it went on and on. " * 60, "repeats_itself"),
        ("Das ist nicht so einfach, wie es auf den ersten Blick scheint.", "other_language"),
        ("昨天我们去了海边,孩子们玩得很开心。", "other_language"),
    ],
)
def test_each_fault_is_found(text, fault):
    assert found(text) == fault.split()


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (PROSE, {}),
        ("42", {}),
        ("System requirements are low.", {}),
        ("The assistant: a novel", {}),
        ("Assistant: Hello!", {"instruction": "Go on with this dialogue.\nUser: Hi!"}),
        ("A.\nUser: Hi!", {"reference": "Sure:\nUser: Hi!\nBot: Hello!"}),
        ("Das ist nicht so einfach.", {"instruction": "Say it in German: it is not that easy."}),
        ("Das ist nicht so einfach und es ist nicht gut.", {"reference": "Das ist es nicht und"}),
        ("la la la la", {"instruction": "Sing."}),
        ("| 1 | 2 | 3 |\n" * 3, {}),
        ("def f(x):\n    return x + 1\n\n\ndef g(x):\n    return f(x) * 2", {}),
    ],
)
def test_what_only_looks_like_a_fault_is_none(text, asked):
    assert found(text, **asked) == []


def test_what_the_engine_tells_is_counted_and_much_of_it_is_a_warning():
    assert found("Yes.", cut=True) == ["cut_at_limit"]
    assert found("Yes.", room=99) == ["shortened"]
    assert found("", error="context_length") == ["failed"]
    assert found("user\n", cut=True) == ["cut_at_limit", "starts_with_role"]
    outputs = [AnsweredInstruction(ENGLISH, "x" * k, None, k, False, {}) for k in range(101)]
    health = summary(
        outputs, [["cut_at_limit", "empty"]] * 5 + [["repeats_itself"]] * 6 + [[]] * 90
    )
    assert (health["n"], health["empty"], health["repeats_itself"]) == (101, 5, 6)
    assert len(health["warnings"]) == 2
    assert (health["lengths"]["characters"]["p5"], health["mean_length_tokens"]) == (5, 50)
