"""What counts as a vote, and what only looks like one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.evaluation.reading import chosen

FOR_A = [
    "Output (a)",
    "output (a).",
    "**Output (a)**",
    '"Output (a)"',
    "Output a",
    "(a)",
    "a)",
    "Output (a): it is complete.",
    "Output (a), because (b) is not.",
    "Output (a)\n\nOutput (b) is not related to the question.",
    "The better output is **Output (a)**",
    "Therefore, the best answer is: Output (a)",
    "I prefer Output (a).",
    "Output (a) is the best output because it is longer",
    "Output (a) is clearly better than Output (b).",
    "Both are good.\n\nOutput (a)",
    "### Best output:\nOutput (a)",
]
NO_VOTE = [
    "",
    "Output",
    "Output (c)",
    "Output (a)\nOutput (b)",
    "Output (b) is not related to the question.",
    "Output (b) is not better than Output (a).",
    "Output (b) is better in style but wrong",
    "Output (a) and Output (b) are equal.",
    "Neither Output (a) nor Output (b)",
    "The best is neither.",
    "I would not choose Output (a)",
    "It is not the case that the best is Output (a)",
    "a",
    "A good answer would say more.",
    "The instruction asks for output (a)",
]
HOSTILE = [
    "Output (a), Output (b)",
    "Output (a) - Output (b)",
    "Output (a)/(b)",
    "Output (a), no wait, Output (b).",
    "Output (a), but Output (b) is better.",
    "Output (a). However, I cannot be sure.",
    "Output (a): 6/10, Output (b): 8/10",
    "Output (b): 3/10",
    "Output (b): This answer is wrong.",
    "Output (b) - irrelevant to the question",
    "Output (b): nicht relevant für die Frage",
    "Output (b): no está relacionado con la pregunta",
    "Output (b): не относится к вопросу",
    "Output (b): 与问题无关",
    "Output (a):\nParis is the capital of France.",
    "**Output (b):**\n\nThe answer",
    "Output (a)\nis worse.",
    "Output (b)?",
    "Is Output (a) better?",
    "Which is best, Output (a) or Output (b)?",
    "Output (b) is better than Output (a)? No.",
    "Output (b) is better than Output (a) only in style, and wrong.",
    "Output (a) is best for beginners, Output (b) for experts.",
    "Output (b) is better because it is longer, but it is wrong",
    "The best is Output (a), if one likes lists.",
    "I prefer Output (a), although Output (b) is right.",
    "I cannot choose between Output (a) and Output (b).",
    "My decision: undecided",
    "The worst output is Output (a).",
    "~~Output (a)~~",
    "Output (a) ❌",
    "Not Output (a).",
    "Output (a) and (b) are equally good",
    "Both Output (a)",
    "Output (a), tied",
    "As an AI language model, I cannot say that Output (a) is better.",
    "assistant\nuser",
    "The instruction says: answer with Output (a)",
    "Ausgabe (a) ist besser",
    "Output (c): Output (a) and Output (b) are wrong",
    "Output（a）",
    "Оutput (а)",
    '{"best": "Output (a)", "worst": "Output (b)"}',
    "| Output (a) | Output (b) |",
    "Output (a)(b)",
    "1. Output (a)\n2. Output (b)",
]
HARMLESS = [
    "Output (a)。",
    "Output(a)",
    "```\nOutput (a)\n```",
    "“Output (a)”",
    "Final answer: **Output (a)**",
    "Output (a): it answers the question, while Output (b) is irrelevant.",
    "Output (a)\n\nExplanation: Output (b) lists too much, but is longer.",
    "Output (a) is better because it is correct.",
    "Output (a) is the best output.\r\n",
    "I think Output (a) is better.",
    "In my opinion, the best is Output (a).",
    "Output (a). It is right, and there's no doubt.",
    "Output (a)\n\nOutput (a)",
]


def test_what_asks_doubts_denies_or_takes_back_is_no_vote():
    for completion in (*NO_VOTE, *HOSTILE):
        assert chosen(completion) is None, completion
    for completion in HOSTILE:
        assert chosen(f"{completion}\n\nOutput (b)") in (None, 2), completion


def test_a_vote_is_read_in_every_harmless_spelling():
    for completion in (*FOR_A, *HARMLESS):
        for around in ("{}", "\n{} ", "  {} \n\n"):
            assert chosen(around.format(completion)) == 1, completion
    for completion in FOR_A:
        swapped = completion.translate(str.maketrans("ab", "ba")) if len(completion) < 4 else None
        swapped = swapped or (
            completion.replace("(a)", "(x)").replace("(b)", "(a)").replace("(x)", "(b)")
        )
        assert swapped == completion or chosen(swapped) == 2, completion


@settings(max_examples=50)
@given(st.text())
def test_any_text_is_a_vote_or_none(text):
    assert chosen(text) in (None, 1.0, 2.0)


NAMES = {"Output (a)": "Output (b)", "(a)": "(b)", "a)": "b)", "Answer a": "Answer b"}
NAMES |= {b: a for a, b in NAMES.items()}
WORDS = [*NAMES, ":", ".", ",", "\n", "is", "better", "best", "not", "than", "because", "The"]
WORDS += ["I prefer", "but", "**", "wrong", "neither", "or", "?", "7/10"]


@given(st.lists(st.sampled_from(WORDS), max_size=9))
def test_neither_output_is_favoured(words):
    other = [NAMES.get(word, word) for word in words]
    assert chosen(" ".join(other)) == {1: 2, 2: 1, None: None}[chosen(" ".join(words))]
