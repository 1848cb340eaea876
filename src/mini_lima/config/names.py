"""What folders are called: after what was asked for, so that the same command finds its own again.

A name is made of the overrides, joined by ``+``. Names that need a change to do as a folder, or
that are too long, end in ``~`` and a hash: different commands do not share a folder. They are made
for people to read; nothing is ever read back out of a name.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence

OVERRIDE = re.compile(r"~|[^-].*=")
SWEPT = re.compile(r"=[^\[{'\"]*,|=(choice|range|interval|glob|shuffle|sort|tag)\(")
"""Near enough: it decides on the order of a name alone."""
LONGEST_NAME = 80
"""Two of these and a file name stay below the 255 bytes that file systems take for each."""


def cell_name(model: str, data: str, overrides: Sequence[str]) -> str:
    """Name a cell inside its sweep: its two options, and whatever else its command line changed.

    The seed comes first, before what else cells differ in (`completed` has put that in front):
    there a long name is not cut.
    """
    changes = _changes(overrides, without=("model", "data"))
    changes.sort(key=lambda each: _key(each) != "seed")
    return _folder([f"{model}-{data}", *changes])


def run_name(model: str, data: str, overrides: Sequence[str]) -> str:
    """Name a cell that stands alone: no sweep's name says which experiments it belongs to."""
    found = _experiments(overrides)
    return _folder([f"{model}-{data}", *_changes(overrides, without=("model", "data")), *found])


def sweep_name(arguments: Sequence[str]) -> str:
    """Name a sweep after its command line; Hydra's own settings and flags do not count."""
    asked = [each for each in arguments if OVERRIDE.match(each)]
    return _folder([*_experiments(asked), *_changes(asked)] or ["run"])


def completed(arguments: Sequence[str]) -> list[str]:
    """Return a command line with its experiments joined, what it sweeps first, and a name."""
    joined = with_experiments_joined(arguments)
    swept = {_key(each) for each in joined if SWEPT.search(each)}
    overrides = [each for each in joined if OVERRIDE.match(each)]
    overrides.sort(key=lambda each: _key(each) not in swept)
    ordered = [overrides.pop(0) if OVERRIDE.match(each) else each for each in joined]
    if any(each.startswith("hydra.job.name=") for each in ordered):
        return ordered
    return [*ordered, f"hydra.job.name='{sweep_name(joined)}'"]


def with_experiments_joined(arguments: Sequence[str]) -> list[str]:
    """Let ``experiment=grid experiment=embedded`` mean both, in that order.

    For Hydra the last one would win, and `./sweep.sh experiment=embedded` would not be a sweep.
    """
    at = [index for index, each in enumerate(arguments) if each.startswith("experiment=")]
    if len(at) < 2:
        return list(arguments)
    joined = f"experiment=[{','.join(dict.fromkeys(_experiments(arguments)))}]"
    rest = [each for index, each in enumerate(arguments) if index not in at]
    return [*rest[: at[0]], joined, *rest[at[0] :]]


def packages_beside(arguments: Sequence[str]) -> list[str]:
    """The folders in which a person's own functions are looked for, besides Python's.

    The one that the command was started in, and the one in which a ``--config-dir`` lies.
    """
    places = ["."]
    for number, each in enumerate(arguments):
        flag, _, given = each.partition("=")
        if flag in ("--config-dir", "-cd"):
            folder = given or next(iter(arguments[number + 1 :]), "")
            places.append(os.path.join(folder, os.pardir))
    return list(dict.fromkeys(map(os.path.abspath, places)))


def _experiments(overrides: Sequence[str]) -> list[str]:
    """The names in every ``experiment=``; one without brackets is one name, commas and all."""
    values = [each.removeprefix("experiment=") for each in overrides if _key(each) == "experiment"]
    lists = [each[1:-1].split(",") if re.fullmatch(r"\[.*\]", each) else [each] for each in values]
    return [name.strip() for names in lists for name in names if name.strip()]


def _changes(overrides: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    left_out = {"experiment", "plan", *without}
    hydra = re.compile(r"[+~]*hydra([./@=]|$)")
    return [each for each in overrides if _key(each) not in left_out and not hydra.match(each)]


def _key(override: str) -> str:
    return override.partition("=")[0]


def _folder(parts: Sequence[str]) -> str:
    name = "+".join(parts)
    # ASCII alone: other letters have several encodings, of which file systems make one.
    plain = all(re.fullmatch(r"\w[\w.=,-]*", part, re.ASCII) for part in parts)
    if plain and len(name) <= LONGEST_NAME:
        return name
    # Of the list, not of the joined name: a value may contain the separator.
    digest = hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:8]
    readable = re.sub(r"[^\w.=,+-]+", "-", name, flags=re.ASCII).lstrip(".+-")
    return f"{readable[: LONGEST_NAME - 9]}~{digest}"
