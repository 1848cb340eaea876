"""A Weights & Biases server on loopback that keeps what the real client sends.

    with Recorder() as server:
        ...  # a process with server.environment
    server.history[run_id], server.summary[run_id], server.uploads

It answers GraphQL, the file stream and file uploads as far as the client of wandb 0.31 asks, and
resumes runs: what it was sent is what it says it has.
"""

import json
import re
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

KEY = "0123456789abcdef" * 2 + "01234567"


class Recorder:
    """Remembers requests.

    Attributes:
        hang: Set to let every further request wait until the end.
        hang_at: Name of the GraphQL operation with which that begins.
        refuse: Name of the GraphQL operation that is answered with an error.
        requests: Every body as it arrived.
        operations: Names of GraphQL operations in their order.
        history: Rows by run, each where its offset says.
        summary: The last summary by run.
        runs: The variables of `UpsertBucket`, merged, by run.
        exits: Exit codes by run.
        uploads: Uploaded files by name.
        artifacts: By id, as `CreateArtifact` describes them, with their ``manifest`` once it is
            here, their ``state``, and the runs that ``used`` or ``logged`` them. What has the
            digest of one of its collection is that one, as W&B has it.
        views: The variables of `UpsertView2`, by name.
        charts: Those of `CreateCustomChart`, by name.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.operations: list[str] = []
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summary: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = defaultdict(dict)
        self.exits: dict[str, list[int]] = defaultdict(list)
        self.uploads: dict[str, bytes] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.charts: dict[str, dict[str, Any]] = {}
        self.keys_seen = 0
        self.hang = False
        self.hang_at = self.refuse = ""
        self.changed = threading.Condition()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        recorder = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Say nothing: a client that was killed leaves its connections open."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if recorder.hang_at and f"mutation {recorder.hang_at}".encode() in body:
                    recorder.hang_at, recorder.hang = "", True
                if recorder.hang:
                    recorder._over.wait()  # of those who hang, also after `live_again`
                    self.close_connection = True
                    return
                with recorder.changed:
                    recorder.keys_seen += "Authorization" in self.headers
                    reply = json.dumps(recorder._answer(self.path, body)).encode()
                    recorder.changed.notify_all()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815 - http.server's own names

        self._server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def live_again(self) -> None:
        """Answer what is asked from now on."""
        self.hang, self.hang_at = False, ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_until(self, condition: Any) -> None:
        """Block until ``condition()`` holds after some request."""
        with self.changed:
            assert self.changed.wait_for(condition, 600), "the client never sent it"

    def steps(self, run: str) -> list[int]:
        """The training steps that were logged, in the order of arrival."""
        return [row["_step"] for row in self.history[run] if "sft/loss" in row]

    def _answer(self, path: str, body: bytes) -> Any:
        self.requests.append(body)
        if path == "/graphql":
            asked = json.loads(body)
            if self.refuse and f"mutation {self.refuse}" in asked["query"]:
                return {"data": None, "errors": [{"message": "not in this project"}]}
            return {"data": self._graphql(asked["query"], asked.get("variables") or {})}
        if path.endswith("/file_stream"):
            self._stream(path.split("/")[-2], json.loads(body))
            return {}
        if path.startswith("/upload/"):
            name = path.removeprefix("/upload/")
            self.uploads[name] = body
            if name.endswith("/manifest"):
                self.artifacts[name.split("/")[0]]["manifest"] = json.loads(body)
        return {}

    def _graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        name = re.search(r"\b(?:query|mutation)\s+(\w+)", query)[1]
        self.operations.append(name)
        entity = {"id": "entity", "name": "someone"}
        if name in ("Viewer", "GetDefaultEntity"):
            viewer = {"id": "viewer", "entity": "someone", "username": "someone", "email": "e"}
            return {"viewer": {**viewer, "flags": "{}", "teams": {"edges": []}}}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        if name == "UpsertBucket":
            run = str(given["name"])
            known = run in self.runs
            self.runs[run] |= {key: value for key, value in given.items() if value is not None}
            project = {"id": "project", "name": given.get("project"), "entity": entity}
            bucket = {"id": f"id-{run}", "name": run, "displayName": run, "project": project}
            bucket |= {"historyLineCount": len(self.history[run])}
            return {"upsertBucket": {"bucket": bucket, "inserted": not known}}
        if name == "RunResumeStatus":
            run = str(given["name"])
            model = {"id": "project", "name": given.get("project"), "entity": entity}
            return {"model": {**model, "bucket": self._state(run) if run in self.runs else None}}
        if name == "CreateRunFiles":
            files = [{"name": each, "uploadUrl": self._upload(each)} for each in given["files"]]
            run_files = {"runID": given["run"], "uploadHeaders": [], "files": files}
            return {"createRunFiles": run_files}
        if name == "ArtifactType":
            return {"project": {"artifact": None}}
        if name == "CreateArtifact":
            return {"createArtifact": {"artifact": self._created(given["input"])}}
        if name == "CreateArtifactManifest":
            file = {"id": "file", "uploadUrl": self._upload(f"{given['artifactID']}/manifest")}
            file |= {"uploadHeaders": [], "artifact": {"id": given["artifactID"]}}
            manifest = {"id": given["artifactID"], "file": file}
            return {"createArtifactManifest": {"artifactManifest": manifest}}
        if name == "CreateArtifactFiles":
            nodes = [
                {
                    "id": "file",
                    "name": file["name"],
                    "storagePath": file["name"],
                    "uploadUrl": self._upload(f"{file['artifactID']}/{file['name']}"),
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": file["artifactID"]},
                }
                for file in given["input"]["artifactFiles"]
            ]
            edges = [{"node": node} for node in nodes]
            return {"createArtifactFiles": {"files": {"edges": edges}}}
        if name == "CommitArtifact":
            artifact = self.artifacts[given["artifactID"]]
            artifact["state"] = "COMMITTED"
            answer = {"id": given["artifactID"], "digest": artifact["digest"]}
            return {"commitArtifact": {"artifact": answer}}
        if name == "UseArtifact":
            asked = given["input"]
            self.artifacts[asked["artifactID"]]["used"].append(asked["runName"])
            return {"useArtifact": {"artifact": {"id": asked["artifactID"]}}}
        if name == "ArtifactByID":
            return {"artifact": self._described(given["id"])}
        if name == "View":
            found = [view for view in self.views.values() if view["name"] == given["viewName"]]
            edges = [{"node": {**view, "id": f"id-{view['name']}"}} for view in found]
            known = any(run.get("project") == given["name"] for run in self.runs.values())
            return {"project": {"allViews": {"edges": edges}} if known else None}
        if name == "UpsertView2":
            known = given["name"] in self.views
            self.views[given["name"]] = given
            view = {"id": f"id-{given['name']}", "name": given["name"]}
            return {"upsertView": {"view": view, "inserted": not known}}
        if name == "CreateCustomChart":
            self.charts[given["chartName"]] = given
            return {
                "createCustomChart": {"chart": {"id": f"{given['entity']}/{given['chartName']}"}}
            }
        return {}

    def _state(self, run: str) -> dict[str, Any]:
        tail = [json.dumps(row) for row in self.history[run][-1:]]
        return {
            "id": f"id-{run}",
            "name": run,
            "displayName": run,
            "summaryMetrics": json.dumps(self.summary.get(run, {})),
            "logLineCount": 0,
            "historyLineCount": len(self.history[run]),
            "eventsLineCount": 0,
            "historyTail": json.dumps(tail),
            "eventsTail": "[]",
            "config": self.runs[run].get("config", "{}"),
            "tags": [],
            "notes": "",
            "wandbConfig": '{"t": 1}',
        }

    def _created(self, given: dict[str, Any]) -> dict[str, Any]:
        names = [given["artifactCollectionName"], given["digest"]]
        key = "-".join(names).replace("/", "_")
        artifact = self.artifacts.setdefault(
            key, {**given, "state": "PENDING", "used": [], "logged": []}
        )
        artifact["logged"].append(given.get("runName"))
        return {
            "id": key,
            "state": artifact["state"],
            "artifactSequence": {"id": names[0], "latestArtifact": None},
        }

    def _described(self, key: str) -> dict[str, Any]:
        given = self.artifacts[key]
        entity = {"name": "someone"}
        project = {"id": "project", "internalId": "1", "name": "study", "entity": entity}
        name = given["artifactCollectionName"]
        return {
            **{"id": key, "versionIndex": 0, "description": None, "tags": [], "size": 0},
            **{"metadata": given["metadata"], "digest": given["digest"], "state": given["state"]},
            **{"ttlDurationSeconds": -1, "ttlIsInherited": False, "historyStep": None},
            **{"commitHash": None, "fileCount": 1, "createdAt": "2026-01-01", "updatedAt": None},
            "artifactSequence": {
                "__typename": "ArtifactSequence",
                "name": name,
                "project": project,
            },
            "artifactType": {"name": given["artifactTypeName"]},
            "aliases": [],
        }

    def _upload(self, name: str) -> str:
        return f"{self.url}/upload/{name}"

    def _stream(self, run: str, sent: dict[str, Any]) -> None:
        for name, chunk in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                at = chunk["offset"]
                self.history[run][at : at + len(lines)] = lines
            elif name == "wandb-events.jsonl":
                self.events[run] += lines
            elif name == "wandb-summary.json":
                self.summary[run] = lines[-1]
        if sent.get("complete"):
            self.exits[run].append(sent["exitcode"])
