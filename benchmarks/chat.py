"""What the chat client costs: python benchmarks/chat.py

1,000 calls against a server that takes 200 ms for each, 32 in flight, compared with the ideal; a
replay of a recorded run of 1,400 calls; peak memory of 20,000 calls compared with 2,000.
"""

import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from mini_lima.chat import (
    CassetteEntry,
    ChatModel,
    Endpoint,
    Ledger,
    complete,
    completion_body,
    write_cassette,
)

MODEL = ChatModel("m", temperature=1.0, max_tokens=512)
PROMPT = "Write three sentences about the number {number}, and then some more. " * 8
ANSWER = "It is a number like any other, and yet there is much to say about it. " * 12
REPEATS = 3


def requests(count):
    return [MODEL.request([("user", PROMPT.format(number=number))]) for number in range(count)]


def calls(count, seconds, concurrency):
    """Seconds for ``count`` calls, those of the processor, and those that are ideal."""
    with server(seconds) as url, tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint("bench", url, concurrency=concurrency)
        asked, ledger = requests(count), Ledger()
        begun, used = time.perf_counter(), time.process_time()
        complete(asked, endpoint=endpoint, cache=Path(folder, "c"), label="bench", ledger=ledger)
        took, used = time.perf_counter() - begun, time.process_time() - used
    assert ledger.sent == count, ledger
    return took, used, math.ceil(count / concurrency) * seconds


def replay(count):
    """Seconds of a process that replays ``count`` calls, start and imports included."""
    with tempfile.TemporaryDirectory() as folder:
        cassette = Path(folder, "cassette.jsonl")
        body = completion_body(ANSWER, model="m")
        write_cassette(cassette, [CassetteEntry(each, body) for each in requests(count)])
        begun = time.perf_counter()
        subprocess.run([sys.executable, __file__, "replay", cassette, str(count)], check=True)
        return time.perf_counter() - begun


def memory(count):
    """Memory in MB of a process before its first call, and at its peak with ``count`` calls."""
    with server(0.0) as url:
        command = [sys.executable, __file__, "memory", url, str(count)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(figure) for figure in shown.split()]


def main():
    took, used, ideal = min(calls(1000, 0.2, 32) for _ in range(REPEATS))
    print(
        f"1,000 calls at 200 ms, 32 in flight: {took:.2f} s, {took / ideal:.2f} × the ideal; "
        f"{used:.2f} s of processor time, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    took = min(replay(1400) for _ in range(REPEATS))
    print(f"replay of a cassette of 1,400 calls: {took:.2f} s, imports included")
    few, many = memory(2_000), memory(20_000)
    per_call = (many[1] - few[1]) / 18_000 * 1e6
    text = len(PROMPT) + len(ANSWER)
    print(
        f"peak memory: {few[1]:.0f} MB at 2,000 calls, {many[1]:.0f} MB at 20,000 "
        f"({many[1] / few[1]:.2f} ×); {per_call:.0f} bytes a call, of which the texts of request "
        f"and reply, which the caller keeps, are {text}"
    )


def replay_here(cassette, count):
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint("bench", cassette=Path(cassette))
        complete(requests(int(count)), endpoint=endpoint, cache=Path(folder, "c"), label="bench")


def memory_here(url, count):
    with tempfile.TemporaryDirectory() as folder:
        endpoint = Endpoint("bench", url, concurrency=32)
        options = {"endpoint": endpoint, "cache": Path(folder, "c"), "label": "bench"}
        complete(requests(1), **options)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        replies = complete(requests(int(count)), **options)
        assert len(replies) == int(count)
        print(before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def server(seconds):
    """The address of a server, in a process of its own, that takes ``seconds`` for each call."""
    command = [sys.executable, __file__, "serve", str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.terminate()


async def serve(seconds):
    body = completion_body(ANSWER, model="m") | {
        "usage": {"prompt_tokens": 150, "completion_tokens": 200}
    }
    content = json.dumps(body).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    response = head.format(len(content)).encode() + content

    async def converse(reader, writer):
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = asked.split("content-length:")[1].split("\r\n")[0]
                await reader.readexactly(int(length))
                await asyncio.sleep(seconds)
                writer.write(response)
        except asyncio.IncompleteReadError:
            writer.close()

    listening = await asyncio.start_server(converse, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["serve", seconds]:
            asyncio.run(serve(float(seconds)))
        case ["replay", cassette, count]:
            replay_here(cassette, count)
        case ["memory", url, count]:
            memory_here(url, count)
