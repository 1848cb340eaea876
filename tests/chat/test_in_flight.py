"""Parallel processes that share a cache never ask the same at the same time."""

import contextlib
import json
import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest

from mini_lima.chat import Endpoint, ResponseCache, complete, completion_body
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import FakeOpenAI
from tests.processes import preloaded

PROCESSES = preloaded("mini_lima.chat.live")
A, B = questions("a", "b")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def test_what_is_answered_cannot_be_claimed_and_an_answer_ends_the_claim(path):
    with ResponseCache(path, "e") as one, ResponseCache(path, "e") as other:
        assert one.claim(A)
        one.put(A, completion_body("hi", model="m"))
        assert other.is_free(A)
        assert not other.claim(A)
        assert not one.claim(A)


def asker(address: str, cache: Path, texts: list[str], told: Path) -> None:
    endpoint = Endpoint("fake", address, concurrency=2, max_retries=0)
    replies = complete(questions(*texts), endpoint=endpoint, cache=cache, label="x")
    told.write_text(json.dumps([[reply.text, reply.cached] for reply in replies]))


@pytest.fixture
def start(tmp_path):
    """Starts a process that asks ``server``; ``told()`` waits and is what it was told."""
    started = []

    def begin(server, cache, texts):
        file = tmp_path / f"told-{len(started)}"
        arguments = (server.base_url, cache, texts, file)
        process = PROCESSES.Process(target=asker, args=arguments)
        process.start()
        started.append(process)

        def told():
            process.join()
            return json.loads(file.read_text())

        process.told = told
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_processes_with_the_same_work_share_it_and_send_each_request_once(cache, start, journal):
    ResponseCache(cache, "e").close()
    with contextlib.closing(sqlite3.connect(cache)) as database:  # as on a network file system
        database.execute(f"PRAGMA journal_mode = {journal}")
    texts = [f"<{number}>" for number in range(60)]
    all_are_here = threading.Event()

    def reply(call):
        if server.connections > 4:  # two per process: the third has come
            all_are_here.set()
        all_are_here.wait()
        return call.last_message

    with FakeOpenAI(reply) as server:
        askers = [start(server, cache, texts) for _ in range(3)]
        told = [process.told() for process in askers]
    assert sorted(server.asked) == sorted(texts)
    assert [[text for text, _ in each] for each in told] == [texts] * 3
    sent = [sum(not cached for _, cached in each) for each in told]
    assert sum(sent) == len(texts)
    assert min(sent) > 0
    with contextlib.closing(sqlite3.connect(cache)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (journal,)


def test_who_waits_for_a_process_that_is_killed_takes_over(cache, start, when_waiting):
    asked, killed = threading.Event(), threading.Event()

    def reply(call):
        asked.set()
        if call.last_message == "a" and not killed.is_set():
            killed.wait()
            return None
        return call.last_message

    def kill():
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        killed.set()

    with FakeOpenAI(reply) as server:
        process = start(server, cache, ["a"])
        assert asked.wait()
        when_waiting(kill)
        replies = complete(questions(*"abc"), endpoint=endpoint_of(server), cache=cache, label="x")
    assert [reply.text for reply in replies] == list("abc")
    assert sorted(server.asked) == list("aabc")


def test_a_request_is_claimed_by_one_at_a_time_and_free_again_after_a_failure(path):
    with ResponseCache(path, "e") as one, ResponseCache(path, "e") as other:
        assert one.claim(A)
        assert (other.claim(A), other.is_free(A), other.claim(B)) == (False, False, True)
        with ResponseCache(path, "f") as of_another_endpoint:
            assert of_another_endpoint.claim(A)
        one.release(A)
        assert (other.is_free(A), other.claim(A), one.claim(A)) == (True, True, False)
