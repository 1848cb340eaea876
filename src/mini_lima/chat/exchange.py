"""Answers that travel: out of a cache into a cassette, out of a cassette into a cache."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mini_lima.chat.cache import ResponseCache
from mini_lima.chat.cassette import read_entries, write_cassette
from mini_lima.chat.endpoint import Endpoint
from mini_lima.chat.requests import ChatRequest
from mini_lima.errors import UserError


@dataclass
class Imported:
    """What an import brought.

    Attributes:
        new: Answers that the cache did not hold.
        known: Answers that it held already, which stay.
        failed: Why a request was not answered, by request key.
        missing: Keys of requests that nothing was said about.
    """

    new: int = 0
    known: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def count(self, *, is_new: bool) -> None:
        """Count one answer."""
        self.new += is_new
        self.known += not is_new


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
            if not kept.has(request) and not kept.batches.holds(request)
        ]


def export_cassette(cache: Path, keys: Iterable[str], *, endpoint: Endpoint, path: Path) -> int:
    """Write the answers to the requests ``keys`` to the cassette ``path``.

    Equal answers make equal files, byte for byte, whatever the order of ``keys``.

    Args:
        cache: File of the response cache.
        keys: Request keys, as replies and the lineage of examples carry them; each counts once.
        endpoint: Whose answers.
        path: The file to write; its folder exists.

    Returns:
        How many answers it holds.

    Raises:
        UserError: some of them are not in the cache; nothing is written then.
    """
    wanted = sorted(set(keys))
    with ResponseCache(cache, endpoint.identity) as kept:
        entries = [kept.entry(key) for key in wanted]
    if missing := [key for key, entry in zip(wanted, entries, strict=True) if entry is None]:
        raise UserError(
            f"{len(missing)} of {len(wanted)} requests have no answer of endpoint "
            f"{endpoint.name!r} in {cache}, the first of them {missing[0]}: nothing was exported"
        )
    write_cassette(path, (entry for entry in entries if entry is not None))
    return len(wanted)


def import_cassette(path: Path, *, endpoint: Endpoint, cache: Path) -> Imported:
    """Put the answers on the cassette ``path`` into ``cache`` as answers of ``endpoint``.

    Raises:
        UserError: See `read_entries`.
    """
    entries = read_entries(path)
    done = Imported()
    with ResponseCache(cache, endpoint.identity) as kept:
        for entry in entries:
            done.count(is_new=kept.put_entry(entry))
    return done
