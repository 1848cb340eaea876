"""Files that nobody of us wrote: each reader says in a line what is wrong, and none falls over."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mini_lima.audit.folder import read_folder
from mini_lima.audit.single import audit
from mini_lima.chat import export_cassette, import_cassette
from mini_lima.data import from_file
from mini_lima.data.overlap import read_instructions
from mini_lima.data.seeds import read_seeds
from mini_lima.data.trace import newest_data_set, trace
from mini_lima.errors import UserError
from mini_lima.evaluation.pairs import read_rows

ROW = {"id": "a", "instruction": "i", "input": "", "output": "o", "preference": 1}
FIELDS = (*ROW, "output_1", "output_2", "generator", "instances", "endpoints", "keys", "stages")
ODD: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\xef\xbb\xbf \r\n\r\n",
    "UTF-16": json.dumps([ROW]).encode("utf-16"),
    "UTF-16 without a mark": json.dumps([ROW]).encode("utf-16-le"),
    "Latin-1": b'[{"instruction": "\xe9", "output": "o"}]',
    "packed": gzip.compress(b"[]"),
    "zip": b"PK\x03\x04",
    "Parquet": b"PAR1",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a page": b"<!DOCTYPE html>",
    "deep": b"[" * 100_000,
    "deep in a field": b'[{"instruction": "i", "output": "o", "x": ' + b"[" * 400 + b"]" * 400 + b"}]",
    "a long number": b'[{"instruction": "i", "output": "o", "preference": ' + b"1" * 5000 + b"}]",
    "half of a character": b'[{"instruction": "\\ud83d", "output": "\\ud83d", "preference": 1}]',
    "cut": b'[{"instruction": "i", "outp',
    **{f"document {each!r}": json.dumps(each).encode() for each in (None, "x", 3, {}, [], [[]])},
    **{
        f"fields of {each!r}": json.dumps([dict.fromkeys(FIELDS, each)]).encode()
        for each in (None, 3, True, "", [], ["x"], {"a": [1]}, float("nan"), float("inf"))
    },
}  # fmt: skip


def data_set(path: Path, name: str) -> Path:
    folder = path.with_name(f"{path.name} as {name}")
    folder.mkdir()
    (folder / "examples.jsonl").write_text('{"id": "a", "instruction": "i", "output": "o"}\n')
    (folder / name).write_bytes(path.read_bytes())
    return folder


def judged(path: Path, name: str) -> Path:
    folder = path.with_name(f"{path.name} as {name}")
    folder.mkdir()
    (folder / "annotations.json").write_text(json.dumps([ROW]))
    (folder / name).write_bytes(path.read_bytes())
    return folder


def store_of(path: Path) -> Path:
    folder = path.with_name(f"{path.name} store")
    (folder / "data" / "x").mkdir(parents=True)
    (folder / "data" / "x" / "examples.jsonl").write_bytes(path.read_bytes())
    return folder


READERS: dict[str, Callable[[Path], Any]] = {
    "seeds": read_seeds,
    "a data set": lambda path: from_file(file=path, unreadable="drop"),
    "an evaluation set": read_rows,
    "its instructions": read_instructions,
    "a recording": lambda path: import_cassette(path, path.with_name("new cache"), "x"),
    "a cache": lambda path: export_cassette([data_set(path, "x")], path, path.with_name("out")),
    "keys": lambda path: export_cassette([data_set(path, "requests.json")], path, path),
    "a cell": lambda path: export_cassette([data_set(path, "cell.json")], path, path),
    "examples": lambda path: trace(data_set(path, "examples.jsonl"), "b", path),
    "figures": lambda path: trace(data_set(path, "stats.json"), "a", path),
    "a store": lambda path: newest_data_set(store_of(path), "b"),
    "verdicts": lambda path: audit(read_folder(judged(path, "annotations.json")), samples=9),
    "outputs": lambda path: audit(read_folder(judged(path, "model_outputs.json")), samples=9),
    "a leaderboard": lambda path: audit(read_folder(judged(path, "leaderboard.csv")), samples=9),
}


@pytest.mark.parametrize("reader", READERS)
def test_whatever_a_file_holds_is_read_or_refused_in_a_few_lines(tmp_path, reader):
    for number, (name, content) in enumerate(ODD.items()):
        for suffix in (".json", ".jsonl"):
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(content)
            try:
                READERS[reader](path)
            except UserError as error:
                said = str(error)
                assert str(tmp_path) in said, name
                assert said.count("\n") <= 11, name
                assert said.isascii() or said.encode(), name
    for nothing in (tmp_path, tmp_path / "nothing.json"):
        if reader in ("seeds", "a data set", "an evaluation set", "its instructions"):
            with pytest.raises(UserError, match=str(nothing)):
                READERS[reader](nothing)


@pytest.mark.parametrize(
    ("name", "told"),
    [("a pointer of Git LFS", "git lfs pull"), ("packed", "gzip"), ("UTF-16", "UTF-16")],
)
@pytest.mark.parametrize("reader", ["seeds", "a data set", "an evaluation set", "verdicts"])
def test_what_a_file_is_instead_is_said(tmp_path, name, told, reader):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ODD[name])
    with pytest.raises(UserError, match=told):
        READERS[reader](path)
