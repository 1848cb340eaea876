"""A model's answers to the evaluation instructions, written by an OpenAI-compatible server.

Such as `vllm serve`, which needs other versions of torch and transformers than training does and so
lives in an environment of its own. Answers are kept in the work folder, with which they go, and
never stand in for those of another model.

The server is one that is there, or one that is started by a command of the person's own for as long
as needed: it ends with the work, also when that is killed, so that nothing goes on holding a GPU. It
is asked for the model by a name that says which one it is: for a tuned model that of its folder,
which carries the fingerprint of its making. One that still has an earlier model refuses.

The server renders the prompts, by the chat template in the model's folder. Whatever else could
differ from what transformers would write here is said with each request, where the server's dialect
has words for it: which tokens end an answer, and that no setting that comes with the model counts.
"""

import contextlib
import ctypes
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import torch

from mini_lima.chat import ChatModel, Endpoint, Ledger, complete, write_ledger
from mini_lima.errors import UserError, listed
from mini_lima.evaluation.outputs import Output, Question, read_questions, write_outputs
from mini_lima.models.language_model import context_length, load_model, load_tokenizer, own_stops
from mini_lima.models.rendering import ChatTemplate
from mini_lima.workers import launch
from mini_lima.workers.worker import PR_SET_PDEATHSIG

SECONDS_TO_START = 1800.0
"""A first start may compile for minutes."""
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 30.0


def generate(
    output_dir: Path,
    *,
    work_dir: Path,
    model: str,
    revision: str | None,
    init_seed: int | None,
    reference_outputs: Path,
    limit: int | None,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    generator: str,
    dialect: str,
    command: str | None,
    base_url: str | None,
    connection: dict[str, Any],
    template_kwargs: dict[str, Any] | None = None,
) -> None:
    """Write the files of `write_outputs`, and ``ledger.json``: what asking took.

    Args:
        output_dir: Receives the files.
        work_dir: Keeps answers between attempts, and the log of a server that is started here.
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights, which are written for the server; None: it has its own.
        reference_outputs: File with the instructions.
        limit: Only the first so many instructions.
        max_new_tokens: Length limit of an answer.
        temperature: 0 is greedy.
        seed: Sent along where the temperature is above 0, plus how often an instruction occurred
            before.
        generator: Name of the model in the outputs.
        dialect: ``vllm`` (SGLang understands it, too), or ``openai``: nothing but OpenAI's own.
        command: Starts a server for the model, see `serving`; None if there is one.
        base_url: Of the server that is there.
        connection: Other fields of `Endpoint`.
        template_kwargs: What the template in the model's folder is called with.

    Raises:
        UserError: the instructions do not fit, or the server refuses; says how to start one.
        ConnectionError: some answers are missing; the others are kept.
    """
    tokenizer = load_tokenizer(model, revision, None, template_kwargs)
    if init_seed is not None:
        folder = work_dir / f"{Path(model).name}-seed{init_seed}"
        load_model(model, revision, init_seed, torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model, revision = str(folder), None
    chat = ChatTemplate(tokenizer)
    questions = read_questions(
        reference_outputs,
        limit=limit,
        template=chat,
        context=context_length(model, revision),
        max_new_tokens=max_new_tokens,
    )
    _check_text(questions, chat, reference_outputs)
    stops = chat.stops(own_stops(model, revision))
    ledger = Ledger()
    with serving(command, base_url, model=model, revision=revision, folder=work_dir) as server:
        requests = [
            ChatModel(
                server.model,
                temperature=temperature,
                top_p=1.0,
                max_tokens=question.room,
                seed=seed if temperature else None,
                extra_body=_extra(dialect, stops, template_kwargs),
            ).request(
                [("user", question.row.instruction)],
                sample=question.repeat if temperature else 0,
            )
            for question in questions
        ]
        replies = complete(
            requests,
            endpoint=Endpoint(name=generator, base_url=server.base_url, **connection),
            cache=work_dir / "responses.sqlite",
            label=f"answers of {generator}",
            ledger=ledger,
        )
    outputs = [
        Output(
            text=reply.text,
            # Not as the servers count: some count the token that ends an answer, some nothing.
            tokens=len(tokenizer(reply.text, add_special_tokens=False)["input_ids"]),
            cut=reply.finish_reason == "length",
            error=reply.error,
            detail=reply.detail,
        )
        for reply in replies
    ]
    write_outputs(output_dir, questions, outputs, generator=generator)
    write_ledger(output_dir / "ledger.json", ledger)


def _extra(
    dialect: str, stops: Sequence[int], template_kwargs: dict[str, Any] | None
) -> dict[str, Any]:
    if dialect == "openai":
        return {}
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    how = {"chat_template_kwargs": template_kwargs} if template_kwargs else {}
    return {"stop_token_ids": list(stops), **neutral, **how}


def _check_text(questions: Sequence[Question], chat: ChatTemplate, file: Path) -> None:
    rows = [
        row
        for row, question in enumerate(questions, start=1)
        if chat.spells_control_tokens(question.row.instruction)
    ]
    if rows:
        raise UserError(
            f"{file}: row {', '.join(listed(rows))} spells control tokens, which a server takes"
            " for such: take that out of the set, or choose evaluation/engine=transformers"
        )


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
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except HTTPError as error:
        return error.code == 404
    except (OSError, HTTPException):
        return False


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    launch.work(generate)
