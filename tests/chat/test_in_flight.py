"""Parallel processes that share a cache never ask the same at the same time."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest
from tests.chat.asked import endpoint_of, questions
from tests.chat.server import FakeOpenAI, refusal

from mini_lima.chat import ResponseCache, complete, completion_body

A, B = questions("a", "b")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


def lock_files(path):
    return list(path.with_name(f"{path.name}-claims").iterdir())


def test_a_request_is_claimed_by_one_at_a_time(path):
    with ResponseCache(path, "e") as one, ResponseCache(path, "e") as other:
        assert one.claim(A)
        assert not other.claim(A)
        assert not other.is_free(A)
        assert other.claim(B)
        one.release(A)
        assert other.is_free(A)
        assert other.claim(A)


def test_another_endpoint_is_another_request(path):
    with ResponseCache(path, "e") as one, ResponseCache(path, "f") as other:
        assert one.claim(A)
        assert other.claim(A)


def test_what_is_answered_cannot_be_claimed_and_an_answer_ends_the_claim(path):
    with ResponseCache(path, "e") as one, ResponseCache(path, "e") as other:
        assert one.claim(A)
        one.put(A, completion_body("hi", model="m"))
        assert other.is_free(A)
        assert not other.claim(A)
        assert not one.claim(A)


def test_closing_gives_everything_back_and_leaves_no_file(path):
    with ResponseCache(path, "e") as other:
        with ResponseCache(path, "e") as one:
            assert one.claim(A)
            assert len(lock_files(path)) == 1
        assert lock_files(path) == []
        assert other.claim(A)


def test_a_cache_that_is_only_read_makes_no_lock(path):
    with ResponseCache(path, "e") as cache:
        cache.put(A, completion_body("hi", model="m"))
        assert cache.get(A)
        assert cache.is_free(B)
    assert [file.name for file in path.parent.iterdir()] == ["cache.sqlite"]


HOLDER = """
import sys
from pathlib import Path
from mini_lima.chat import ChatModel, ResponseCache
cache = ResponseCache(Path(sys.argv[1]), "e")
model = ChatModel("gpt-x", temperature=0.7, max_tokens=64)
print(all([cache.claim(model.request([("user", text)])) for text in "ab"]), flush=True)
sys.stdin.readline()
"""


def test_the_claims_of_a_killed_process_are_free_at_once(path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder, ResponseCache(path, "e") as cache:
        assert holder.stdout.readline() == "True\n"
        assert not cache.claim(A)
        holder.kill()
        holder.wait()
        assert cache.is_free(A)
        assert cache.claim(A)
        assert cache.claim(B)
        assert len(lock_files(path)) == 1


ASKER = """
import sys
from pathlib import Path
from mini_lima.chat import ChatModel, Endpoint, complete
address, cache, concurrency, *texts = sys.argv[1:]
model = ChatModel("gpt-x", temperature=0.7, max_tokens=64)
replies = complete([model.request([("user", text)]) for text in texts], label="x",
    endpoint=Endpoint("fake", address, concurrency=int(concurrency)), cache=Path(cache))
print("".join(reply.text for reply in replies))
print(sum(not reply.cached for reply in replies))
"""


def start(server, cache, texts, concurrency=2):
    arguments = [server.base_url, cache, str(concurrency), *texts]
    return subprocess.Popen(
        [sys.executable, "-c", ASKER, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_processes_with_the_same_work_share_it_and_send_each_request_once(cache, journal):
    ResponseCache(cache, "e").close()
    with contextlib.closing(sqlite3.connect(cache)) as database:  # as on a network file system
        database.execute(f"PRAGMA journal_mode = {journal}")
    texts = [f"<{number}>" for number in range(60)]
    all_are_here = threading.Event()

    def reply(call):
        if server.connections > 4:  # two per process: the third has come
            all_are_here.set()
        all_are_here.wait(20)
        return call.last_message

    with FakeOpenAI(reply) as server:
        askers = [start(server, cache, texts) for _ in range(3)]
        told = [asker.communicate()[0].split() for asker in askers]
    assert sorted(server.asked) == sorted(texts)
    assert [text for text, _ in told] == ["".join(texts)] * 3
    sent = [int(number) for _, number in told]
    assert sum(sent) == len(texts)
    assert min(sent) > 0
    assert lock_files(cache) == []
    with contextlib.closing(sqlite3.connect(cache)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == (journal,)


def test_who_waits_for_a_process_that_is_killed_takes_over(cache, when_waiting):
    asked = threading.Event()
    killed = threading.Event()

    def reply(call):
        asked.set()
        if call.last_message == "a" and not killed.is_set():
            killed.wait(20)
            return None
        return call.last_message

    def kill():
        os.kill(asker.pid, signal.SIGKILL)
        asker.wait()
        killed.set()

    with FakeOpenAI(reply) as server:
        asker = start(server, cache, ["a"])
        assert asked.wait(20)
        when_waiting(kill)
        replies = complete(questions(*"abc"), endpoint=endpoint_of(server), cache=cache, label="x")
        asker.stdout.close()
    assert [reply.text for reply in replies] == list("abc")
    assert sorted(server.asked) == list("aabc")
    assert lock_files(cache) == []


def test_who_waits_gets_the_answer_without_a_call(cache, when_waiting):
    asked, waiting = threading.Event(), threading.Event()

    def reply(call):
        asked.set()
        waiting.wait(20)
        return call.last_message

    with FakeOpenAI(reply) as server:
        asker = start(server, cache, ["a"])
        assert asked.wait(20)
        when_waiting(waiting.set)
        (found,) = complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
        asker.communicate()
    assert found.text == "a"
    assert found.cached
    assert server.asked == ["a"]


def test_what_another_process_could_not_get_is_asked_by_who_waited(cache, when_waiting):
    asked, waiting = threading.Event(), threading.Event()

    def reply(call):
        asked.set()
        waiting.wait(20)
        return refusal(400, "bad") if call.number == 0 else "ok"

    with FakeOpenAI(reply) as server:
        asker = start(server, cache, ["a"])
        assert asked.wait(20)
        when_waiting(waiting.set)
        (found,) = complete(questions("a"), endpoint=endpoint_of(server), cache=cache, label="x")
        asker.communicate()
    assert found.text == "ok"
    assert asker.returncode == 1
    assert server.asked == ["a", "a"]
