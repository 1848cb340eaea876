"""What a run was answered, in one file that goes with the paper: taken out, and put in elsewhere.

A stage that asks a model leaves the keys of its requests in ``requests.json``. The answers to them
are in the response cache; exported, they are a cassette, each line with the endpoint that gave it.
Imported into the cache of another store, they answer the same configuration there, without network
and under the same fingerprints.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mini_lima.chat import REQUESTS, CassetteEntry, ResponseCache, read_entries, write_cassette
from mini_lima.errors import UserError
from mini_lima.files import read_json


def export(folders: Iterable[Path], cache: Path, cassette: Path) -> int:
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
        found = list(_requests(folder))
        if not found:
            raise UserError(f"{folder}: no model was asked for this, or it is not finished")
        for file in found:
            asked = read_json(file)
            keys.setdefault(asked["endpoint"], set()).update(asked["keys"])
    entries = [entry for each in sorted(keys) for entry in _entries(cache, each, keys[each])]
    try:
        cassette.parent.mkdir(parents=True, exist_ok=True)
        write_cassette(cassette, entries)
    except OSError as error:
        raise UserError(f"{cassette} cannot be written: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{error}: export the stages of each endpoint on their own") from error
    return len(entries)


def bring_in(cassette: Path, cache: Path, endpoint: str | None = None) -> Counter[str]:
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
    if endpoint is None and any(entry.endpoint is None for entry in entries):
        raise UserError(f"{cassette}: does not say who answered: name it with --endpoint")
    by_endpoint: dict[str, list[CassetteEntry]] = {}
    for entry in entries:
        by_endpoint.setdefault(entry.endpoint or str(endpoint), []).append(entry)
    counts = Counter(new=0, known=0)
    for name, answers in by_endpoint.items():
        with ResponseCache(cache, name) as kept:
            for entry in answers:
                counts["new" if kept.put_entry(entry) else "known"] += 1
    return counts


def _requests(folder: Path) -> Iterator[Path]:
    """The files with request keys of the stages that ``folder`` is, used, or holds cells of."""
    for cell in (*folder.glob("cell.json"), *folder.glob("*/cell.json")):
        for stage in read_json(cell).get("stages", {}).values():
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
