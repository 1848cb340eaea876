"""The response cache, shared by processes."""

import sqlite3
import subprocess
import sys

import pytest

from mini_lima.chat import ChatRequest, ResponseCache, completion_body
from mini_lima.errors import UserError

QUESTION = ChatRequest("m", (("user", "hello"),))


def answer(text):
    return completion_body(text, model="m")


def test_an_answer_belongs_to_its_endpoint_and_its_request(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "one") as cache:
        cache.put(QUESTION, answer("hi"))
        assert cache.get(QUESTION) == answer("hi")
        assert cache.has(QUESTION)
        assert cache.get(ChatRequest("m", (("user", "hello"),), sample=1)) is None
    with ResponseCache(tmp_path / "cache.sqlite", "other") as cache:
        assert not cache.has(QUESTION)


def test_the_first_answer_stays(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "e") as cache:
        cache.put(QUESTION, answer("first"))
        cache.put(QUESTION, answer("second"))
        assert cache.get(QUESTION) == answer("first")


def test_half_a_surrogate_pair_becomes_a_character_that_files_can_hold(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "e") as cache:
        cache.put(QUESTION, answer("cut \ud83d and whole \U0001f600"))
        assert cache.get(QUESTION) == answer("cut \ufffd and whole \U0001f600")


def test_a_full_disk_is_told_in_one_line_and_costs_no_answer_that_was_kept(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "e") as cache:
        cache.put(QUESTION, answer("hi"))
        cache._database.execute("PRAGMA max_page_count = 1")  # as many as there are
        long = ChatRequest("m", (("user", "x" * 100_000),))
        with pytest.raises(UserError, match=r"cache\.sqlite cannot take .* full"):
            cache.put(long, answer("y"))
        assert cache.get(QUESTION) == answer("hi")
        assert not cache.has(long)


@pytest.mark.parametrize("contents", [b"not a database, but long enough to be taken for one" * 30])
def test_a_file_that_is_no_cache_is_named(tmp_path, contents):
    (tmp_path / "notes.txt").write_bytes(contents)
    with pytest.raises(UserError, match=r"notes\.txt cannot be used"):
        ResponseCache(tmp_path / "notes.txt", "e")


def test_a_newer_layout_is_refused(tmp_path):
    database = sqlite3.connect(tmp_path / "cache.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UserError, match="layout 99"):
        ResponseCache(tmp_path / "cache.sqlite", "e")


WRITER = """
import sys
from pathlib import Path
from mini_lima.chat import ChatRequest, ResponseCache, completion_body
sys.stdin.readline()
with ResponseCache(Path(sys.argv[1]), "e") as cache:
    for number in range(200):
        request = ChatRequest("m", (("user", str(number)),))
        cache.put(request, completion_body(f"{number} from {sys.argv[2]}", model="m"))
"""


def test_processes_that_open_and_fill_a_new_cache_at_once_lose_nothing(tmp_path):
    path = tmp_path / "new" / "cache.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, str(n)], stdin=subprocess.PIPE)
        for n in range(6)
    ]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    assert [writer.wait() for writer in writers] == [0] * 6
    for writer in writers:
        writer.stdin.close()
    with ResponseCache(path, "e") as cache:
        for number in range(200):
            kept = cache.get(ChatRequest("m", (("user", str(number)),)))
            assert kept["choices"][0]["message"]["content"].startswith(f"{number} from ")
