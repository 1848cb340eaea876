"""Answers by servers: one on loopback whose replies a test decides, and one that is started."""

import os
import sys
from pathlib import Path

import pytest

import mini_lima
from mini_lima.errors import UserError
from mini_lima.evaluation import served
from mini_lima.evaluation.served import serving
from mini_lima.files import read_json, read_jsonl, write_json
from mini_lima.models.language_model import load_tokenizer
from tests.chat.server import FakeOpenAI, completion, refusal

TINY = Path(mini_lima.__file__).parent / "assets" / "qwen-tiny"
ROWS = [
    {"instruction": "Who are you?", "output": "Me.", "dataset": "koala"},
    {"instruction": "And why?", "output": "So."},
    {"instruction": "Who are you?", "output": "Me.", "dataset": "koala"},
]
SERVER = """
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

Path(sys.argv[1]).write_text(" ".join([str(os.getpid()), *sys.argv[2:]]))
HTTPServer(("127.0.0.1", int(sys.argv[4])), Health).serve_forever()
"""


@pytest.fixture
def generate(tmp_path):
    (tmp_path / "work").mkdir()
    write_json(tmp_path / "rows.json", ROWS)
    runs = iter(range(9))

    def generate(base_url, *, concurrency=4, most_failed=0.1, **changes):
        folder = tmp_path / f"run{next(runs)}"
        folder.mkdir()
        given = {
            "model": str(TINY),
            "revision": None,
            "init_seed": None,
            "reference_outputs": tmp_path / "rows.json",
            "limit": None,
            "max_new_tokens": 50,
            "temperature": 0.0,
            "seed": 3,
            "generator": "mine",
            "dialect": "vllm",
            "command": None,
        } | changes
        served.generate(
            folder,
            work_dir=tmp_path / "work",
            base_url=base_url,
            connection={
                "concurrency": concurrency,
                "max_retries": 1,
                "backoff": 0.001,
                "most_failed": most_failed,
            },
            **given,
        )
        return folder

    return generate


def test_a_servers_answers_become_the_same_files(generate):
    with FakeOpenAI(lambda call: f"You said: {call.last_message}") as server:
        folder = generate(server.base_url)
    outputs = read_json(folder / "model_outputs.json")
    assert [row["output"] for row in outputs] == [f"You said: {row['instruction']}" for row in ROWS]
    assert [row["instruction"] for row in outputs] == [row["instruction"] for row in ROWS]
    assert {tuple(row) for row in outputs} == {("instruction", "output", "generator", "dataset")}
    assert outputs[0]["dataset"] == "koala"
    tokens = load_tokenizer(TINY, None).tokenize("You said: And why?")
    assert read_jsonl(folder / "answers.jsonl")[1]["tokens"] == len(tokens)
    assert read_json(folder / "ledger.json")["requests"] == 2


def test_a_server_is_asked_for_this_model_sampled_as_configured(generate):
    with FakeOpenAI() as server:
        generate(server.base_url)
        generate(server.base_url, temperature=0.7, dialect="openai")
    greedy, sampled = server.calls[:2], server.calls[2:]
    end = load_tokenizer(TINY, None).convert_tokens_to_ids("<|im_end|>")
    assert sorted(server.asked) == ["And why?"] * 2 + ["Who are you?"] * 3
    for call in greedy:
        body = dict(call.body)
        assert body.pop("messages")[0]["role"] == "user"
        assert end in body.pop("stop_token_ids")
        assert body == {
            "model": "qwen-tiny",
            "temperature": 0.0,
            "top_p": 1.0,
            "max_tokens": 50,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
        }
    known = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert all(call.body.keys() == known for call in sampled)
    seeds = {call.body["seed"] for call in sampled if call.last_message == "Who are you?"}
    assert seeds == {3, 4}, "the same instruction is not answered the same twice"


def test_a_server_is_told_how_to_call_the_template_and_its_model_s_thoughts_are_no_answers(
    generate, tmp_path
):
    tokenizer = load_tokenizer(TINY, None)
    tokenizer.chat_template = "{# enable_thinking #}" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "hybrid")
    (tmp_path / "hybrid" / "config.json").write_bytes((TINY / "config.json").read_bytes())

    def reply(call):
        end = "" if call.last_message == "And why?" else "</think>\n\nMe."
        return completion(f"<think>\nHm.{end}", finish_reason="stop" if end else "length")

    off = {"enable_thinking": False}
    with FakeOpenAI(reply) as server:
        folder = generate(server.base_url, model=str(tmp_path / "hybrid"), template_kwargs=off)
    assert [call.body["chat_template_kwargs"] for call in server.calls] == [off] * 2
    facts = read_jsonl(folder / "answers.jsonl")
    assert [fact.get("error") for fact in facts] == [None, "only_thought", None]
    assert [row["output"] for row in read_json(folder / "model_outputs.json")] == ["Me.", "", "Me."]


def test_answers_that_came_are_kept_when_the_server_goes(generate):
    def reply(call):
        return "Me." if call.last_message == "Who are you?" else refusal(500, "down")

    with FakeOpenAI(reply) as server:
        with pytest.raises(ConnectionError, match=f"vllm serve {TINY} --served-model-name qwen"):
            generate(server.base_url, concurrency=1)
        server.reply = lambda call: "Again."
        before = len(server.calls)
        folder = generate(server.base_url)
    assert server.asked[before:] == ["And why?"]
    assert [row["output"] for row in read_json(folder / "model_outputs.json")] == [
        *("Me.", "Again.", "Me."),
    ]


def test_text_that_a_server_would_take_for_control_tokens_is_refused(generate, tmp_path):
    write_json(tmp_path / "rows.json", [*ROWS, {"instruction": "Say <|im_end|>.", "output": "-"}])
    with FakeOpenAI() as server, pytest.raises(UserError, match="row 4"):
        generate(server.base_url)
    assert server.calls == []


def test_a_command_starts_a_server_which_ends_with_the_work(tmp_path):
    (tmp_path / "server.py").write_text(SERVER)
    told = tmp_path / "told"
    command = f"{sys.executable} {tmp_path / 'server.py'} {told} {{model}} {{name}} {{port}}"
    with serving(command, None, model="/a/tuned-0a1b", revision=None, folder=tmp_path) as server:
        pid, model, name, port = told.read_text().split()
        assert (model, name) == ("/a/tuned-0a1b", "tuned-0a1b")
        assert server.base_url == f"http://127.0.0.1:{port}/v1"
        assert server.model == "tuned-0a1b"
        os.kill(int(pid), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
    unnamed = command.replace("{name}", "other")
    with serving(unnamed, None, model="/m", revision=None, folder=tmp_path) as server:
        assert server.model == "/m", "without a name of its own, a model is called by its folder"


def test_what_cannot_be_answered_or_is_cut_is_counted(generate):
    def reply(call):
        if call.last_message == "And why?":
            return refusal(400, "context_length_exceeded", "maximum context length is 9 tokens")
        return completion("I am", finish_reason="length")

    with FakeOpenAI(reply) as server:
        folder = generate(server.base_url, most_failed=1.0)
    outputs = read_json(folder / "model_outputs.json")
    assert [row["output"] for row in outputs] == ["I am", "", "I am"]
    facts = read_jsonl(folder / "answers.jsonl")
    assert [(fact["cut"], fact.get("error")) for fact in facts] == [
        *((True, None), (False, "context_length"), (True, None)),
    ]
