"""Data sets made live: from endpoints that fail, by processes that die, from a real server."""

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mini_lima.chat import LEDGER, ChatModel, Endpoint, ResponseCache, read_ledger
from mini_lima.models.language_model import load_model, load_tokenizer
from tests.chat.batches import FakeBatches
from tests.chat.server import Answer, Call, FakeOpenAI, refusal, storm
from tests.data.conftest import DataSet, Study
from tests.data.teachers import Teacher, seed_rows
from tests.processes import preloaded

KEY = "X-Client-Request-Id".lower()
SECRET = "sk-secret-0123456789abcdef"
KILLS = 4
TINY = Path(__file__).parents[2] / "src/mini_lima/assets/qwen-tiny"
PROCESSES = preloaded("tests.data.test_live", "mini_lima.chat.live")


def patient(server: FakeOpenAI, **changes: object) -> Endpoint:
    return replace(Endpoint("fake", server.base_url, concurrency=4, backoff=0.001), **changes)


def both(study: Study, endpoint: Endpoint, **params: object) -> list[DataSet]:
    naive = study.naive(endpoint, **params)
    return [naive, study.improved(naive, endpoint, **params)]


def contents(made: list[DataSet]) -> list[dict[str, bytes]]:
    return [each.files for each in made]


@pytest.fixture
def flawless(study: Study) -> list[dict[str, bytes]]:
    """The files of both data sets, made without any trouble."""
    with FakeOpenAI(Teacher()) as server:
        return contents(both(study, patient(server), cache="flawless"))


def test_faults_that_pass_leave_no_trace_in_the_data(study, flawless):
    with FakeOpenAI(storm(Teacher(), 0)) as server:
        made = both(study, patient(server))
    assert contents(made) == flawless
    book = read_ledger(made[0].folder / LEDGER)
    assert book.sent > book.requests
    assert set(book.retries) >= {"rate_limit", "server_error", "connection_lost", "no_completion"}


def test_batches_leave_no_trace_in_the_data(study, flawless):
    with FakeOpenAI(Teacher()) as server:
        batches = FakeBatches(server)
        made = both(study, patient(server, mode="batch", batch_poll=0.01))
    assert contents(made) == flawless
    assert server.calls == []
    assert len(batches.batches) == 4, "prompts 1, 2, 3 and 4, each with what the last one brought"


def test_what_cannot_be_had_is_counted_by_its_reason_and_the_rest_is_made(study, flawless):
    def reply(call: Call) -> str | Answer | None:
        if "task_1" in call.last_message and "New: " not in call.last_message:
            return refusal(400, "content_filter", "flagged")
        return Teacher()(call)

    with FakeOpenAI(reply) as server:
        some = {"most_failed": 0.5}
        made = study.naive(patient(server, **some), pairs_per_prompt=1)
        slowly = patient(server, concurrency=1, **some)
        again = study.naive(slowly, pairs_per_prompt=1, cache="again")
    assert made.files == again.files
    assert made.reasons["prompt 2: no reply: content_filter"] == 1
    assert {example.task for example in made.examples} >= {"seed_task_0", "seed_task_2"}
    assert read_ledger(made.folder / LEDGER).failed["content_filter"] > 0


def build(root: Path, base_url: str, seeds: int) -> None:
    """Make both data sets; run in a process of its own."""
    os.environ["TEACHER_KEY"] = SECRET
    study = Study(root)
    study.set_seeds(seed_rows(seeds))
    endpoint = Endpoint("fake", base_url, concurrency=4, api_key_env="TEACHER_KEY")
    both(study, endpoint)


@contextmanager
def building(root: Path, server: FakeOpenAI, seeds: int) -> Iterator[multiprocessing.Process]:
    root.mkdir(exist_ok=True)
    for folder in root.glob("data set *"):  # what a killed attempt left; a store does the same
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    process = PROCESSES.Process(target=build, args=(root, server.base_url, seeds))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_a_run_that_is_killed_pays_for_nothing_twice_and_ends_the_same(tmp_path):
    chance = random.Random(0)
    arrived = threading.Semaphore(0)

    def reply(call: Call) -> str | Answer | None:
        arrived.release()
        time.sleep(chance.random() * 0.01)  # answers take a while, each another one
        return Teacher()(call)

    kept: set[str] = set()
    killed, root = 0, tmp_path / "killed"
    with FakeOpenAI(reply) as server:
        while killed < KILLS:
            before = len(server.calls)
            with building(root, server, seeds=30) as process:
                for _ in range(chance.randint(1, 40)):
                    assert arrived.acquire()
                time.sleep(chance.random() * 0.02)
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            killed += 1
            assert process.exitcode == -signal.SIGKILL
            assert not kept & {call.headers[KEY] for call in server.calls[before:]}
            with closing(ResponseCache(root / "cache", "fake")) as cache:
                asked = {call.headers[KEY] for call in server.calls}
                kept = {key for key in asked if cache.entry(key)}
            while arrived.acquire(blocking=False):
                pass
        before = len(server.calls)
        with building(root, server, seeds=30) as process:
            process.join()
            assert process.exitcode == 0
        assert not kept & {call.headers[KEY] for call in server.calls[before:]}
        with building(tmp_path / "in one go", server, seeds=30) as process:
            process.join()
            assert process.exitcode == 0
    folders = [f"data set {number}" for number in (1, 2)]
    one, other = (
        [DataSet(at / each, at) for each in folders] for at in (root, tmp_path / "in one go")
    )
    assert contents(one) == contents(other)
    assert len(one[1].examples) > 100
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if SECRET.encode() in path.read_bytes()] == []


@pytest.fixture(scope="module")
def real_server(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """`transformers serve` with a small model of random weights; yields its address and name."""
    folder = tmp_path_factory.mktemp("model")
    load_model(str(TINY), None, 0, torch.float32).save_pretrained(folder)
    load_tokenizer(str(TINY), None).save_pretrained(folder)
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    program = [Path(sys.executable).with_name("transformers"), "serve", folder]
    with subprocess.Popen(
        [*program, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1", str(folder)
        process.kill()


def test_a_real_server_s_replies_are_all_booked_and_accounted_for(study, real_server):
    address, name = real_server
    endpoint = Endpoint("real", address, concurrency=2, max_retries=0)
    model = ChatModel(name, temperature=1.0, max_tokens=12, seed=1)
    made = study.naive(endpoint, teacher=model, max_rounds=1)
    book = read_ledger(made.folder / LEDGER)
    assert book.sent == book.value.replies == book.requests == len(made.exchanges())
    assert book.value.input_tokens > book.value.output_tokens > 0
    assert book.usage_missing == book.usage_zero == 0
    # A model of random weights says nothing that can be used; every word of it is kept.
    assert {example.source for example in made.examples} == {"seed"}
    rejected = {reject["request"] for reject in made.rejects}
    assert rejected == set(made.exchanges())
    again = study.naive(
        replace(endpoint, base_url="http://127.0.0.1:9/v1"), teacher=model, max_rounds=1
    )
    assert again.files == made.files
