"""Write docs/configuration.md from the typed schema: python tools/make_reference.py.

What can be configured is described in one place, `mini_lima.config.schema`: the text under a field
there is its description here. A test holds the two together.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from mini_lima.config import mistakes, schema
from mini_lima.sft import choices

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration reference

Made from the schema by `python tools/make_reference.py`. Every key can be set on the command line
(`sft.epochs=2`) or in a YAML file; the options of a group are the files in `conf/<group>/`.
`python run.py --cfg job` shows the values that a command line comes to.
"""


WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Any: "anything",
}


def _words(kind: Any) -> str:
    """Say what a value of the type ``kind`` is."""
    inner = _without_none(kind)
    if inner is not kind:
        return f"{_words(inner)}, or null"
    if get_origin(kind) is list:
        return f"a list, each {_words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return "a table" if inner is Any else f"a table of {_words(inner)}"
    if get_origin(kind) in (UnionType, Union):
        return _either([_words(each) for each in get_args(kind)])
    if kind in WORDS:
        return WORDS[kind]
    if is_dataclass(kind):
        return f"a group of keys ({', '.join(get_type_hints(kind))})"
    return _either([each.value for each in kind])


def _without_none(kind: Any) -> Any:
    """``kind`` without the option to be null."""
    if NoneType in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    return kind


def _either(names: list[str]) -> str:
    return " or ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def reference() -> str:
    """Return the whole page."""
    about = _descriptions()
    parts = [HEAD]
    alone = []
    for name, kind in get_type_hints(schema.Config).items():
        inner = _without_none(kind)
        if name in mistakes.OPEN:
            parts.append("\n".join(_open_group(name, about["Config"][name])))
        elif is_dataclass(inner):
            parts.append("\n".join(_group(name, inner, about)))
        else:
            alone.append((name, kind, _default(schema.Config, name), about["Config"].get(name, "")))
    parts.append("\n".join(["## Keys outside the groups\n", *_table(alone)]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _group(name: str, kind: type, about: dict[str, dict[str, str]]) -> Iterator[str]:
    yield f"## {name}\n"
    yield f"{_escaped(about[kind.__name__]['']).rstrip('.')}.\n"
    yield from _options(name)
    yield from _table(_rows(f"{name}.", kind, about))


def _options(name: str) -> Iterator[str]:
    options = sorted(path.stem for path in (ROOT / "conf" / name).glob("*.yaml"))
    if options:
        chosen = next(
            (entry[name] for entry in _defaults() if isinstance(entry, dict) and name in entry), ""
        )
        shown = [f"**{each}**" if each == chosen else each for each in options]
        yield f"Options: {', '.join(shown)}.\n"


def _open_group(name: str, about: str) -> Iterator[str]:
    """A group whose keys depend on its ``type``."""
    yield f"## {name}\n"
    yield f"{_escaped(about)}\n"
    yield from _options(name)
    yield f"| `{name}.type` | keywords |\n|---|---|"
    for kind, takes in choices.types(name).items():
        shown = [
            f"`{each.name}`"
            if each.default in (each.empty, None)
            else f"`{each.name}={each.default}`"
            for each in inspect.signature(takes).parameters.values()
        ]
        yield f"| {kind} | {', '.join(shown)} |"


def _rows(
    prefix: str, kind: type, about: dict[str, dict[str, str]]
) -> Iterator[tuple[str, Any, str, str]]:
    for name, inner in get_type_hints(kind).items():
        nested = _without_none(inner)
        if is_dataclass(nested):
            assert isinstance(nested, type)
            yield from _rows(f"{prefix}{name}.", nested, about)
        else:
            described = about[kind.__name__].get(name, "")
            yield f"{prefix}{name}", inner, _default(kind, name), described


def _table(rows: Any) -> Iterator[str]:
    yield "| key | takes | default | |\n|---|---|---|---|"
    for key, kind, default, about in rows:
        yield f"| `{key}` | {_escaped(_words(kind))} | {default} | {_escaped(about)} |"


def _default(kind: type, name: str) -> str:
    field = next(each for each in fields(kind) if each.name == name)
    value = field.default
    if value is MISSING:
        return ""
    if value == schema.MUST_BE_GIVEN:
        return "by the option"
    value = value.value if isinstance(value, Enum) else value
    return f"`{yaml.safe_dump(value).splitlines()[0]}`"


def _defaults() -> list[Any]:
    return list(yaml.safe_load((ROOT / "conf/config.yaml").read_text(encoding="utf-8"))["defaults"])


def _descriptions() -> dict[str, dict[str, str]]:
    """What is written under the classes (key "") and fields of the schema."""
    tree = ast.parse(Path(schema.__file__).read_text(encoding="utf-8"))
    found: dict[str, dict[str, str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        texts = found[node.name] = {"": " ".join((ast.get_docstring(node) or "").split())}
        for field, below in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                texts[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _escaped(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(TARGET.relative_to(ROOT), file=sys.stderr)
