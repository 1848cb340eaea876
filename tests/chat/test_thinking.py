"""What of a reply is the thought, and what the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.chat import (
    CassetteEntry,
    Ledger,
    complete,
    completion_body,
    import_cassette,
    read_reply,
    write_cassette,
)
from mini_lima.chat.endpoint import ChatMode
from mini_lima.chat.thinking import separate
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion

TAGS = [
    ("<think>", "</think>"),
    ("\n<Think>\n", "\n</Think>\n\n"),
    ("\ufeff<s><|im_start|>assistant\n<think >", "</ think>"),
    ('<thinking depth="2">', "</thinking>"),
    ("<START_THINKING>", "<END_THINKING><|START_RESPONSE|>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>\n"),
    ("<reasoning>", "</reasoning>\n"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysisWe must think.", "assistantfinal"),
    ("", "\n</think>\n\n"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
]
WORDS = st.text(
    st.characters(exclude_characters='<>[]◁▷|`"\n', exclude_categories=["C"]), min_size=1
)


@given(st.sampled_from(TAGS), WORDS, WORDS.map(str.strip).filter(bool))
def test_a_thought_is_told_from_the_answer_by_the_tags_of_any_model(tags, thought, answer):
    found = separate(f"{tags[0]}{thought}.{tags[1]}{answer}")
    assert found.answer == answer
    assert thought.strip() in str(found.thought)


@given(WORDS)
def test_a_text_without_tags_is_an_answer_as_it_stands(text):
    assert separate(text).answer == text
    assert separate(text).thought is None


@pytest.mark.parametrize(
    "text",
    [
        "The <think> tag opens a thought, and </think> closes it.",
        "A model ends its thought with </think>, and goes on.",
        "In the template stands `<think>`, later `</think>`\nand that is all.",
        "Write\n<think>\nhm\n</think>\nfour",
        "```python\nanswer = text.split('</think>')[-1]\n```",
        "```\nhm\n</think>\nfour\n```",
        "analysis of the text",
        "<thinker>no</thinker>",
    ],
)
def test_an_answer_that_speaks_of_thoughts_is_none(text):
    assert separate(text).answer == text
    assert separate(f"<think>\nhm\n</think>\n\n{text}").answer == text, "nor behind one"


def test_what_a_thought_says_of_tags_does_not_end_it_and_several_are_all_thoughts():
    for text in (
        "<think>\nThe user asks what the </think> tag is, and `<think>`.\n</think>\nfour",
        "<think>Such as\n<think>\nhm\n</think>\nfive\n\nGood.\n</think>\nfour",
        "<think>one</think>\n<think>two</think>\nfour",
        "<think>\n\n</think>\n\nfour",
        "<think>one</think>\n<answer>\nfour\n</answer>",
    ):
        assert separate(text).answer == "four"
    for text in ("<think>\nOutput (b) is better.\n\nBut wait", "<|channel|>analysis<|message|>Hm"):
        assert separate(text).answer == "", "a thought that does not end"


def body_of(message, finish_reason="stop", **more):
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"choices": [choice | more]}


PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
ANSWERED = {
    "field": {"content": "four", "reasoning_content": "Hm."},
    "both fields": {"content": "four", "reasoning": "Hm.", "reasoning_content": "Hm."},
    "blocks": {"content": "four", "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]},
    "refusal": {"content": None, "refusal": "four", "reasoning_text": "Hm."},
    "refusal in a part": {"content": [*PARTS, {"type": "refusal", "refusal": "four"}]},
    "called as of old": {"reasoning": "Hm.", "function_call": {"arguments": "four"}},
    "details": {"content": "four", "reasoning_details": [{"type": "x", "text": "Hm."}]},
    "parts": {"content": [*PARTS, {"type": "text", "text": "four"}]},
    "flat part": {"content": [{"type": "reasoning", "text": "Hm."}, "four"]},
    "field and tags": {"content": "<think></think>four", "reasoning": "Hm."},
    "called function": {
        "content": None,
        "reasoning": "Hm.",
        "tool_calls": [{"function": {"arguments": "four"}}],
    },
}


def test_a_thought_in_a_field_or_part_of_its_own_is_no_answer():
    for message in ANSWERED.values():
        reply = read_reply("k", body_of(message), cached=True)
        assert (reply.text, reply.thought, reply.error) == ("four", "Hm.", None)


ONLY_THOUGHT = {
    "cut": body_of({"content": "<think>\nOutput (b)"}, "length"),
    "ended": body_of({"content": "<think>\nOutput (b)\n</think>\n"}),
    "field": body_of({"content": None, "reasoning_content": "Hm."}, "length"),
    "parts": body_of({"content": PARTS}),
    "unseen": body_of({"content": ""}, "length")
    | {"usage": {"completion_tokens_details": {"reasoning_tokens": 50}}},
}


def test_log_probabilities_are_those_of_the_answer():
    tokens = [
        {"token": each, "logprob": -1.0} for each in ("<think>", "M", "</think>", "\n\n", "m")
    ]
    message = {"content": "<think>M</think>\n\nm"}
    found = read_reply("k", body_of(message, logprobs={"content": tokens}), cached=True)
    assert found.logprobs == tokens[-1:]
    odd = read_reply("k", body_of(message, logprobs={"content": [None, tokens[0]]}), cached=True)
    assert odd.logprobs is None


def test_a_reply_that_only_thinks_fails_once_and_is_asked_again_by_the_next_run(cache):
    texts, ledger = [*ONLY_THOUGHT, *"abcde"], Ledger()
    with FakeOpenAI(
        lambda call: Answer(200, ONLY_THOUGHT.get(call.last_message, body_of({"content": "ok"})))
    ) as server:
        endpoint = endpoint_of(server, max_retries=5, most_failed=0.5, concurrency=16)
        options = {"endpoint": endpoint, "cache": cache, "label": "x"}
        replies = complete(questions(*texts), ledger=ledger, **options)
        assert [reply.error for reply in replies] == ["only_thought"] * 5 + [None] * 5
        assert {reply.text for reply in replies[:5]} == {""}
        assert (len(server.calls), ledger.failed) == (10, {"only_thought": 5})
        assert b"Output (b)" in cache.read_bytes(), "what was paid for is kept"
        server.reply = lambda call: "<think>Hm.</think>now"
        replies = complete(questions(*texts), **options)
    assert [reply.text for reply in replies] == ["now"] * 5 + ["ok"] * 5
    assert sorted(server.asked[10:]) == sorted(ONLY_THOUGHT)


def test_a_cut_reply_of_a_model_whose_prompt_opens_the_thought_is_a_thought(cache):
    said = {
        "a": completion("Hm.\n</think>\n\nok"),
        "b": completion("Output (b)\nis better, but", finish_reason="length"),
        "c": completion("Hm.\n</think>\n\nok, and", finish_reason="length"),
    }
    with FakeOpenAI(lambda call: said[call.last_message]) as server:
        for _ in range(2):
            options = {"endpoint": endpoint_of(server, most_failed=0.5), "cache": cache}
            replies = complete(questions(*said), label="x", **options)
            assert [reply.error or reply.text for reply in replies] == [
                *("ok", "only_thought", "ok, and")
            ]
    assert sorted(server.asked) == ["a", "b", "b", "c"]
    with FakeOpenAI(lambda call: said["b"]) as server:
        options = {"endpoint": endpoint_of(server), "cache": cache.with_name("other")}
        (plain,) = complete(questions("b"), label="x", **options)
    assert plain.error is None


def test_recorded_and_kept_thoughts_are_read_in_the_same_way(cache, tmp_path):
    asked = questions(*"abc")
    thought = completion_body("<think>Hm", model="m", finish_reason="length")
    whole = completion_body("<think>Hm</think>ok", model="m")
    entries = [
        CassetteEntry(each, body) for each, body in zip(asked, (thought, whole, whole), strict=True)
    ]
    write_cassette(tmp_path / "c.jsonl", entries)
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, cassette=tmp_path / "c.jsonl", most_failed=0.5)
        found = complete(asked, endpoint=endpoint, cache=cache, label="x")
        assert [reply.error or reply.text for reply in found] == ["only_thought", "ok", "ok"]
        import_cassette(tmp_path / "c.jsonl", cache, "fake")
        for mode, first in ((ChatMode.replay, "only_thought"), (ChatMode.live, "echo: a")):
            endpoint = endpoint_of(server, mode=mode, most_failed=0.5)
            found = complete(asked, endpoint=endpoint, cache=cache, label="x")
            assert [reply.error or reply.text for reply in found] == [first, "ok", "ok"]
    assert server.asked == ["a"]
