"""Batches outlive the processes that submit them, and are never submitted twice."""

import contextlib
import json
import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from mini_lima.chat import (
    Budget,
    Endpoint,
    Ledger,
    Prices,
    ResponseCache,
    complete,
    estimate,
)
from mini_lima.chat.batch_table import Line
from mini_lima.errors import UserError
from tests.chat.asked import endpoint_of, questions
from tests.chat.batches import Batch, FakeBatches
from tests.chat.server import FakeOpenAI, refusal
from tests.processes import preloaded

PROCESSES = preloaded("mini_lima.chat.live")
TEXTS = [f"<{number}>" for number in range(40)]
PRICES = Prices(input=1000, output=10_000, batch_input=500, batch_output=5000)
USUAL = (7 * 500 + 5 * 5000) / 1e6


@pytest.fixture
def server():
    with FakeOpenAI(lambda call: call.last_message) as server:
        yield server


@pytest.fixture
def batches(server):
    return FakeBatches(server)


def ask(server, cache, texts=TEXTS, **options):
    changes = {"mode": "batch", "batch_poll": 0.01} | options.pop("changes", {})
    endpoint = endpoint_of(server, **changes)
    return complete(questions(*texts), endpoint=endpoint, cache=cache, label="x", **options)


def asker(address: str, cache: Path, texts: list[str], told: Path) -> None:
    endpoint = Endpoint("fake", address, mode="batch", batch_poll=0.01, backoff=0.001)
    replies = complete(questions(*texts), endpoint=endpoint, cache=cache, label="x")
    told.write_text(json.dumps([[reply.text, reply.cached] for reply in replies]))


@pytest.fixture
def start(server, cache, tmp_path):
    """Starts a process that asks; ``told(process)`` is what it was told."""
    started = []

    def begin(texts=TEXTS):
        told = tmp_path / f"told-{len(started)}"
        process = PROCESSES.Process(target=asker, args=(server.base_url, cache, texts, told))
        process.start()
        started.append(process)
        process.told = lambda: json.loads(told.read_text())
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def run_until_killed(batches, start, route, *, before, when=lambda: True):
    """Start a process and kill it at a call of ``route``, before or after the server has acted."""
    is_ready, is_killed = threading.Event(), threading.Event()

    def around(call, go):
        if call.route != route or is_killed.is_set():
            return go()
        answer = None if before else go()
        if when():
            is_ready.wait()
            kill(process)
            is_killed.set()
        return answer

    batches.around = around
    process = start()
    is_ready.set()
    assert is_killed.wait()


def test_who_is_killed_while_waiting_submits_nothing_again(server, batches, cache, start):
    def now():
        return batches.batches[0].looks == 2

    run_until_killed(batches, start, "GET /batches/", before=False, when=now)
    ledger, budget = Ledger(), Budget(100)
    replies = ask(server, cache, ledger=ledger, budget=budget, prices=PRICES)
    assert [reply.text for reply in replies] == TEXTS
    assert not any(reply.cached for reply in replies)
    assert batches.asked == TEXTS
    assert server.calls == []
    assert (ledger.sent, ledger.spent.replies) == (0, 40)
    assert budget.spent_usd == pytest.approx(40 * USUAL)


def test_a_batch_that_was_made_while_its_maker_was_killed_is_found_again(
    server, batches, cache, start
):
    run_until_killed(batches, start, "POST /batches", before=False)
    (batch,) = batches.batches
    for number in range(250):  # of other people, three pages
        given = batch.given | {"metadata": {"mini_lima": "another"} if number % 2 else None}
        batches.batches.append(Batch(f"batch_{number + 2}", given, [], batch.created_at))
    assert [reply.text for reply in ask(server, cache)] == TEXTS
    assert batches.count("POST /batches") == 1
    assert batches.count("GET /batches") == 3
    assert server.calls == []


def test_a_batch_that_was_never_made_is_made_once(server, batches, cache, start):
    run_until_killed(batches, start, "POST /batches", before=True)
    assert batches.batches == []
    # As long as a call may take, the one that was killed may still be on its way.
    replies = ask(server, cache, changes={"timeout": 0.3, "max_retries": 50})
    assert [reply.text for reply in replies] == TEXTS
    assert batches.asked == TEXTS


def test_processes_with_the_same_work_submit_each_request_once(server, batches, cache, start):
    begun = threading.Barrier(2)

    def around(call, go):
        if call.route == "POST /files" and batches.count("POST /files") <= 2:
            begun.wait()
        return go()

    batches.around = around
    askers = [start(TEXTS[:30]), start(TEXTS[10:])]
    for process in askers:
        process.join()
    first, second = (process.told() for process in askers)
    assert [text for text, _ in first] == TEXTS[:30]
    assert [text for text, _ in second] == TEXTS[10:]
    assert sorted(batches.asked) == sorted(TEXTS)
    assert server.calls == []
    own = [sum(not cached for _, cached in told) for told in (first, second)]
    assert sum(own) == 40


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_who_waits_for_a_batch_follows_it_when_its_maker_is_killed(
    server, batches, cache, start, when_waiting, mode
):
    is_killed, is_there = threading.Event(), threading.Event()

    def course_of(batch):
        is_there.set()
        is_ours = batch is not batches.batches[0]
        return "completed" if is_ours or is_killed.is_set() else "in_progress"

    def kill_the_maker():
        kill(process)
        is_killed.set()

    batches.course = course_of
    process = start()
    assert is_there.wait()
    when_waiting(kill_the_maker)
    replies = ask(server, cache, [*TEXTS[5:], "more"], changes={"mode": mode})
    assert is_killed.is_set()
    assert [reply.text for reply in replies] == [*TEXTS[5:], "more"]
    where = {"batch": batches.asked, "live": server.asked}
    assert where[mode][-1] == "more"
    assert batches.asked + server.asked == [*TEXTS, "more"]
    assert all(reply.cached for reply in ask(server, cache))


def leave_open(server, batches, cache, **changes):
    """Submit a batch and stop."""
    batches.around = lambda call, go: refusal(401, "bad") if call.method == "GET" else go()
    with pytest.raises(UserError, match="refuses every request"):
        ask(server, cache, "ab", changes=changes)
    batches.around = lambda call, go: go()


def forget(batches):
    batches.batches.clear()


def test_a_batch_that_a_server_without_keys_has_lost_is_asked_live(server, batches, cache):
    leave_open(server, batches, cache)
    forget(batches)
    ledger = Ledger()
    assert len(ask(server, cache, "ab", ledger=ledger, prices=PRICES)) == 2
    assert sorted(server.asked) == ["a", "b"]
    assert ledger.lost == 2
    assert ledger.lost_usd > 0


def test_a_batch_that_this_key_may_not_see_is_not_paid_for_twice(
    server, batches, cache, monkeypatch
):
    monkeypatch.setenv("FAKE_KEY", "sk-other")
    key = {"api_key_env": "FAKE_KEY"}
    leave_open(server, batches, cache, **key)
    kept = list(batches.batches)
    forget(batches)
    with pytest.raises(UserError, match=r"key of the account it belongs to.* given up"):
        ask(server, cache, "ab", changes=key)
    batches.batches.extend(kept)
    ledger = Ledger()
    replies = ask(server, cache, "a", changes=key, ledger=ledger)
    assert [reply.text for reply in replies] == ["a"]
    assert server.calls == []
    assert (ledger.requests, ledger.from_cache, ledger.spent.replies) == (1, 0, 2)


def test_a_batch_of_another_run_counts_against_the_budget_while_it_is_open(server, batches, cache):
    leave_open(server, batches, cache)
    high = estimate(questions("a", "b"), PRICES, batch=True).usd_high
    with pytest.raises(UserError, match=r"before the batch .*0 of 4"):
        ask(server, cache, "abcd", budget=Budget(1.99 * high), prices=PRICES)
    budget = Budget(2.01 * high)
    ask(server, cache, "abcd", budget=budget, prices=PRICES)
    assert batches.asked == ["a", "b", "c", "d"]
    assert budget.spent_usd == pytest.approx(4 * USUAL)


def test_a_batch_is_polled_by_one_at_a_time_and_by_nobody_after_its_end(cache):
    with ResponseCache(cache, "e") as one, ResponseCache(cache, "e") as other:
        batch = one.batches.open([Line(request, {}) for request in questions("a", "b")])
        keys = [request.key for request in questions(*"abc")]
        assert other.batches.holding(keys) == {batch.tag: 2}
        assert other.batches.adopt(batch.tag) is None
        assert not other.claim(*questions("a"))
        one.batches.ended(batch, "expired")
        assert one.batches.adopt(batch.tag) is other.batches.adopt(batch.tag) is None
        assert other.batches.is_open(*questions("a")) is False
        assert other.claim(*questions("a"))


def test_a_batch_that_nobody_knows_after_its_day_or_that_was_refused_is_asked_live(
    server, batches, cache, monkeypatch
):
    monkeypatch.setenv("FAKE_KEY", "sk-other")
    key = {"api_key_env": "FAKE_KEY"}
    leave_open(server, batches, cache, **key)
    forget(batches)
    with contextlib.closing(sqlite3.connect(cache, isolation_level=None)) as database:
        database.execute("UPDATE batches SET begun_at = begun_at - 86500")
    assert len(ask(server, cache, "ab", changes=key)) == 2
    assert sorted(server.asked) == ["a", "b"]

    another = cache.with_name("another.sqlite")
    leave_open(server, batches, another)
    batches.refusals = [{"code": "bad", "message": "bad file"}]
    assert len(ask(server, another, "ab", changes={"mode": "live"})) == 2
    assert sorted(server.asked) == ["a", "a", "b", "b"]
