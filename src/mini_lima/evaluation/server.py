"""The server that has a model: one that is there, or one that is started for as long as needed.

A server is asked for the model by a name that says which one it is: for a tuned model that of its
folder, which carries the fingerprint of its making. One that still has an earlier model refuses.

What is started is a command of the person's own, such as that of a vLLM in another environment. It
ends with the work, also when that is killed, so that nothing goes on holding a GPU.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from mini_lima.errors import UserError
from mini_lima.workers.worker import PR_SET_PDEATHSIG

SECONDS_TO_START = 1800.0
"""A first start may compile for minutes."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 30.0


@dataclass(frozen=True)
class Server:
    """Where a server is, and what it calls the model."""

    base_url: str | None
    model: str


@contextlib.contextmanager
def serving(
    command: str | None, base_url: str | None, *, model: str, revision: str | None, folder: Path
) -> Iterator[Server]:
    """Give the server at ``base_url`` or, if there is a ``command``, the one that this starts.

    Args:
        command: With ``{model}`` for the model's folder, ``{port}`` for a port that is free and
            ``{name}`` for the name that the model is to have; without the last, the model is called
            by its folder.
        base_url: Of a server that is there.
        model: Folder, or hub id, of which the files are fetched for a command.
        revision: Commit on the hub; None for a folder.
        folder: Receives ``server.log``.

    Raises:
        UserError: it cannot be started, or ends before it is ready, with its last words. Errors of
            the work with a server that is there say how to start one for this model.
        ConnectionError: as it comes from the work, with the same addition.
    """
    name = model if revision else Path(model).name
    if command is not None:
        files = _files(model, revision)
        words = {"{model}": files, "{name}": name, "{port}": str(_free_port())}
        arguments = [os.path.expanduser(word) for word in shlex.split(command)]
        for placeholder, word in words.items():
            arguments = [argument.replace(placeholder, word) for argument in arguments]
        with _running(arguments, int(words["{port}"]), folder / "server.log"):
            called = name if "{name}" in command else files
            yield Server(f"http://127.0.0.1:{words['{port}']}/v1", called)
        return
    try:
        yield Server(base_url, name)
    except (UserError, ConnectionError) as error:
        at = f" --revision {revision}" if revision else ""
        line = f"vllm serve {model}{at} --served-model-name {name} --generation-config vllm"
        raise type(error)(f"{error}. A server for this model: {line}") from error


@contextlib.contextmanager
def _running(arguments: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise UserError(f"evaluation.engine.command cannot be started: {error}") from error
    try:
        _wait_until_ready(process, port, log)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
        process.kill()
        process.wait()


def _files(model: str, revision: str | None) -> str:
    if revision is None:
        return model
    from huggingface_hub import snapshot_download

    return snapshot_download(model, revision=revision)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    began = time.monotonic()
    while not _is_ready(port):
        code = process.poll()
        if code is not None or time.monotonic() - began > SECONDS_TO_START:
            ended = "takes too long to start" if code is None else f"ended with exit code {code}"
            lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
            raise UserError(f"the model's server {ended}; its last words, in {log}: {last[:200]}")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _is_ready(port: int) -> bool:
    """Whether it is healthy, or knows no such question: it is asked at other paths then."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except HTTPError as error:
        return error.code == 404
    except (OSError, HTTPException):
        return False


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
