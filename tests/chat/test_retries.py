"""Storms, slow servers and limits of time, against a real server and as arithmetic."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import FAULTS, Answer, FakeOpenAI, completion, refusal, storm

from mini_lima.chat import Endpoint, Ledger, complete
from mini_lima.chat.faults import pause, retry_after

DEFAULT = Endpoint("fake")


def test_replies_after_a_storm_of_everything_are_those_of_a_calm_day(tmp_path):
    texts = [f"question {number}" for number in range(60)]
    found, ledger = [], Ledger()
    for name, reply in (("calm", lambda call: call.last_message.upper()), ("storm", None)):
        with FakeOpenAI(reply or storm(lambda call: call.last_message.upper())) as server:
            found.append(
                complete(
                    questions(*texts),
                    endpoint=endpoint_of(server, max_retries=14, concurrency=8),
                    cache=tmp_path / name,
                    label="x",
                    ledger=ledger,
                )
            )
    assert found[0] == found[1]
    assert ledger.sent == len(texts) + len(server.calls)
    assert sum(ledger.retries.values()) == len(server.calls) - len(texts)
    kinds = {"rate_limit", "server_error", "connection_lost", "no_completion"}
    assert ledger.retries.keys() == kinds
    assert ledger.failed == {}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_kind_of_fault_is_sat_out(cache, fault):
    with FakeOpenAI(lambda call: fault if call.number < 5 else "at last") as server:
        endpoint = endpoint_of(server, max_retries=5)
        (reply,) = complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert reply.text == "at last"
    assert len(server.calls) == 6


def test_an_answer_that_comes_in_drops_counts_as_late_and_is_asked_again(cache):
    ledger = Ledger()

    def reply(call):
        return completion("slow", drop_by_drop=0.05) if call.number == 0 else "quick"

    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, timeout=0.3, max_retries=1)
        (found,) = complete(
            questions("a"), endpoint=endpoint, cache=cache, label="x", ledger=ledger
        )
    assert found.text == "quick"
    assert ledger.retries == {"timeout": 1}
    assert ledger.lost == 1


def test_a_server_that_never_answers_is_given_up_after_the_total_time(cache):
    over = threading.Event()
    with FakeOpenAI(lambda call: over.wait(10) and None) as server:
        endpoint = endpoint_of(server, timeout=0.1, total_timeout=0.5, max_retries=1000)
        begun = time.monotonic()
        with pytest.raises(ConnectionError, match=r"no answer within 0\.1 s"):
            complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
        took = time.monotonic() - begun
        over.set()
    assert 2 <= len(server.calls) <= 6
    assert took < 3


def test_the_pause_that_an_endpoint_asks_for_is_kept(cache):
    wait = refusal(429, "rate_limit_exceeded", retry_after_ms="250")
    with FakeOpenAI(lambda call: wait if call.number == 0 else "ok") as server:
        endpoint = endpoint_of(server, max_retries=1)
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    first, second = server.calls
    assert second.at - first.at >= 0.25


def test_a_pause_that_is_longer_than_anyone_waits_is_not_begun(cache):
    with FakeOpenAI(lambda call: refusal(429, "tokens", "Try in a day", retry_after="86400")) as s:
        endpoint = endpoint_of(s, max_retries=14)
        with pytest.raises(ConnectionError, match="Try in a day"):
            complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert len(s.calls) == 1


def test_an_address_where_no_server_is_met_is_not_waited_for_long(cache):
    with FakeOpenAI() as server:
        gone = endpoint_of(server, max_retries=1000)
    ledger = Ledger()
    with pytest.raises(ConnectionError, match="no connection"):
        complete(questions("a"), endpoint=gone, cache=cache, label="x", ledger=ledger)
    assert ledger.sent == 4
    assert ledger.lost == 0


def test_retries_are_said_once_per_kind(cache, caplog):
    caplog.set_level("INFO", "mini_lima")
    with FakeOpenAI(storm(lambda call: "ok", share=1.0, at_most=3)) as server:
        endpoint = endpoint_of(server, max_retries=14)
        texts = [str(number) for number in range(20)]
        complete(questions(*texts), endpoint=endpoint, cache=cache, label="x")
    told = [record for record in caplog.records if "trying again" in record.getMessage()]
    assert 1 <= len(told) <= 4
    assert len(server.calls) == 80


def all_pauses(chance, asked_for=None):
    found, elapsed = [], 0.0
    while True:
        seconds = pause(
            endpoint=DEFAULT,
            retries=len(found),
            elapsed=elapsed,
            asked_for=asked_for,
            chance=chance,
        )
        if seconds is None:
            return found
        found.append(seconds)
        elapsed += seconds


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_the_defaults_outlast_a_storm_of_several_minutes(chance):
    assert 240 <= sum(all_pauses(chance)) <= DEFAULT.total_timeout


@given(
    retries=st.integers(0, 2000),
    elapsed=st.floats(0, 2000),
    asked_for=st.none() | st.floats(0, 1e9),
    chance=st.floats(0, 1),
)
def test_a_pause_is_as_long_as_asked_for_and_ends_in_time(retries, elapsed, asked_for, chance):
    seconds = pause(
        endpoint=DEFAULT, retries=retries, elapsed=elapsed, asked_for=asked_for, chance=chance
    )
    if seconds is None:
        late = elapsed + max(asked_for or 0, 120 * DEFAULT.backoff) >= DEFAULT.total_timeout
        assert retries >= DEFAULT.max_retries or late
    else:
        assert seconds >= (asked_for or 0)
        assert elapsed + seconds < DEFAULT.total_timeout


def test_advice_that_did_not_help_is_followed_by_longer_pauses():
    assert all_pauses(chance=0.0, asked_for=1.0)[:5] == [1.0, 1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "20"}, 20),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, float("inf")),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        (
            {
                "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30,
        ),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:30 GMT"}, None),
    ],
)
def test_both_forms_of_retry_after_are_read(headers, seconds):
    assert retry_after(headers) == seconds


def test_a_date_is_read_by_our_own_clock_if_the_server_does_not_tell_its_time():
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 <= retry_after({"retry-after": then}) <= 60


@given(st.text() | st.dates().map(str))
def test_no_header_makes_it_fail(text):
    seconds = retry_after({"retry-after": text, "date": text, "retry-after-ms": text})
    assert seconds is None or seconds >= 0


def test_a_date_in_the_header_is_waited_for(cache):
    def reply(call):
        if call.number:
            return "ok"
        # Dates have whole seconds, and so has the server's own: one of difference is one to wait.
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
        return Answer(503, b"", {"Retry-After": soon})

    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, max_retries=1)
        complete(questions("a"), endpoint=endpoint, cache=cache, label="x")
    assert server.calls[1].at - server.calls[0].at >= 0.9
