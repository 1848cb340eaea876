"""Models that refuse parameters are met once; the wordings are those of real servers."""

import pytest
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import Answer, FakeOpenAI, refusal

from mini_lima.chat import ChatModel, Ledger, complete, warnings
from mini_lima.chat.adaptation import refused_parameter

NO_MAX_TOKENS = refusal(
    400,
    "unsupported_parameter",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
    param="max_tokens",
)
NO_TEMPERATURE = refusal(
    400,
    "unsupported_value",
    "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) "
    "value is supported.",
    param="temperature",
)


def as_gpt_5(call):
    """Refuse what OpenAI's newer models refuse, one parameter at a time."""
    if "max_tokens" in call.body:
        return NO_MAX_TOKENS
    return NO_TEMPERATURE if "temperature" in call.body else f"ok, {call.last_message}"


def test_a_model_is_asked_once_in_vain_per_parameter_and_then_as_it_likes(cache, caplog):
    ledger = Ledger()
    texts = [str(number) for number in range(20)]
    with FakeOpenAI(as_gpt_5) as server:
        endpoint = endpoint_of(server, concurrency=1)
        options = {"endpoint": endpoint, "cache": cache, "label": "x", "ledger": ledger}
        replies = complete(questions(*texts), **options)
        more = complete(questions("more"), **options)
    assert [reply.text for reply in replies] == [f"ok, {text}" for text in texts]
    assert [reply.request_key for reply in replies] == [q.key for q in questions(*texts)]
    assert len(server.calls) == ledger.sent == 2 + len(texts) + len(more)
    assert server.calls[-1].body == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "more"}],
        "max_completion_tokens": 64,
    }
    assert ledger.retries == {}
    assert ledger.adapted == {
        "gpt-x": {"max_tokens": "sent as max_completion_tokens", "temperature": "left out"}
    }
    assert "temperature" in "\n".join(warnings(ledger))
    assert len([record for record in caplog.records if "refuses" in record.getMessage()]) == 2


def test_what_was_changed_is_still_known_when_the_answers_come_from_the_cache(cache):
    ledger = Ledger()
    with FakeOpenAI(as_gpt_5) as server:
        endpoint = endpoint_of(server)
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x", ledger=ledger)
    assert ledger.sent == 0
    assert set(ledger.adapted["gpt-x"]) == {"max_tokens", "temperature"}


def test_calls_in_flight_together_are_refused_together_and_then_no_more(cache):
    texts = [str(number) for number in range(40)]
    with FakeOpenAI(as_gpt_5) as server:
        endpoint = endpoint_of(server, concurrency=4)
        replies = complete(questions(*texts), endpoint=endpoint, cache=cache, label="x")
    assert [reply.text for reply in replies] == [f"ok, {text}" for text in texts]
    assert len(server.calls) <= len(texts) + 2 * 4


def test_other_models_of_the_endpoint_are_asked_as_they_should_be(cache):
    other = ChatModel("other", temperature=0.7, max_tokens=64)

    def reply(call):
        return as_gpt_5(call) if call.body["model"] == "gpt-x" else "ok"

    with FakeOpenAI(reply) as server:
        for asked in (questions("a"), questions("a", model=other)):
            complete(asked, endpoint=endpoint_of(server), cache=cache, label="x")
    assert server.calls[-1].body["temperature"] == 0.7
    assert server.calls[-1].body["max_tokens"] == 64


def test_a_model_that_takes_no_length_limit_at_all_is_not_asked_without_one(cache):
    def reply(call):
        (limit,) = {"max_tokens", "max_completion_tokens"} & call.body.keys()
        return refusal(400, None, f"Unrecognized request argument supplied: {limit}")

    with (
        FakeOpenAI(reply) as server,
        pytest.raises(ConnectionError, match="Unrecognized request argument"),
    ):
        complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert len(server.calls) == 2


def test_of_two_limits_the_one_that_is_taken_stays(cache):
    both = ChatModel("gpt-x", max_tokens=64, max_completion_tokens=128)
    with FakeOpenAI(as_gpt_5) as server:
        complete(questions("a", model=both), endpoint=endpoint_of(server), cache=cache, label="x")
    assert server.calls[-1].body["max_completion_tokens"] == 128


PYDANTIC = (
    "{\"object\":\"error\",\"message\":\"[{'type': 'extra_forbidden', 'loc': ('body', "
    "'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 8192}]\","
    '"type":"BadRequestError","param":null,"code":400}'
)
MISTRAL = (
    '{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not '
    'permitted","input":3}]}'
)


@pytest.mark.parametrize(
    ("answer", "parameter"),
    [
        (NO_MAX_TOKENS, "max_tokens"),
        (NO_TEMPERATURE, "temperature"),
        (
            refusal(400, "invalid_request_body", NO_MAX_TOKENS.body["error"]["message"]),
            "max_tokens",
        ),
        (
            refusal(
                400,
                "unsupported_value",
                "Unsupported value: 'temperature' does not support 0 with this model. Only the "
                "default (1) value is supported.",
                param="temperature",
            ),
            "temperature",
        ),
        (
            refusal(
                400,
                None,
                "Unsupported parameter: 'temperature' is not supported with this model.",
                param="temperature",
            ),
            "temperature",
        ),
        (
            refusal(
                400,
                "unsupported_parameter",
                "Unsupported parameter: 'top_p' is not supported with this model.",
                param="top_p",
            ),
            "top_p",
        ),
        (
            refusal(400, None, "Unrecognized request argument supplied: max_completion_tokens"),
            "max_completion_tokens",
        ),
        (
            refusal(
                400,
                "invalid_parameter_combination",
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                "supported.",
            ),
            "max_tokens",
        ),
        (Answer(400, PYDANTIC.encode()), "max_completion_tokens"),
        (Answer(422, MISTRAL.encode()), "seed"),
        (refusal(400, None, "`temperature` is deprecated for this model."), "temperature"),
        (refusal(400, None, "Model grok does not support parameter seed."), "seed"),
    ],
)
def test_refusals_of_a_parameter_are_understood(cache, answer, parameter):
    value = 3 if parameter in ("seed", "max_completion_tokens") else 0.5
    model = ChatModel("gpt-x", **{parameter: 64 if parameter == "max_tokens" else value})
    with FakeOpenAI(lambda call: answer if parameter in call.body else "ok") as server:
        (reply,) = complete(
            questions("a", model=model), endpoint=endpoint_of(server), cache=cache, label="x"
        )
    assert reply.text == "ok"


@pytest.mark.parametrize(
    ("code", "parameter", "message"),
    [
        (
            "invalid_value",
            "max_tokens",
            "max_tokens is too large: 20480. This model supports at most 16384 completion tokens, "
            "whereas you provided 20480.",
        ),
        (
            "decimal_above_max_value",
            "temperature",
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 "
            "instead.",
        ),
        (
            "context_length_exceeded",
            "messages",
            "This model's maximum context length is 4097 tokens. However, your messages resulted "
            "in 4294 tokens. Please reduce the length of the messages.",
        ),
        (
            "unsupported_value",
            "messages[0].role",
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        ),
        (None, None, "Input should be less than or equal to 1: temperature"),
    ],
)
def test_other_refusals_are_left_to_the_caller(code, parameter, message):
    assert refused_parameter(400, code, parameter, message) is None


@pytest.mark.parametrize("status", [401, 429, 500])
def test_only_bad_requests_are_refusals_of_a_parameter(status):
    error = NO_TEMPERATURE.body["error"]
    assert refused_parameter(status, error["code"], error["param"], error["message"]) is None


def test_the_request_itself_does_not_change():
    (asked,) = questions("a")
    assert asked.body["max_tokens"] == MODEL.max_tokens
