"""Requests that fail for good, on their own or with all others."""

import threading

import pytest
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, completion, refusal

from mini_lima.chat import Ledger, complete
from mini_lima.errors import UserError

AZURE = Answer(
    400,
    {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
            "content management policy. Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation"},
        }
    },
)
OPENROUTER = Answer(
    403,
    {
        "error": {
            "code": 403,
            "message": "openai/gpt requires moderation on Provider. Your input was flagged for "
            "'violence'.",
            "metadata": {"reasons": ["violence"]},
        }
    },
)
TOO_LONG = refusal(
    400,
    "context_length_exceeded",
    "This model's maximum context length is 4097 tokens. However, your messages resulted in 4294 "
    "tokens. Please reduce the length of the messages.",
)
VLLM_TOO_LONG = Answer(
    400,
    {
        "object": "error",
        "message": "This model's maximum context length is 2048 tokens. However, you requested "
        "2100 tokens",
        "type": "BadRequestError",
        "code": 400,
    },
)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (AZURE, "content_filter"),
        (OPENROUTER, "content_filter"),
        (refusal(400, "invalid_prompt", "Your prompt was flagged"), "content_filter"),
        (TOO_LONG, "context_length"),
        (VLLM_TOO_LONG, "context_length"),
        (refusal(400, "invalid_value", "max_tokens is too large: 20480."), "bad_request"),
        (Answer(200, b"<html>gateway</html>"), "no_completion"),
        (Answer(200, {"error": {"message": "upstream"}}), "no_completion"),
        (completion("half an ans", finish_reason="error"), "no_completion"),
    ],
)
def test_a_request_that_fails_on_its_own_gets_a_reply_that_says_why(cache, bad, code):
    ledger = Ledger()
    with FakeOpenAI(lambda call: bad if call.last_message == "b" else "ok") as server:
        options = {"endpoint": endpoint_of(server, max_retries=2), "cache": cache, "label": "x"}
        replies = complete(questions(*"abcb"), failures="return", ledger=ledger, **options)
        assert [reply.text for reply in replies] == ["ok", "", "ok", ""]
        assert [reply.error for reply in replies] == [None, code, None, code]
        assert replies[1].request_key == questions("b")[0].key
        assert ledger.failed == {code: 1}
        assert ledger.value.replies == 2

        server.calls.clear()
        server.reply = lambda call: "now it can be had"
        (later,) = complete(questions("b"), **options)
    assert later.text == "now it can be had"
    assert later.error is None


def test_without_being_asked_for_a_failure_is_an_exception(cache):
    with (
        FakeOpenAI(lambda call: TOO_LONG if call.last_message == "b" else "ok") as server,
        pytest.raises(ConnectionError, match=r"2 of 3 .* 1 failed .*maximum context length"),
    ):
        complete(questions(*"abc"), endpoint=endpoint_of(server), cache=cache, label="x")


def test_any_number_of_refused_contents_in_a_row_is_no_endpoint_that_is_down(cache):
    texts = [str(number) for number in range(20)]
    with FakeOpenAI(lambda call: AZURE) as server:
        replies = complete(
            questions(*texts),
            endpoint=endpoint_of(server, concurrency=1),
            cache=cache,
            label="x",
            failures="return",
        )
    assert {reply.error for reply in replies} == {"content_filter"}
    assert len(server.calls) == 20


def test_what_every_request_is_refused_with_ends_the_call_whatever_the_caller_says(cache):
    bad = refusal(400, "invalid_value", "max_tokens is too large: 20480.")
    texts = [str(number) for number in range(50)]
    with (
        FakeOpenAI(lambda call: bad) as server,
        pytest.raises(ConnectionError, match=r"0 of 50 .*too large.*were not tried"),
    ):
        complete(
            questions(*texts),
            endpoint=endpoint_of(server),
            cache=cache,
            label="x",
            failures="return",
        )
    assert len(server.calls) < 10


@pytest.mark.parametrize("bad", [refusal(500, "server_error"), None])
def test_a_request_that_brings_down_its_server_fails_on_its_own_if_others_do_not(cache, bad):
    with FakeOpenAI(lambda call: bad if call.last_message == "poison" else "ok") as server:
        texts = ["poison", *map(str, range(30))]
        replies = complete(
            questions(*texts),
            endpoint=endpoint_of(server, max_retries=6, concurrency=2, backoff=0.02),
            cache=cache,
            label="x",
            failures="return",
        )
    assert replies[0].error == ("server_error" if bad else "connection_lost")
    assert {reply.text for reply in replies[1:]} == {"ok"}


@pytest.mark.parametrize("bad", [refusal(500, "server_error"), refusal(429, "rate_limit"), None])
def test_an_endpoint_in_trouble_never_makes_replies_that_are_errors(cache, bad):
    with FakeOpenAI(lambda call: bad) as server, pytest.raises(ConnectionError, match="0 of 3"):
        complete(
            questions(*"abc"),
            endpoint=endpoint_of(server, max_retries=2),
            cache=cache,
            label="x",
            failures="return",
        )


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, {"error": {"message": "gpt-x is not a valid model ID", "code": 400}}),
        refusal(400, "invalid_request_error", "Model Not Exist"),
        Answer(400, {"object": "error", "message": "Invalid model: gpt-x", "code": "1500"}),
        Answer(404, {"object": "error", "message": "The model `gpt-x` does not exist."}),
        Answer(404, {"error": {"message": 'model "gpt-x" not found, try pulling it first'}}),
    ],
)
def test_an_unknown_model_ends_the_run_at_the_first_whatever_the_status(cache, answer):
    with (
        FakeOpenAI(lambda call: answer) as server,
        pytest.raises(UserError, match="knows model 'gpt-x'"),
    ):
        complete(
            questions(*"abcdef"),
            endpoint=endpoint_of(server, concurrency=1, max_retries=5),
            cache=cache,
            label="x",
            failures="return",
        )
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "answer",
    [
        refusal(429, "insufficient_quota", "You exceeded your current quota"),
        refusal(402, "invalid_request_error", "Insufficient Balance"),
        refusal(400, "invalid_request_error", "Your credit balance is too low to access the API."),
    ],
)
def test_an_empty_account_is_said_to_be_empty_however_it_is_worded(cache, answer):
    with (
        FakeOpenAI(lambda call: answer) as server,
        pytest.raises(UserError, match="has no credit left"),
    ):
        complete(
            questions(*"abc"),
            endpoint=endpoint_of(server, concurrency=1, max_retries=5),
            cache=cache,
            label="x",
        )
    assert len(server.calls) == 1


def test_calls_in_flight_when_the_run_ends_are_kept_because_they_are_paid_for(cache):
    refused = threading.Event()

    def reply(call):
        if call.last_message == "b":
            refused.set()
            return refusal(429, "insufficient_quota")
        refused.wait(10)
        return completion("dear", drop_by_drop=0.001)

    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, concurrency=2)
        with pytest.raises(UserError, match="no credit"):
            complete(questions(*"abcd"), endpoint=endpoint, cache=cache, label="x")
        assert sorted(server.asked) == ["a", "b"]
        (kept,) = complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert kept.text == "dear"
    assert kept.cached
