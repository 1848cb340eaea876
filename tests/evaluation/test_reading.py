"""What counts as a vote, and what only looks like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.evaluation.reading import chosen

FOR_A = [
    "Output (a)",
    " Output (a)\n",
    "output (a).",
    "**Output (a)**",
    "`Output (a)`",
    '"Output (a)"',
    "> Output (a)",
    "Output a",
    "(a)",
    "a)",
    "Output (a): it is complete.",
    "Output (a) - it is complete",
    "Output (a), because (b) is not.",
    "Output (a). Output (b) misses the point.",
    "Output (a)\n\nOutput (b) is not related to the question.",
    "The best is Output (a).",
    "The better output is **Output (a)**",
    "My preferred output is Output (a), as it says more.",
    "Therefore, the best answer is: Output (a)",
    "I prefer Output (a).",
    "I would choose Output (a)",
    "Output (a) is better.",
    "Output (a) is the best output because it is longer",
    "Output (a) is clearly better than Output (b).",
    "Both are good.\n\nOutput (a)",
    "### Best output:\nOutput (a)",
    "Verdict: Output (a)",
]
NO_VOTE = [
    "",
    "both",
    "Output",
    "Output (c)",
    "Output (a)\nOutput (b)",
    "Output (b) is not related to the question.",
    "Output (b) is worse than Output (a)",
    "Output (b) is not better than Output (a).",
    "Output (b) is better in style but wrong",
    "Output (a) and Output (b) are equal.",
    "Output (a) or Output (b)",
    "Neither Output (a) nor Output (b)",
    "The best is neither.",
    "I prefer neither Output (a) nor Output (b).",
    "I would not choose Output (a)",
    "It is not the case that the best is Output (a)",
    "a",
    "b",
    "A good answer would say more.",
    "The instruction asks for output (a)",
]


@pytest.mark.parametrize("completion", FOR_A)
def test_a_vote_is_read_in_every_harmless_spelling(completion):
    assert chosen(completion) == 1
    swapped = completion.translate(str.maketrans("ab", "ba")) if len(completion) < 4 else None
    other = swapped or completion.replace("(a)", "(x)").replace("(b)", "(a)").replace("(x)", "(b)")
    if other != completion:
        assert chosen(other) == 2


@pytest.mark.parametrize("completion", NO_VOTE)
def test_what_is_no_vote_is_not_taken_for_one(completion):
    assert chosen(completion) is None


@given(st.text())
def test_any_text_is_a_vote_or_none(text):
    assert chosen(text) in (None, 1.0, 2.0)


@given(st.sampled_from(FOR_A), st.sampled_from(["", "\n", "  "]), st.sampled_from(["\n", " \n\n"]))
def test_space_around_changes_nothing(completion, before, after):
    assert chosen(before + completion + after) == 1
