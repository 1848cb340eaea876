"""Seed tasks by address: fetched once, never taken for another file. A web server on loopback."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mini_lima import downloads, sources
from mini_lima.errors import UserError

CONTENTS = '{"id": "é"}\n'.encode()
SHA256 = hashlib.sha256(CONTENTS).hexdigest()


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = []
        self.cut = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if not self.path.startswith("/seeds"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENTS)))
        self.end_headers()
        self.wfile.write(CONTENTS[: len(CONTENTS) - self.server.cut])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web():
    downloads._download.cache_clear()
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(web, folder, *, path="/seeds.jsonl", sha256=SHA256):
    downloads._download.cache_clear()
    return sources.checked_file(web.url + path, sha256, folder)


def test_a_file_is_fetched_once_for_all_processes(web, tmp_path):
    folder = tmp_path / "store" / "downloads"
    path = fetch(web, folder)
    assert path.read_bytes() == CONTENTS
    assert path.suffix == ".jsonl"
    assert fetch(web, folder, sha256=SHA256.upper()) == path
    assert fetch(web, folder, path="/seeds.jsonl?mirror=2") == path
    assert web.asked == ["/seeds.jsonl"]
    assert list(folder.iterdir()) == [path]


def test_a_file_that_was_damaged_since_is_fetched_again(web, tmp_path):
    path = fetch(web, tmp_path)
    path.write_text("{}")
    assert fetch(web, tmp_path).read_bytes() == CONTENTS
    assert len(web.asked) == 2


def test_another_file_is_refused_and_not_kept(web, tmp_path):
    with pytest.raises(UserError, match=SHA256):
        fetch(web, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_had_is_said_in_one_line_and_asked_once(web, tmp_path):
    with pytest.raises(UserError, match="Not Found") as raised:
        fetch(web, tmp_path, path="/nothing")
    assert "\n" not in str(raised.value)
    with pytest.raises(UserError):
        sources.checked_file(web.url + "/nothing", SHA256, tmp_path)
    assert len(web.asked) == 1
    web.cut = 3
    with pytest.raises(UserError, match="cannot be had"):
        fetch(web, tmp_path)
    web.server_close()
    with pytest.raises(UserError, match="cannot be had"):
        fetch(web, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_here_is_checked_too_if_its_sha256_is_given(tmp_path):
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(CONTENTS)
    assert sources.checked_file(str(path), SHA256, tmp_path) == path
    assert sources.checked_file(str(path), None, tmp_path) == path
    with pytest.raises(UserError, match=SHA256):
        sources.checked_file(str(path), "0" * 64, tmp_path)


def test_without_its_sha256_nothing_is_fetched(web, tmp_path):
    with pytest.raises(UserError, match="sha256"):
        fetch(web, tmp_path, sha256=None)
    assert web.asked == []
