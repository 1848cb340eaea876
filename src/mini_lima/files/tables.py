"""Rows of a person's file, whatever its format: JSON, JSON Lines, CSV or Parquet.

A row that cannot be read stands in its place as a `Malformed`; what makes the file as a whole
unreadable is a UserError. What nothing reads of a row is named (`name_unused`).
"""

import csv
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError, listed
from mini_lima.files import (
    MOST_BYTES,
    MOST_NESTED,
    check_is_text,
    is_nested_within,
    read_given_text,
    without_repeats,
)

log = logging.getLogger(__name__)

HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
"""What an escape such as ``\\ud83d`` that stands alone becomes; no file in UTF-8 can hold it."""
PARQUET_BATCH = 100
"""Rows of a Parquet file that are read at a time."""


@dataclass(frozen=True)
class Malformed:
    """What is wrong with a row that is none, and its text."""

    reason: str
    detail: str
    text: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a file.

    Attributes:
        number: The first is 1; in JSON Lines it is the number of the line.
        value: What is there: an object by column, or anything else that JSON can hold.
        line: On which it begins, where the format has lines.
    """

    number: int
    value: Any
    line: int | None = None

    @property
    def place(self) -> str:
        """Where it is in its file."""
        return f"row {self.number}" if self.line is None else f"line {self.line}"


def read_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of ``file``, one after the other.

    Raises:
        UserError: it is of none of the formats, or damaged.
    """
    suffix = file.suffix.lower()
    if file.is_dir() or suffix not in FORMATS:
        kind = "a folder" if file.is_dir() else f"a file {suffix or 'without a suffix'}"
        raise UserError(
            f"{file}: a data set is read from a file {', '.join(FORMATS)}; this is {kind}"
        )
    if suffix != ".parquet":
        check_is_text(file)
    try:
        yield from FORMATS[suffix](file)
    except UnicodeDecodeError:
        raise UserError(f"{file}: it is not a text in UTF-8") from None
    except OSError as error:
        raise UserError(f"{file}: it cannot be read: {error.strerror or error}") from None


def read_any_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of ``file``, which is JSON or JSON Lines if its name does not say what it is.

    Raises:
        UserError: as `read_rows`.
    """
    yield from (read_rows if file.suffix.lower() in FORMATS else read_json_rows)(file)


def read_json_rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a JSON file, or of JSON Lines, whatever its name.

    Raises:
        UserError: it is neither.
    """
    text = read_given_text(file)
    if not text.strip():
        raise UserError(f"{file}: it is empty")
    document = _parsed(text)
    if isinstance(document, Malformed):
        # JSON Lines under the name of JSON is usual on the hub.
        first, _, more = text.lstrip().partition("\n")
        if more.strip() and isinstance(_parsed(first), dict):
            yield from _rows_of_lines(text.split("\n"))
            return
        raise UserError(f"{file}: it is {document.detail}")
    rows = document
    if isinstance(document, dict):
        rows = document["data"] if isinstance(document.get("data"), list) else [document]
    if not isinstance(rows, list):
        raise UserError(f'{file}: a list of rows was expected, or {{"data": [...]}}')
    for number, value in enumerate(rows, start=1):
        yield Row(number, value)


def _lines(file: Path) -> Iterator[Row]:
    # newline: U+2028 and its like are ordinary characters inside a JSON string.
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        is_one_list = lines.read(1024).lstrip().startswith("[")
        lines.seek(0)
        yield from read_json_rows(file) if is_one_list else _rows_of_lines(lines)


def _rows_of_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield Row(number, _parsed(line), number)


def _parsed(text: str) -> Any:
    try:
        document = json.loads(text, object_pairs_hook=without_repeats)
        if not is_nested_within(document, MOST_NESTED):
            raise RecursionError
    except RecursionError:
        return Malformed("nested too deeply", f"nested deeper than {MOST_NESTED} levels", text)
    except ValueError as error:
        return Malformed("not JSON", f"not JSON: {error}", text)
    return document


def _csv(file: Path, delimiter: str = ",") -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        cells = csv.reader(opened, delimiter=delimiter, strict=True)
        try:
            header = next(cells, [])
            if twice := sorted({name for name in header if header.count(name) > 1}):
                raise UserError(f"{file}: line 1: two columns are called {twice[0]!r}")
            number, end = 0, cells.line_num
            for found in cells:
                start, end = end + 1, cells.line_num
                if not found:
                    continue
                number += 1
                value: Any = dict(zip(header, found, strict=False))
                if len(found) != len(header):
                    told = f"{len(found)} cells, where the header has {len(header)}"
                    value = Malformed("not as many cells as columns", told, json.dumps(found))
                yield Row(number, value, start)
        except csv.Error as error:
            raise UserError(f"{file}: line {cells.line_num}: it is not CSV: {error}") from None


def _tsv(file: Path) -> Iterator[Row]:
    return _csv(file, "\t")


def _parquet(file: Path) -> Iterator[Row]:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = size = 0
    try:
        with ParquetFile(file) as opened:
            for batch in opened.iter_batches(PARQUET_BATCH):
                size += sum(_unpacked(column).nbytes for column in batch.columns)
                if size > MOST_BYTES:  # a few hundred bytes can be that
                    raise UserError(f"{file}: unpacks to more than {MOST_BYTES / 1e9:g} GB")
                for value in batch.to_pylist():
                    number += 1
                    yield Row(number, value)
    except ArrowException as error:
        told = str(error).partition("\n")[0]
        raise UserError(f"{file}: it is not a whole Parquet file: {told}") from None


def _unpacked(column: Any) -> Any:
    """Return a column of Arrow's with every text in it as often as it stands there."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".json": read_json_rows,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
"""Readers by the suffix of the file's name."""


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it; of bytes, how many there are."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case str():
            return plain_text(value)
        case Mapping():
            return {plain_text(str(key)): plain(each) for key, each in value.items()}
        case bytes():
            return f"{len(value)} bytes"
        case Iterable():
            return [plain(each) for each in value]
    return str(value)  # a date, a decimal number


def plain_text(text: str) -> str:
    """Return ``text`` as a file in UTF-8 can hold it."""
    return HALF_A_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def name_unused(
    file: Path,
    rows: Iterable[Mapping[str, Any]],
    used: Collection[str] = (),
    *,
    what: str = "fields that nothing reads",
) -> None:
    """Log once which fields of the ``rows`` of ``file`` are not used, and how many rows have them.

    Args:
        file: For what is said.
        rows: As they stand in it; a field without a value is none.
        used: The fields that are.
        what: What the others are.
    """
    counts = Counter(
        plain_text(str(key))
        for row in rows
        for key in row
        if key not in used and not empty(row[key])
    )
    if counts:
        told = ", ".join(listed([f"{name} ({count})" for name, count in counts.most_common()]))
        _log_once(f"{file}: {what}, with the number of rows: {told}")


@cache
def _log_once(line: str) -> None:
    log.info("%s", line)


def empty(value: Any) -> bool:
    """Whether ``value`` says nothing."""
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)
