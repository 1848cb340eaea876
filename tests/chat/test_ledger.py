"""The ledger says what happened, adds up, and survives its file."""

from dataclasses import replace

import pytest

from mini_lima.chat import (
    Ledger,
    Prices,
    complete,
    warnings,
    write_ledger,
)
from mini_lima.chat.ledger import Cost
from mini_lima.files import read_json
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import FakeOpenAI, completion, refusal

PRICES = Prices(input=100, output=1000)
USUAL = 7 * 100e-6 + 5 * 1000e-6


def test_what_is_spent_and_what_the_replies_are_worth_are_two_things(cache):
    first, second = Ledger(), Ledger()
    with FakeOpenAI() as server:
        options = {"endpoint": endpoint_of(server), "cache": cache, "label": "x", "prices": PRICES}
        complete(questions(*"abc"), ledger=first, **options)
        complete(questions(*"abcdd"), ledger=second, **options)
    assert (first.requests, first.from_cache, first.sent) == (3, 0, 3)
    assert first.spent == first.value
    assert first.spent.usd == pytest.approx(3 * USUAL)
    assert (second.requests, second.from_cache, second.sent) == (4, 3, 1)
    assert (second.spent.replies, second.value.replies) == (1, 4)
    assert second.spent.usd == pytest.approx(USUAL)
    assert second.value.usd == pytest.approx(4 * USUAL)
    assert (second.value.input_tokens, second.value.output_tokens) == (28, 20)
    assert sum(second.latency.classes.values()) == 4
    assert warnings(second) == []


def test_a_run_that_is_stopped_has_its_ledger_all_the_same(cache):
    ledger = Ledger()
    bad = refusal(401, "invalid_api_key")
    with FakeOpenAI(lambda call: bad if call.last_message == "c" else "ok") as server:
        endpoint = endpoint_of(server, concurrency=1)
        with pytest.raises(Exception, match="refuses every request"):
            complete(questions(*"abcd"), endpoint=endpoint, cache=cache, label="x", ledger=ledger)
    assert ledger.sent == 3
    assert ledger.spent.replies == 2


def told_of(cache, name, reply):
    ledger = Ledger()
    with FakeOpenAI(reply) as server:
        endpoint = endpoint_of(server, name=name)
        complete(questions(*"abcd"), endpoint=endpoint, cache=cache, label="x", ledger=ledger)
    return ledger, warnings(ledger)


def test_several_models_behind_one_name_are_a_warning(cache):
    for names in (["gpt-x-1"], ["gpt-x-1", "llama"], ["gpt-x-1", None]):
        ledger, told = told_of(
            cache,
            f"{names}",
            lambda call, names=names: completion("ok", model=names[call.number % len(names)]),
        )
        counts = {name or "(not said)": 4 // len(names) for name in names}
        assert ledger.served_models == {"gpt-x": counts}
        assert len(told) == (len(names) > 1)
        assert all(f"{names[1] or '(not said)'} (2)" in each for each in told)


def test_the_file_can_be_read_by_people_and_the_warnings_are_said(tmp_path, caplog):
    ledger = Ledger(value=replace(Cost(), replies=3), usage_zero=2)
    for seconds in (1.0, 2.0, 10.0):
        ledger.latency.add(seconds)
    write_ledger(tmp_path / "ledger.json", ledger)
    written = read_json(tmp_path / "ledger.json")
    assert written["latency"]["p50"] == pytest.approx(2, rel=0.03)
    assert written["latency"]["p95"] == pytest.approx(10, rel=0.03)
    assert written["warnings"] == warnings(ledger)
    assert [record.getMessage() for record in caplog.records] == warnings(ledger)
