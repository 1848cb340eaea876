"""What went wrong, as real servers word it, and how long to wait: as arithmetic."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.chat import Endpoint
from mini_lima.chat.faults import Meaning, fault_of, pause, refused_parameter, retry_after
from tests.chat.server import Answer, refusal

DEFAULT = Endpoint("fake", api_key_env="KEY")


def fault(answer):
    """What the client makes of ``answer``, read."""

    def respond(request):
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        return httpx2.Response(answer.status, content=raw, headers=dict(answer.headers))

    http = openai.DefaultHttpxClient(
        transport=httpx2.MockTransport(respond), follow_redirects=False
    )
    client = openai.OpenAI(api_key="sk-123", max_retries=0, http_client=http)
    with client, pytest.raises(openai.APIError) as caught:
        client.post("/chat/completions", cast_to=httpx2.Response, body={})
    return fault_of(caught.value, DEFAULT, "sk-123", "model 'gpt-x'")


def error(status, message, code=None, **changes):
    return Answer(status, {"error": {"message": message, "code": code, **changes}})


def test_what_no_request_can_pass_says_what_to_do():
    for answer, advice in (
        (refusal(401, "invalid_api_key", "Incorrect API key: sk-123"), "check the key in KEY"),
        (refusal(403, "forbidden"), "may not use model 'gpt-x'"),
        (refusal(405, None), "check base_url"),
        (Answer(307, b"", {"Location": "http://127.0.0.1:9/v1"}), "no redirect is followed"),
        (error(400, "gpt-x is not a valid model ID", 400), "knows model 'gpt-x'"),
        (refusal(400, "invalid_request_error", "Model Not Exist"), "knows model"),
        (Answer(400, {"message": "Invalid model: gpt-x", "code": "1500"}), "knows model"),
        (Answer(404, {"message": "The model `gpt-x` does not exist."}), "knows model"),
        (error(404, 'model "gpt-x" not found, try pulling it first'), "knows model"),
        (refusal(429, "insufficient_quota", "You exceeded your current quota"), "no credit left"),
        (refusal(402, "invalid_request_error", "Insufficient Balance"), "no credit left"),
        (refusal(400, None, "Your credit balance is too low to access the API."), "no credit"),
    ):
        found = fault(answer)
        assert found.meaning is Meaning.hopeless
        assert advice in found.remedy
        assert "sk-123" not in found.text


NO_MAX_TOKENS = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead."
)
PYDANTIC = (
    "{\"object\":\"error\",\"message\":\"[{'type': 'extra_forbidden', 'loc': ('body', "
    "'max_completion_tokens'), 'msg': 'Extra inputs are not permitted', 'input': 8192}]\","
    '"type":"BadRequestError","param":null,"code":400}'
)
MISTRAL = (
    '{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not '
    'permitted","input":3}]}'
)


def test_refusals_of_a_parameter_are_understood_and_others_left_to_the_caller():
    only_1 = "Unsupported value: 'temperature' does not support 0 with this model. Only the default"
    for answer, parameter in (
        (refusal(400, "unsupported_parameter", "no", param="max_tokens"), "max_tokens"),
        (refusal(400, "unsupported_value", "no", param="temperature"), "temperature"),
        (refusal(400, "invalid_request_body", NO_MAX_TOKENS), "max_tokens"),
        (refusal(400, None, only_1), "temperature"),
        (refusal(400, None, "Unrecognized request argument supplied: top_p"), "top_p"),
        (
            refusal(400, None, "Setting 'max_tokens' and 'max_completion_tokens' at the same time"),
            "max_tokens",
        ),
        (Answer(400, PYDANTIC.encode()), "max_completion_tokens"),
        (Answer(422, MISTRAL.encode()), "seed"),
        (refusal(400, None, "`temperature` is deprecated for this model."), "temperature"),
        (refusal(400, None, "Model grok does not support parameter seed."), "seed"),
    ):
        assert fault(answer).refused == parameter
    for status, code, parameter, message in (
        (400, "invalid_value", "max_tokens", "max_tokens is too large: 20480. This model supports"),
        (400, "decimal_above_max_value", "temperature", "Invalid 'temperature': decimal above"),
        (400, "unsupported_value", "messages[0].role", "'messages[0].role' does not support"),
        (400, None, None, "Input should be less than or equal to 1: temperature"),
        (500, "unsupported_parameter", "max_tokens", NO_MAX_TOKENS),
    ):
        assert refused_parameter(status, code, parameter, message) is None


def test_both_forms_of_retry_after_are_read():
    then, now = "Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT"
    for headers, seconds in (
        ({}, None),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "20"}, 20),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
        ({"retry-after": then}, 0),
        ({"retry-after": then, "date": now}, 30),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:30 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:30 GMT"}, None),
    ):
        assert retry_after(headers) == seconds
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3000 <= retry_after({"retry-after": soon}) <= 3600, "by our clock, if theirs is not told"


@given(st.text() | st.dates().map(str))
def test_no_header_makes_it_fail(text):
    seconds = retry_after({"retry-after": text, "date": text, "retry-after-ms": text})
    assert seconds is None or seconds >= 0


def test_what_concerns_one_request_alone_is_told_from_the_rest():
    azure = "The response was filtered due to Azure OpenAI's content management policy."
    too_long = "This model's maximum context length is 2048 tokens. However, you requested 2100"
    for answer, code in (
        (error(400, azure, "content_filter"), "content_filter"),
        (error(403, "gpt requires moderation. Your input was flagged", 403), "content_filter"),
        (Answer(400, {"object": "error", "message": too_long, "code": 400}), "context_length"),
        (refusal(400, "invalid_value", "max_tokens is too large: 20480."), "bad_request"),
    ):
        found = fault(answer)
        assert (found.code, found.meaning) == (code, Meaning.own)


@settings(max_examples=30)
@given(st.none() | st.floats(0, 1e4), st.floats(0, 1))
def test_pauses_outlast_a_storm_of_minutes_are_as_long_as_asked_for_and_end_in_time(
    asked_for, chance
):
    pauses, how = [], {"endpoint": DEFAULT, "asked_for": asked_for, "chance": chance}
    while (seconds := pause(retries=len(pauses), elapsed=sum(pauses), **how)) is not None:
        pauses.append(seconds)
        assert seconds >= (asked_for or 0)
    assert sum(pauses) < DEFAULT.total_timeout
    assert asked_for or sum(pauses) >= 240
