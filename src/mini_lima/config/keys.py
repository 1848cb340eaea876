"""Which keys there are and what each takes, as sentences for a person who mistyped one."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from mini_lima.config.schema import Config
from mini_lima.sft import optimizers

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Any: "anything",
}


OPEN = (optimizers.OPTIMIZER, optimizers.SCHEDULER)
"""Groups that take any key: which ones there are depends on ``type`` or ``_target_``."""

GROUPS = ("experiment",)
"""What is chosen from as other groups are, and leaves no key of its own."""


@cache
def known() -> Mapping[str, Any]:
    """Every dotted key with the type of its value, groups included, in the schema's order."""
    return dict(_walk(Config, ""))


def no_such_key(key: str, there_are: Sequence[str] = ()) -> str:
    """Say that ``key`` does not exist, and which one was perhaps meant.

    Args:
        key: Dotted, as it was written.
        there_are: The dotted keys to choose from, where they are not the schema's.
    """
    open_keys = [f"{group}.{name}" for group in OPEN for name in optimizers.keywords(group)]
    names = there_are or [*known(), *open_keys, *GROUPS]
    if nearest := _nearest(key, names):
        return f"{key}: no such key; did you mean {_either(nearest)}?"
    group = _group(key)
    while group and group not in map(_group, names):
        group = _group(group)
    beside = [_word(each) for each in names if _group(each) == group]
    return f"{key}: no such key; {f'{group} has' if group else 'there are'} {', '.join(beside)}"


def expected(key: str) -> str | None:
    """What the value of ``key``, or of its element ``key[0]``, must be; None for an unknown key."""
    group, _, element = key.partition("[")
    kind = known().get(group)
    if kind and element:
        kind = get_args(kind)[0]
    return None if kind is None else words(kind)


def is_table(key: str) -> bool:
    """Whether the keys below ``key`` are the person's own, such as names of models."""
    return get_origin(known()[key]) is dict


def in_table(key: str) -> bool:
    """Whether ``key`` is below a table: one of the person's own."""
    while "." in key:
        key = _group(key)
        if key in known() and is_table(key):
            return True
    return False


def group_of_type(name: str) -> str | None:
    """The first key whose value is the dataclass ``name``."""
    kinds = {key: without_none(kind) for key, kind in known().items()}
    return next((k for k, kind in kinds.items() if getattr(kind, "__name__", "") == name), None)


def _walk(schema: type, prefix: str) -> Any:
    for name, kind in get_type_hints(schema).items():
        yield f"{prefix}{name}", kind
        if is_dataclass(inner := without_none(kind)):
            assert isinstance(inner, type)
            yield from _walk(inner, f"{prefix}{name}.")


def _nearest(key: str, names: Sequence[str]) -> list[str]:
    """A word that is spelt alike in the same group, or the same word in other groups."""
    beside = {_word(each): each for each in names if _group(each) == _group(key)}
    alike = [beside[word] for word in get_close_matches(_word(key), beside, 1)]
    same = [each for each in names if _word(each) == _word(key)]
    if _group(key):
        return alike or get_close_matches(key, same, 1) or same
    anywhere = get_close_matches(_word(key), [_word(each) for each in names], 1)
    return same or alike or [each for each in names if _word(each) in anywhere]


def _group(key: str) -> str:
    return key.rpartition(".")[0]


def _word(key: str) -> str:
    return key.rpartition(".")[2]


def words(kind: Any) -> str:
    """Say what a value of the type ``kind`` is."""
    inner = without_none(kind)
    if inner is not kind:
        return f"{words(inner)}, or null"
    if get_origin(kind) is tuple:
        return f"a list of {len(get_args(kind))} numbers"
    if get_origin(kind) is list:
        return f"a list, each {words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return "a table" if inner is Any else f"a table of {words(inner)}"
    if isinstance(kind, UnionType):
        return _either([words(each) for each in get_args(kind)])
    if kind is Any:
        return WORDS[kind]
    if is_dataclass(kind):
        return f"a group of keys ({', '.join(get_type_hints(kind))})"
    if issubclass(kind, Enum):
        return _either([each.value for each in kind])
    return WORDS[kind]


def without_none(kind: Any) -> Any:
    """``kind`` without the option to be null."""
    if isinstance(kind, UnionType) and NoneType in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    return kind


def _either(names: Sequence[str]) -> str:
    return " or ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])
