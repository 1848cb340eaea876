"""The response cache: whose answers it holds, what it survives, and its journal."""

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from mini_lima.chat import ResponseCache, completion_body
from mini_lima.chat import cache as response_cache
from mini_lima.errors import UserError
from tests.chat.asked import questions
from tests.processes import preloaded

PROCESSES = preloaded("mini_lima.chat")
QUESTION, LONG = questions("hello", "x" * 100_000)


def answer(text):
    return completion_body(text, model="m")


def test_the_first_answer_of_an_endpoint_to_a_request_stays(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "one") as cache:
        assert cache.put(QUESTION, answer("hi"), {"seconds": 1.5})
        assert not cache.put(QUESTION, answer("second"), {"seconds": 2.5})
        assert cache.get(QUESTION) == (answer("hi"), {"seconds": 1.5})
        assert cache.get(LONG) is None
    with ResponseCache(tmp_path / "cache.sqlite", "other") as cache:
        assert not cache.has(QUESTION)


def test_a_full_disk_is_told_in_one_line_and_costs_no_answer_that_was_kept(tmp_path):
    with ResponseCache(tmp_path / "cache.sqlite", "e") as cache:
        cache.put(QUESTION, answer("hi"))
        cache._database.execute("PRAGMA max_page_count = 1")  # as many as there are
        with pytest.raises(UserError, match=r"cache\.sqlite cannot take .* full"):
            cache.put(LONG, answer("y"))
        assert cache.has(QUESTION)
        assert not cache.has(LONG)


def test_what_is_no_cache_or_a_newer_one_is_named(tmp_path):
    (tmp_path / "notes.txt").write_bytes(b"not a database, but long enough to be one" * 30)
    with pytest.raises(UserError, match=r"notes\.txt cannot be used"):
        ResponseCache(tmp_path / "notes.txt", "e")
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.sqlite")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="layout 99"):
        ResponseCache(tmp_path / "cache.sqlite", "e")


def write(path: Path, who: int, begin: threading.Event) -> None:
    begin.wait()
    with ResponseCache(path, "e") as cache:
        for number, request in enumerate(questions(*map(str, range(100)))):
            cache.put(request, answer(f"{number} from {who}"))


def test_processes_that_open_and_fill_a_new_cache_at_once_lose_nothing(tmp_path):
    path, begin = tmp_path / "new" / "cache.sqlite", PROCESSES.Event()
    writers = [PROCESSES.Process(target=write, args=(path, who, begin)) for who in range(4)]
    for writer in writers:
        writer.start()
    begin.set()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    with ResponseCache(path, "e") as cache:
        for number, request in enumerate(questions(*map(str, range(100)))):
            kept, _ = cache.get(request)
            assert kept["choices"][0]["message"]["content"].startswith(f"{number} from ")


def test_a_cache_is_for_several_machines_as_soon_as_it_may_be_and_stays_so(tmp_path, monkeypatch):
    path, mounts = tmp_path / "cache.sqlite", tmp_path / "mounts"
    monkeypatch.setattr(response_cache, "MOUNTS", mounts)

    def journal_when_opened_on(kind: str) -> str:
        mounts.write_text(f"x / {kind} rw 0 0\n")
        ResponseCache(path, "e").close()
        with contextlib.closing(sqlite3.connect(path)) as database:
            return str(database.execute("PRAGMA journal_mode").fetchone()[0])

    kinds = ("ext4", "nfs4", "xfs", "fuse.sshfs")
    assert [journal_when_opened_on(kind) for kind in kinds] == ["wal", "delete", "delete", "delete"]


@pytest.mark.parametrize(
    "damaged",
    [
        "UPDATE responses SET response = replace(response, 'hi', 'ho')",
        "UPDATE responses SET response = CAST(x'ff' AS TEXT)",
        "UPDATE responses SET request = replace(request, 'hello', 'hullo')",
    ],
)
def test_a_damaged_answer_is_none_and_the_next_one_takes_its_place(tmp_path, caplog, damaged):
    path = tmp_path / "cache.sqlite"
    with ResponseCache(path, "e") as cache:
        cache.put(QUESTION, answer("hi"))
        cache.put(LONG, answer("long"))
        cache._database.execute(f"{damaged} WHERE request_key = '{QUESTION.key}'")
        assert cache.get(QUESTION) is cache.entry(QUESTION.key) is None
        assert QUESTION.key in caplog.text
        [fault], unknown = response_cache.damage(path)
        assert QUESTION.key in fault
        assert unknown == 0
        assert cache.put(QUESTION, answer("again"))
        assert cache.entry(QUESTION.key).response == answer("again")
        cache._database.execute("DROP TABLE checksums")  # as an earlier version has left it
    assert response_cache.damage(path) == ([], 2)
    with ResponseCache(path, "e") as cache:
        assert cache.entry(QUESTION.key).response == answer("again")


def test_pages_that_cannot_be_read_are_one_line(tmp_path):
    path = tmp_path / "cache.sqlite"
    with ResponseCache(path, "e") as cache:
        for request in questions(*map(str, range(200))):
            cache.put(request, answer("x" * 500))
    content = bytearray(path.read_bytes())
    content[5_000:100_000] = b"\xff" * 95_000
    path.write_bytes(content)
    assert response_cache.damage(path)[0]
    with ResponseCache(path, "e") as cache:
        for request in questions(*map(str, range(200))):
            with contextlib.suppress(UserError):  # one line, and no error of SQLite's
                assert cache.get(request) in (None, (answer("x" * 500), {}))
