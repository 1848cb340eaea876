"""Limits per minute hold for every minute, measured on a clock that is wound by hand."""

import asyncio
import base64
import os
from bisect import bisect_left

import httpx2
import pytest

from mini_lima import text
from mini_lima.chat import Endpoint, complete
from mini_lima.chat.endpoint import environment_faults
from mini_lima.chat.prices import usual_input
from mini_lima.chat.wire import Client, Pace
from mini_lima.errors import UserError
from tests.chat.asked import MODEL, endpoint_of, questions
from tests.chat.server import FakeOpenAI, completion, refusal

REQUEST = MODEL.request([("user", "how much is it? " * 20)])


class WoundByHand(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: it goes on to the next timer at once."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            # A real clock moves on between two looks, and what waits for rounding errors needs it.
            self.now = max(self.now + 1e-6, self._scheduled[0].when())
        super()._run_once()


def admissions(count, **limits):
    """The times at which ``count`` requests, all there at once, are let through."""
    times = []

    async def all_of_them():
        pace = Pace(Endpoint("fake", **limits))

        async def one():
            await pace.admit(REQUEST)
            times.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(one() for _ in range(count)))

    with asyncio.Runner(loop_factory=WoundByHand) as runner:
        runner.run(all_of_them())
    return times


def most_in_a_minute(times):
    return max(bisect_left(times, time + 60) - at for at, time in enumerate(times))


@pytest.mark.parametrize("limit", [1, 3, 60, 1000])
def test_no_minute_has_more_requests_than_the_limit_and_it_is_used(limit):
    times = admissions(3 * limit, requests_per_minute=limit)
    assert most_in_a_minute(times) <= limit
    assert times[-1] <= 3 * 60 * 1.04


def test_who_waits_for_a_turn_does_not_keep_a_run_from_ending(cache):
    with FakeOpenAI(lambda call: refusal(401, "invalid_api_key")) as server:
        endpoint = endpoint_of(server, requests_per_minute=0.01)
        with pytest.raises(UserError, match="refuses every request"):
            complete(questions(*"abcdef"), endpoint=endpoint, cache=cache, label="x")
    assert len(server.calls) == 1


KEY = "sk-0123-configured"
FOREIGN = {
    "OPENAI_API_KEY": "sk-foreign-1",
    "OPENAI_ADMIN_KEY": "sk-foreign-2",
    "OPENAI_ORG_ID": "org-foreign",
    "OPENAI_PROJECT_ID": "proj-foreign",
    "OPENAI_BASE_URL": "http://foreign.invalid/v1",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer foreign-3\nX-Foreign: 4\nHost: foreign",
    "AZURE_OPENAI_API_KEY": "foreign-5",
    "AZURE_OPENAI_ENDPOINT": "http://foreign.invalid",
    "OPENAI_API_TYPE": "azure",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@pytest.fixture
def foreign(monkeypatch, tmp_path):
    monkeypatch.setenv(text.HIDE, "")
    monkeypatch.setenv("OWN", KEY)
    (tmp_path / ".netrc").write_text("default login foreign password foreign-6")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)


def test_what_others_have_put_into_the_environment_is_sent_nowhere(cache, foreign):
    with FakeOpenAI() as server:
        endpoint = endpoint_of(server, api_key_env="OWN")
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    [call] = server.calls
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert call.headers["host"] in server.base_url
    assert [name for name, value in call.headers.items() if "foreign" in name + value] == []


def test_openai_alone_is_told_who_pays(foreign):
    for url, told in (
        ("https://api.openai.com/v1", True),
        ("https://api.openai.com.evil/v1", False),
    ):
        headers = Client(api_key=KEY, base_url=url).default_headers
        assert ("OpenAI-Organization" in headers) is told
        assert ("OpenAI-Project" in headers) is told


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
        ("ALL_PROXY", "socks://user:hunter2@host:1080"),
        ("ALL_PROXY", "socks5://user:hunter2@host:1080"),
        ("HTTPS_PROXY", "http://user:hunter2@host:65536"),
        ("HTTPS_PROXY", "http://["),
        ("HTTPS_PROXY", "user:hunter2@host 80"),
    ],
)
def test_a_variable_with_which_nothing_could_be_sent_is_named_and_nothing_is_tried(
    variable, value, cache, monkeypatch
):
    if value.startswith("socks5"):
        try:
            httpx2.Client(proxy=value)
        except ImportError:
            pass
        else:
            pytest.skip("the package is here")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", *(n for n in os.environ if "proxy" in n.lower())):
        monkeypatch.delenv(name, raising=False)
    assert [*environment_faults()] == []
    monkeypatch.setenv(variable, value)
    with FakeOpenAI() as server, pytest.raises(UserError) as refused:
        complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert variable.partition("_")[2] in str(refused.value) or "proxy" in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert server.calls == []


def test_an_answer_that_repeats_the_key_is_kept_without_it(cache, foreign):
    def repeat(call):
        sent = call.headers["authorization"].removeprefix("Bearer ")
        encoded = base64.b64encode(f"me:{sent}".encode()).decode()
        return completion(f"{sent} {encoded}", model=f"model-{sent}")

    with FakeOpenAI(repeat) as server:
        endpoint = endpoint_of(server, api_key_env="OWN")
        [reply] = complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert reply.text == "(hidden) (hidden)"
    assert reply.served_model == "model-(hidden)"
    assert KEY.encode() not in cache.read_bytes()


def test_tokens_a_minute_are_limited_too_and_the_tighter_of_two_limits_holds():
    tokens = usual_input(REQUEST) + MODEL.max_tokens
    for limit in (tokens // 2, tokens * 3):
        times = admissions(8, tokens_per_minute=limit)
        assert most_in_a_minute(times) * tokens <= max(limit, tokens)
        assert times[-1] <= 8 * tokens / limit * 60 * 1.04
    times = admissions(30, requests_per_minute=10, tokens_per_minute=tokens * 1000)
    assert most_in_a_minute(times) <= 10
    assert set(admissions(100)) == {0.0}
