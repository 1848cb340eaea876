"""Where models and files come from: the hub's real client, and a hub on loopback."""

import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from mini_lima import sources
from mini_lima.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KNOWN = ("/api/models/me/model", "/api/datasets/me/set", "/api/datasets/me/rows")
OLDER = "89abcdef0123456789abcdef0123456789abcdef"
FILE = b'[{"instruction": "a", "output": "b"}]'
ROWS = {
    "train.jsonl": b'{"a": "1", "b": null}\n{"a": "2", "b": 0.5}\n',
    "test.jsonl": b'{"a": "3"}\n',
}


class Hub(ThreadingHTTPServer):
    """Knows the model me/model and the data sets me/set, with sub/file.json, and me/rows."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked = []
        self.refusal = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.rpartition("/")[2]
        if self.server.refusal:
            status, code = self.server.refusal
            self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "no"})
        elif self.path.startswith("/api/datasets/me/set/revision/older"):
            self.answer(200, json.dumps({"id": "me/set", "sha": OLDER}).encode())
        elif self.path == f"/datasets/me/set/resolve/{OLDER}/sub/file.json":
            self.answer(200, b"[]", {"X-Repo-Commit": OLDER, "ETag": '"e0"'})
        elif self.path.startswith(f"/api/datasets/me/rows/tree/{COMMIT}?"):
            files = [{"type": "file", "oid": "0" * 40, "size": 9, "path": name} for name in ROWS]
            self.answer(200, json.dumps(files).encode())
        elif self.path.startswith(f"/datasets/me/rows/resolve/{COMMIT}/") and name in ROWS:
            self.answer(200, ROWS[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{name}"'})
        elif self.path.startswith(KNOWN) and "/tree/" not in self.path:
            self.answer(200, json.dumps({"id": "me/model", "sha": COMMIT}).encode())
        elif self.path == f"/datasets/me/set/resolve/{COMMIT}/sub/file.json":
            self.answer(200, FILE, {"X-Repo-Commit": COMMIT, "ETag": '"e1"'})
        else:
            self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the standard library's name

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def forget():
    for asked_once in (sources._commit, sources._hub_file, sources._hub_set):
        asked_once.cache_clear()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    forget()
    with Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            server.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    forget()


def test_a_model_on_the_hub_is_known_by_its_commit_and_asked_for_once(hub):
    assert sources.model("me/model", "main") == sources.HubModel("me/model", COMMIT)
    assert sources.model("me/model", "main") == sources.HubModel("me/model", COMMIT)
    assert len([path for path in hub.asked if "me/model" in path]) == 1


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
    with pytest.raises(UserError) as found:
        sources.model("me/model", "main")
    for each in ("me/model", named, "model.source"):
        assert each in str(found.value)
    assert "\n" not in str(found.value)


def test_a_file_of_a_data_set_is_fetched_and_then_does_without_the_hub(hub, monkeypatch):
    path = sources.local_file("hub:me/set/sub/file.json")
    assert path.read_bytes() == FILE
    forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert sources.local_file("hub:me/set/sub/file.json") == path
    assert hub.asked == []


def test_a_file_of_a_data_set_is_had_at_a_revision_and_held_to_its_sha256(hub, tmp_path):
    source = "hub:me/set/sub/file.json"
    sha256 = hashlib.sha256(FILE).hexdigest()
    assert sources.checked_file(source, sha256, tmp_path).read_bytes() == FILE
    assert sources.checked_file(source, None, tmp_path, "older").read_bytes() == b"[]"
    with pytest.raises(UserError, match=sha256):
        sources.checked_file(source, sha256, tmp_path, "older")


def test_a_file_at_a_commit_is_asked_for_only_where_it_is_not_here(hub):
    source = "hub:me/set/sub/file.json"
    path = sources.local_file(source, COMMIT)
    assert path.read_bytes() == FILE
    forget()
    hub.asked.clear()
    assert sources.local_file(source, COMMIT) == path
    assert hub.asked == []


def test_the_first_download_says_what_may_be_pinned(hub, caplog):
    caplog.set_level(logging.INFO, "mini_lima")
    for _ in range(2):
        sources.local_file("hub:me/set/sub/file.json")
        forget()
    [said] = [each.getMessage() for each in caplog.records if each.name == "mini_lima.sources"]
    assert COMMIT in said
    assert hashlib.sha256(FILE).hexdigest() in said


@pytest.mark.parametrize(
    ("source", "named"),
    [("hub:me/set/other.json", "no such file"), ("hub:me/set", "hub:<owner>/<data set>/<file>")],
)
def test_a_file_that_the_hub_does_not_have_says_so(hub, source, named):
    with pytest.raises(UserError) as found:
        sources.local_file(source)
    assert source in str(found.value)
    assert named in str(found.value)


def test_without_a_network_the_hub_is_given_up_at_once(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for missing in (
        lambda: sources.model("me/model", "main"),
        lambda: sources.local_file("hub:me/set/sub/file.json"),
    ):
        with pytest.raises(UserError, match="refused"):
            missing()


def test_a_folder_is_a_model_when_it_has_a_configuration(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        sources.model(str(tmp_path), "main")
    (tmp_path / "config.json").write_text("{}")
    assert sources.model(str(tmp_path), "main") == tmp_path


def test_embedded_things_are_there_and_others_are_listed():
    assert (sources.model("embedded:qwen-tiny", "main") / "config.json").is_file()
    assert sources.local_file("embedded:evaluation_set.json").is_file()
    with pytest.raises(UserError, match=r"seed_tasks\.jsonl"):
        sources.local_file("embedded:nope.json")


@pytest.mark.parametrize("source", ["no way", "a/b/c", "/no/such/folder", "./nope", ""])
def test_what_is_no_model_is_told_in_one_line(hub, source):
    with pytest.raises(UserError) as found:
        sources.model(source, "main")
    assert "\n" not in str(found.value)


@pytest.fixture
def datasets(hub, tmp_path, monkeypatch):
    """The library, with the hub on loopback as its hub and a cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return datasets


def test_a_data_set_on_the_hub_becomes_a_file_at_its_commit_and_then_does_without_the_hub(
    hub, datasets, monkeypatch, tmp_path
):
    path = sources.data_file("hub:me/rows", tmp_path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"a": "1", "b": None},
        {"a": "2", "b": 0.5},
    ]
    test = sources.data_file(f"hub:me/rows@{COMMIT}:test", tmp_path)
    assert '"a": "3"' in test.read_text()
    forget()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert sources.data_file("hub:me/rows", tmp_path) == path
    assert sources.data_file(f"hub:me/rows@{COMMIT}", tmp_path) == path
    assert hub.asked == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hub:me/rows:dev", "no split dev): there are train, test"),
        ("hub:me/rows:other/train", "no configuration other): there are default"),
        ("hub:me/none", "no such"),
        ("hub:rows", "hub:<owner>/<data set>"),
        ("hub:me/rows@v1/", "hub:<owner>/<data set>"),
        ("https://127.0.0.1:9/a.jsonl", "#sha256=<hex>"),
    ],
)
def test_a_data_set_that_cannot_be_had_says_why_in_one_line(hub, datasets, tmp_path, source, told):
    hub.refusal = (404, "RepoNotFound") if source == "hub:me/none" else None
    with pytest.raises(UserError) as found:
        sources.data_file(source, tmp_path)
    assert source in str(found.value)
    assert told in str(found.value)
    assert "\n" not in str(found.value)


def test_a_file_of_a_data_set_may_have_a_revision_in_its_name(hub, tmp_path):
    assert sources.data_file("hub:me/set/sub/file.json", tmp_path).read_bytes() == FILE
    assert sources.data_file("hub:me/set@older/sub/file.json", tmp_path).read_bytes() == b"[]"
    assert sources.data_file(str(tmp_path), tmp_path) == tmp_path


def test_a_data_set_of_the_hub_is_given_up_at_once_without_a_network(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="refused"):
        sources.data_file("hub:me/rows", tmp_path)


def test_the_configuration_is_named_where_there_is_a_choice(datasets, tmp_path):
    for name in ("train", "other"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "0.jsonl").write_text(json.dumps({"text": name}))
    configs = "configs:\n" + "".join(
        f"- config_name: {name}\n  data_files: {name}/0.jsonl\n" for name in ("train", "other")
    )
    (tmp_path / "set/README.md").write_text(f"---\n{configs}---\n")
    target = tmp_path / "rows.jsonl"
    with pytest.raises(UserError, match=r"which configuration is not said.*train, other"):
        sources._write_rows(str(tmp_path / "set"), None, None, None, target)
    sources._write_rows(str(tmp_path / "set"), None, "other", None, target)
    assert target.read_text() == '{"text": "other"}\n'
    assert list(tmp_path.glob(".rows*")) == []
