"""Recordings: answers that travel, out of a response cache into a file and into another cache.

A stage that asks a model leaves the keys of its requests in ``requests.json``. The answers to them
are in the response cache; exported, they are a cassette: one portable file that goes with the
paper. Imported into the cache of another store, it answers the same configuration there, without
network and under the same fingerprints.

A line of a cassette joins what OpenAI's batch interface calls an input line (``custom_id``,
``method``, ``url``, ``body``) with its output line (``response``, ``error``), so that either half
can be cut out and given to any engine that speaks it. ``custom_id`` is the request's key and
``sha256`` that of the answer: a line proves by itself what was asked and answered. Lines are sorted by key and written in one
canonical form, so equal recordings are equal files.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.replies import CassetteEntry, parse, read_reply
from mini_lima.chat.requests import METHOD, URL, ChatRequest, canonical_json
from mini_lima.errors import UserError
from mini_lima.files import read_bytes, typed, write_text
from mini_lima.files.tables import name_unused

FIELDS = (
    *("id", "custom_id", "method", "url", "body", "sample", "response", "error", "sha256"),
    "endpoint",
)
"""What a line may have; ``id`` is OpenAI's own."""
REQUESTS = "requests.json"
"""In a stage's folder: whom it asked, and the keys of what was answered."""


def write_cassette(path: Path, entries: Iterable[CassetteEntry]) -> None:
    """Write ``entries`` to ``path``, sorted by key; equal entries count once.

    Raises:
        ValueError: two entries answer one request differently.
    """
    lines: dict[str, str] = {}
    for entry in entries:
        line = canonical_json(
            {
                "custom_id": entry.request.key,
                "method": METHOD,
                "url": URL,
                "body": entry.request.body,
                "sample": entry.request.sample,
                "response": {"status_code": 200, "request_id": None, "body": entry.response},
                "error": None,
                "sha256": sha256_of(entry.response),
            }
            | ({} if entry.endpoint is None else {"endpoint": entry.endpoint})
        )
        if lines.setdefault(entry.request.key, line) != line:
            raise ValueError(f"two different answers to request {entry.request.key}")
    write_text(path, "".join(lines[key] + "\n" for key in sorted(lines)))


def read_cassette(path: Path) -> dict[str, dict[str, Any]]:
    """The response bodies on the cassette at ``path`` by request key; errors as `read_entries`."""
    return {entry.request.key: entry.response for entry in read_entries(path)}


def read_entries(path: Path) -> list[CassetteEntry]:
    """All entries of the cassette at ``path``, each checked against its key.

    Raises:
        UserError: with file and line, for what is no entry, belongs to another request than its key
            says, or occurs twice.
    """
    try:
        lines = read_bytes(path).split(b"\n")
    except OSError as error:
        raise UserError(f"the cassette {path} cannot be read: {error}") from error
    entries: list[CassetteEntry] = []
    others: list[dict[str, Any]] = []
    first_seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = parse(line.decode())
            entry = _entry(row)
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        others.append({name: value for name, value in row.items() if name not in FIELDS})
        key = entry.request.key
        if key in first_seen:
            raise UserError(
                f"{path}:{number}: request {key} was already answered in line {first_seen[key]}; "
                "remove one of the two"
            )
        first_seen[key] = number
        entries.append(entry)
    name_unused(path, others)
    return entries


def sha256_of(response: Any) -> str:
    """Return the checksum of the body of an answer."""
    return hashlib.sha256(canonical_json(response).encode()).hexdigest()


def _entry(row: Any) -> CassetteEntry:
    """Read one line; ValueError says which field is wrong, and how."""
    match row:
        case {"custom_id": str(key), "body": {"model": str(), "messages": list()} as body}:
            sample, endpoint = row.get("sample", 0), row.get("endpoint")
        case _:
            raise ValueError("no custom_id and body of a chat request: not a line of a cassette")
    if type(sample) is not int or not isinstance(endpoint, str | None):
        raise ValueError("sample must be a whole number and endpoint a text")
    request = ChatRequest(body, sample)
    if request.key != key:
        raise ValueError(
            f"custom_id {key!r} is not the key of this body and sample, which is "
            f"{request.key}: the request was changed after it was recorded"
        )
    match row:
        case {"response": {"status_code": 200, "body": response}} if row.get("error") is None:
            pass
        case _:
            raise ValueError("response: a failed call: a cassette holds answers only")
    if "sha256" in row and row["sha256"] != sha256_of(response):
        raise ValueError(
            "the answer was changed after it was recorded: record it again, or, if that is what"
            " you want, take sha256 out of the line"
        )
    try:
        read_reply(key, response, cached=True)
    except ValueError as error:
        raise ValueError(f"response.body is no chat completion: {error}") from error
    return CassetteEntry(request, response, endpoint)


def unanswered(
    requests: Iterable[ChatRequest], *, endpoint: Endpoint, cache: Path
) -> list[ChatRequest]:
    """Those of ``requests`` that `complete` would have to send, each once; makes no file.

    None of them if they are recorded: a cassette is asked without sending anything. Nor what stands
    in an open batch: it was sent already.
    """
    distinct = list({request.key: request for request in requests}.values())
    if endpoint.cassette is not None:
        return []
    if not cache.exists():
        return distinct
    with ResponseCache(cache, endpoint.identity) as kept:
        return [
            request
            for request in distinct
            if not kept.has(request) and not kept.batches.is_open(request)
        ]


def export_cassette(folders: Iterable[Path], cache: Path, cassette: Path) -> int:
    """Write the answers that ``folders`` were made with to the file ``cassette``.

    Args:
        folders: Finished stages, cells, or sweeps.
        cache: The response cache of their store.
        cassette: The file to write.

    Returns:
        How many answers it holds.

    Raises:
        UserError: a folder in which no model was asked, or an answer that is not in the cache.
    """
    if not cache.is_file():
        raise UserError(f"{cache}: no such response cache; name it with --cache")
    keys: dict[str, set[str]] = {}
    for folder in folders:
        if not folder.exists():
            raise UserError(f"{folder}: no such folder")
        found = list(_request_files(folder))
        if not found:
            raise UserError(f"{folder}: no model was asked for this, or it is not finished")
        for file in found:
            asked = typed(file, _Asked)
            keys.setdefault(asked.endpoint, set()).update(asked.keys)
    entries = [entry for each in sorted(keys) for entry in _entries(cache, each, keys[each])]
    try:
        cassette.parent.mkdir(parents=True, exist_ok=True)
        write_cassette(cassette, entries)
    except OSError as error:
        raise UserError(f"{cassette} cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{error}: export the stages of each endpoint on their own") from error
    return len(entries)


def import_cassette(cassette: Path, cache: Path, endpoint: str | None = None) -> Counter[str]:
    """Put the answers on ``cassette`` into ``cache``; those that are there already stay.

    Args:
        cassette: The file to read.
        cache: A response cache, made if it is not there.
        endpoint: Name of the endpoint whose answers they are to be, for lines that do not say it.

    Returns:
        Counts of ``new`` and ``known`` answers.

    Raises:
        UserError: lines that are no answers, or do not say whose.
    """
    entries = read_entries(cassette)
    if endpoint is not None and not endpoint.isprintable():
        raise UserError(f"--endpoint {endpoint!r}: is no name")
    if endpoint is None and any(entry.endpoint is None for entry in entries):
        raise UserError(f"{cassette}: does not say who answered: name it with --endpoint")
    by_endpoint: dict[str, list[CassetteEntry]] = {}
    for entry in entries:
        by_endpoint.setdefault(entry.endpoint or str(endpoint), []).append(entry)
    counts = Counter(new=0, known=0)
    for name, answers in by_endpoint.items():
        with ResponseCache(cache, name) as kept:
            for entry in answers:
                is_new = kept.put(entry.request, entry.response)
                counts["new" if is_new else "known"] += 1
    return counts


@dataclass(frozen=True)
class _Asked:
    """What a stage says of whom it asked: ``requests.json``."""

    endpoint: str
    keys: list[str]


@dataclass(frozen=True)
class _Used:
    """The folders of the stages of a cell, by their names."""

    stages: dict[str, str] = field(default_factory=dict)


def _request_files(folder: Path) -> Iterator[Path]:
    """The files with request keys of the stages that ``folder`` is, used, or holds cells of."""
    for cell in (*folder.glob("cell.json"), *folder.glob("*/cell.json")):
        for stage in typed(cell, _Used).stages.values():
            yield from Path(stage).glob(REQUESTS)
    yield from folder.glob(REQUESTS)


def _entries(cache: Path, endpoint: str, keys: Iterable[str]) -> Iterator[CassetteEntry]:
    with ResponseCache(cache, endpoint) as kept:
        for key in sorted(keys):
            entry = kept.entry(key)
            if entry is None:
                raise UserError(
                    f"{cache} has no answer of {endpoint!r} to request {key}: nothing was exported"
                )
            yield entry
