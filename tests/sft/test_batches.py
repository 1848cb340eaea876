from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.config.sources import ASSETS
from mini_lima.errors import UserError
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft.batches import IGNORED, flatten, render

tokens = st.lists(st.integers(0, 4095), min_size=1, max_size=12)


@st.composite
def several_turns(draw: st.DrawFn) -> Conversation:
    turns = draw(st.lists(st.tuples(tokens, tokens), max_size=3))
    ids: list[int] = []
    spans = []
    for prompt, response in turns:
        spans.append((len(ids) + len(prompt), len(ids) + len(prompt) + len(response)))
        ids += prompt + response
    return Conversation(ids + draw(tokens), draw(tokens), tuple(spans))


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate(load_tokenizer(ASSETS / "qwen-tiny", None))


def row(output: str, id: str = "one") -> dict[str, str]:
    return {"id": id, "instruction": "Name a river.", "input": "", "output": output}


@given(st.lists(several_turns(), min_size=1, max_size=4))
def test_flattening_keeps_every_token_and_supervises_the_answers_where_they_stand(
    given: list[Conversation],
) -> None:
    batch = flatten(given)
    ids, positions, labels = (
        batch[name][0].tolist() for name in ("input_ids", "position_ids", "labels")
    )

    assert ids == [token for each in given for token in each.prompt + each.response]
    assert batch["sequence_lengths"] == [each.tokens for each in given]
    assert positions == [place for each in given for place in range(each.tokens)]
    expected = []
    for each in given:
        answers = {place for span in each.earlier for place in range(*span)}
        expected += [place in answers for place in range(len(each.prompt))]
        expected += [True] * len(each.response)
    assert [label != IGNORED for label in labels] == expected
    assert all(label in (IGNORED, id) for label, id in zip(labels, ids, strict=True))
    assert sum(expected) == sum(each.supervised for each in given)


def test_a_conversation_of_several_turns_is_supervised_at_each_answer_or_at_the_last(
    template: ChatTemplate,
) -> None:
    longer = {**row("The Rhine."), "history": [["A river?", "The Nile."]], "system": "Be brief."}
    told = []
    for turns in ("all", "last"):
        rendered = render([longer], template, max_length=99, overlong="refuse", turns=turns)
        labels = flatten(rendered.conversations)["labels"][0]
        told.append(template.tokenizer.decode(labels[labels != IGNORED].tolist()))

    assert told == ["The Nile.<|im_end|>The Rhine.<|im_end|>", "The Rhine.<|im_end|>"]


def test_an_example_is_rendered_whole_or_refused_with_the_counts(template: ChatTemplate) -> None:
    rows = [row("The Nile."), row("The Amazon. " * 40), row("The Rhine. " * 30)]

    with pytest.raises(UserError, match=r"can look at 60 .*sft.max_length=60"):
        render(rows, template, max_length=1000, overlong="refuse", context=60)
    with pytest.raises(UserError, match=r"^2 of 3 examples .*max_length=100 .*overlong=drop"):
        render(rows, template, max_length=100, overlong="refuse")


def test_the_longest_example_that_fits_is_kept_and_one_token_less_drops_it(
    template: ChatTemplate,
) -> None:
    rows = [row("The Nile."), row("The Amazon. " * 40)]
    longest = max(
        len(each.prompt) + len(each.response)
        for each in render(rows, template, max_length=10_000, overlong="refuse").conversations
    )

    whole = render(rows, template, max_length=longest, overlong="refuse")
    dropping = render(rows, template, max_length=longest - 1, overlong="drop")

    assert (len(whole.conversations), whole.dropped) == (2, 0)
    assert (len(dropping.conversations), dropping.dropped) == (1, 1)
    assert dropping.conversations == whole.conversations[:1]


@pytest.mark.parametrize("response", [[], [5, 6]], ids=["no response", "no terminator"])
def test_a_response_that_does_not_end_its_turn_is_refused_by_name(response: list[int]) -> None:
    def rendering(*given: str, **more: Any) -> Conversation:
        return Conversation([1, 2], response)

    careless: Any = SimpleNamespace(end_of_turn=3, conversation=rendering)

    with pytest.raises(UserError, match=r"^example river-7: .*end-of-turn"):
        render([row("The Nile.", "river-7")], careless, max_length=100, overlong="refuse")
