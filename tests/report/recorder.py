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
    """Remembers requests; ``hang`` is set to let every further request wait until the end.

    Attributes:
        requests: Every body as it arrived.
        operations: Names of GraphQL operations in their order.
        history: Rows by run, in the order of arrival: one that is sent twice is here twice.
        summary: The last summary by run.
        runs: The variables of `UpsertBucket`, merged, by run.
        exits: Exit codes by run.
        uploads: Uploaded files by name.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.operations: list[str] = []
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summary: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = defaultdict(dict)
        self.exits: dict[str, list[int]] = defaultdict(list)
        self.uploads: dict[str, bytes] = {}
        self.keys_seen = 0
        self.hang = False
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
                if recorder.hang:
                    recorder._over.wait()
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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wait_until(self, condition: Any, seconds: float = 20) -> None:
        """Block until ``condition()`` holds after some request."""
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "the client did not send it in time"

    def steps(self, run: str) -> list[int]:
        """The training steps that were logged, in the order of arrival."""
        return [row["_step"] for row in self.history[run] if "sft/loss" in row]

    def _answer(self, path: str, body: bytes) -> Any:
        self.requests.append(body)
        if path == "/graphql":
            asked = json.loads(body)
            return {"data": self._graphql(asked["query"], asked.get("variables") or {})}
        if path.endswith("/file_stream"):
            self._stream(path.split("/")[-2], json.loads(body))
            return {}
        if path.startswith("/upload/"):
            self.uploads[path.removeprefix("/upload/")] = body
        return {}

    def _graphql(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        name = re.search(r"\b(?:query|mutation)\s+(\w+)", query)[1]
        self.operations.append(name)
        entity = {"id": "entity", "name": "someone"}
        if name == "Viewer":
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
            # Said to be there already, so that its files need not be sent: they are the run's.
            artifact = {"id": "artifact", "state": "COMMITTED", "artifactSequence": {"id": "s"}}
            return {"createArtifact": {"artifact": artifact}}
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

    def _upload(self, name: str) -> str:
        return f"{self.url}/upload/{name}"

    def _stream(self, run: str, sent: dict[str, Any]) -> None:
        for name, chunk in (sent.get("files") or {}).items():
            lines = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self.history[run] += lines
            elif name == "wandb-summary.json":
                self.summary[run] = lines[-1]
        if sent.get("complete"):
            self.exits[run].append(sent["exitcode"])
