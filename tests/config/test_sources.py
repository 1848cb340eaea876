"""Where models and files come from: the hub's real client, and a hub and a web server on loopback."""

import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from mini_lima.config import sources
from mini_lima.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"
FILE = b'[{"instruction": "a", "output": "b"}]'
SHA256 = hashlib.sha256(FILE).hexdigest()
FILES = {
    f"/me/model/resolve/{COMMIT}/config.json": b"{}",
    f"/datasets/me/set/resolve/{COMMIT}/sub/file.json": FILE,
    f"/datasets/me/set/resolve/{OLDER}/sub/file.json": b"[]",
    f"/datasets/me/rows/resolve/{COMMIT}/train.jsonl": b'{"a": "1", "b": null}\n{"a": "2", "b": 0.5}',
    f"/datasets/me/rows/resolve/{COMMIT}/test.jsonl": b'{"a": "3"}\n',
    "/seeds.jsonl": FILE,
    "/seeds.jsonl?mirror=2": FILE,
}
IN_SET = "hub:me/set/sub/file.json"


class Server(ThreadingHTTPServer):
    """Has a model, me/model, the data sets me/set and me/rows, and /seeds.jsonl."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = []
        self.refusal = None
        self.cut = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        repository = "/".join(self.path.split("/")[:5])
        if self.server.refusal:
            status, code = self.server.refusal
            self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"})
        elif self.path.startswith("/api/datasets/me/rows/tree/"):
            names = ("train.jsonl", "test.jsonl")
            files = [{"type": "file", "oid": "0" * 40, "size": 9, "path": name} for name in names]
            self.answer(200, json.dumps(files).encode())
        elif repository.removesuffix("/revision") in (
            "/api/models/me/model",
            "/api/datasets/me/set",
            "/api/datasets/me/rows",
        ):
            commit = OLDER if self.path.endswith("/older") else COMMIT
            self.answer(200, json.dumps({"id": "me/it", "sha": commit}).encode())
        elif self.path in FILES:
            commit = OLDER if OLDER in self.path else COMMIT
            etag = hashlib.sha256(self.path.encode()).hexdigest()
            self.answer(200, FILES[self.path], {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) - self.server.cut])

    def log_message(self, *arguments):
        pass


def forget():
    """What another process would not know."""
    for asked_once in (sources._hub_file, sources._hub_rows, sources._web_file):
        asked_once.cache_clear()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    forget()
    with Server() as server:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    forget()


@pytest.fixture
def datasets(hub, tmp_path, monkeypatch):
    """The library, with the hub on loopback as its hub and a cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return datasets


def refused(call, *given):
    """What is said, in one line."""
    with pytest.raises(UserError) as found:
        call(*given)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_a_model_on_the_hub_is_known_by_its_commit_and_asked_for_once(hub):
    assert sources.model("me/model", "main") == sources.HubModel("me/model", COMMIT)
    before = len(hub.asked)
    assert sources.model("me/model", "main") == sources.HubModel("me/model", COMMIT)
    assert len(hub.asked) == before


@pytest.mark.parametrize(
    ("refusal", "named"),
    [
        ((404, "RepoNotFound"), "no such name"),
        ((404, "RevisionNotFound"), "no such revision"),
        ((403, "GatedRepo"), "gated"),
        ((503, "Busy"), "503"),
    ],
)
def test_a_model_that_the_hub_refuses_says_why_and_what_to_do(hub, refusal, named):
    hub.refusal = refusal
    told = refused(sources.model, "me/model", "main")
    assert all(each in told for each in ("me/model", named, "model.source"))


def test_a_file_of_a_data_set_is_fetched_and_then_does_without_the_hub(hub, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "mini_lima")
    path = sources.local_file(IN_SET)
    assert path.read_bytes() == FILE
    [said] = [
        each.getMessage() for each in caplog.records if each.name == "mini_lima.config.sources"
    ]
    assert COMMIT in said, "what may be pinned"
    assert SHA256 in said
    forget()
    hub.asked.clear()
    assert sources.local_file(IN_SET, COMMIT) == path
    assert hub.asked == []
    forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert sources.local_file(IN_SET) == path
    assert hub.asked == []


def test_a_data_set_on_the_hub_becomes_a_file_at_its_commit_and_then_does_without_the_hub(
    hub, datasets, monkeypatch, tmp_path
):
    path = sources.data_file("hub:me/rows", tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"a": "1", "b": None}, {"a": "2", "b": 0.5}]
    test = sources.data_file(f"hub:me/rows@{COMMIT}:test", tmp_path)
    assert '"a": "3"' in test.read_text()
    forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert sources.data_file("hub:me/rows", tmp_path) == path
    assert sources.data_file(f"hub:me/rows@{COMMIT}", tmp_path) == path
    assert hub.asked == []


def from_the_web(hub, folder, *, path="/seeds.jsonl", sha256=SHA256):
    forget()
    return sources.checked_file(hub.url + path, sha256, folder)


def test_a_file_on_the_web_is_fetched_once_for_all_processes_unless_it_is_damaged(hub, tmp_path):
    folder = tmp_path / "store" / "downloads"
    path = from_the_web(hub, folder)
    assert path.read_bytes() == FILE
    assert path.suffix == ".jsonl"
    assert from_the_web(hub, folder, sha256=SHA256.upper()) == path
    assert from_the_web(hub, folder, path="/seeds.jsonl?mirror=2") == path
    assert hub.asked == ["/seeds.jsonl"]
    assert list(folder.iterdir()) == [path]
    path.write_text("{}")
    assert from_the_web(hub, folder).read_bytes() == FILE
    assert len(hub.asked) == 2


def test_rows_of_a_data_set_on_the_hub_that_are_damaged_are_read_again(tmp_path, monkeypatch):
    made = []

    def write_rows(where, commit, config, split, target):
        target.write_text("{}\n")
        made.append(target)

    monkeypatch.setattr(sources, "_commit", lambda *_: "c0ffee")
    monkeypatch.setattr(sources, "_reach", lambda *_: None)
    monkeypatch.setattr(sources, "_write_rows", write_rows)
    for damaged in ("", "", "{}"):
        forget()
        file = sources.data_file("hub:me/rows", tmp_path)
        assert file.read_text() == "{}\n"
        if damaged:
            file.write_text(damaged)
    forget()
    assert sources.data_file("hub:me/rows", tmp_path).read_text() == "{}\n"
    assert made == [file, file]


def test_what_is_another_file_or_cannot_be_had_is_said_and_not_kept(hub, tmp_path):
    folder = tmp_path / "downloads"
    with pytest.raises(UserError, match=SHA256):
        from_the_web(hub, folder, sha256="0" * 64)
    with pytest.raises(UserError, match="Not Found"):
        from_the_web(hub, folder, path="/nothing")
    asked = len(hub.asked)
    assert "Not Found" in refused(sources.checked_file, hub.url + "/nothing", SHA256, folder)
    assert len(hub.asked) == asked, "once per process"
    with pytest.raises(UserError, match="sha256"):
        from_the_web(hub, folder, sha256=None)
    assert len(hub.asked) == asked
    hub.cut = 3
    with pytest.raises(UserError, match=r"connection ended|IncompleteRead"):
        from_the_web(hub, folder)
    hub.server_close()
    with pytest.raises(UserError, match="cannot be had"):
        from_the_web(hub, folder)
    assert not folder.exists()
