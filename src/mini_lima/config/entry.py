"""Hydra's composition as a plain `Config`; what Hydra has to know of ours is registered here."""

import copy
import copyreg
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write
from omegaconf.resolvers import oc

from mini_lima.config import mistakes, names
from mini_lima.config.checks import faults
from mini_lima.config.schema import Config
from mini_lima.errors import UserError
from mini_lima.text import has_credentials, hide_values_of, is_ordinary, redacted

NAMES_AND_PLACES = (
    *("model", "name", "endpoint", "source", "revision", "project", "entity", "group", "store"),
    *("cassette", "seeds", "prompt", "reference_outputs", "length_difficulties"),
    *("chat_template", "baseline_template"),
)
"""Keys of texts that are no secrets, wherever they come from."""


def register() -> None:
    """Give Hydra the schema and the resolvers that name folders."""
    schema = OmegaConf.structured(Config)
    for key in (*mistakes.OPEN, "model.template_kwargs", "teacher.extra_body"):
        OmegaConf.set_struct(OmegaConf.select(schema, key), False)
    ConfigStore.instance().store(name="schema", node=schema)
    for name, named in (("cell_name", names.cell_name), ("run_name", names.run_name)):
        OmegaConf.register_new_resolver(name, partial(_named_after, named), replace=True)
    # There is one store in a process. Hydra copies it for each group it lists, 1 s for a --help.
    copyreg.pickle(ConfigStore, lambda store: (ConfigStore.instance, ()))


def as_typed(overrides: Any) -> list[str]:
    """Return Hydra's overrides as they were typed: nothing of the environment is filled in."""
    typed = OmegaConf.to_container(overrides, resolve=False)
    assert isinstance(typed, list)
    return list(map(str, typed))


def _named_after(name: Callable[..., str], model: str, data: str, overrides: Any) -> str:
    return name(model, data, as_typed(overrides))


def to_config(composed: DictConfig) -> Config:
    """Turn Hydra's composition into a plain `Config`.

    From then on the keys that it names, and what of the environment it has in its texts, are
    secrets (`mini_lima.text`).

    Raises:
        UserError: keys without a value, unknown keys (``+key=`` slips past Hydra's own check), or
            values that do not fit together: all of them at once.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    found = [f"{key} has no value: give {key}=…" for key in missing]
    found += [mistakes.no_such_key(key) for key in _unknown_keys(composed, "")]
    if found:
        raise UserError("; ".join(found))
    leaves = list(_leaves(composed))
    hide_values_of(_secret_variables(leaves))
    found = list(_exposed(leaves))
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    if found := found or faults(config):
        raise UserError("; ".join(found))
    return config


def named(composed: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """Return ``composed`` with the arm that ``choices``, Hydra's of all groups, have made.

    Raises:
        UserError: somebody else has named it.
    """
    if not OmegaConf.is_interpolation(composed, "arm"):
        raise UserError(f"arm={composed.arm}: it is the name of the option of data=, set by that")
    if choices.get("data") is None:
        raise UserError("data: choose an option, such as data=naive")
    with read_write(composed):
        composed.arm = choices["data"]
    return composed


def resolved(composed: DictConfig) -> dict[str, Any]:
    """Return ``composed`` as plain data with its interpolations filled in, for reports.

    A text that is made of the environment stays as it was written, ``${oc.env:NAME}``, but for
    what W&B is told: where runs are found again.
    """
    container = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    for leaf in _leaves(composed):
        if leaf.variables and type(leaf.value) is str and leaf.path[0] != "tracking":
            inner: Any = container
            for key in leaf.path[:-1]:
                inner = inner[key]
            inner[leaf.path[-1]] = leaf.written
    return {str(key): value for key, value in container.items()}


@dataclass(frozen=True)
class _Leaf:
    """A value of the configuration.

    Attributes:
        path: Keys, and places in lists.
        written: As YAML or the command line have it.
        value: With everything filled in.
        variables: Of the environment, from which it is made.
    """

    path: tuple[str | int, ...]
    written: Any
    value: Any
    variables: frozenset[str]

    @property
    def key(self) -> str:
        return ".".join(map(str, self.path))


def _leaves(composed: DictConfig) -> Iterator[_Leaf]:
    """Every value of ``composed`` that is there."""
    read: list[str] = []

    def noted(name: str, *default: Any) -> Any:
        read.append(name)
        return oc.env(name, *default)

    def walk(node: DictConfig | ListConfig, path: tuple[str | int, ...]) -> Iterator[_Leaf]:
        written: Any = OmegaConf.to_container(node, resolve=False)
        for key in range(len(node)) if isinstance(node, ListConfig) else list(node):
            read.clear()
            value = node[key]
            if isinstance(value, DictConfig | ListConfig):
                yield from walk(value, (*path, key))
            else:
                yield _Leaf((*path, key), written[key], value, frozenset(read))

    OmegaConf.register_new_resolver("oc.env", noted, replace=True)
    try:
        yield from list(walk(composed, ()))
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _secret_variables(leaves: Iterable[_Leaf]) -> Iterator[str]:
    """The variables that hold keys, or something that stands in an address or a command.

    A name, a place or an ordinary word is no secret: it is written down wherever it is used.
    """
    for leaf in leaves:
        if leaf.path[-1] == "api_key_env" and isinstance(leaf.value, str):
            yield leaf.value
        elif isinstance(leaf.value, str) and leaf.path[-1] not in NAMES_AND_PLACES:
            host = leaf.value.partition("://")[2].partition("/")[0]
            for name in leaf.variables:
                value = os.environ.get(name, "")
                if value not in host and not is_ordinary(value):
                    yield name


def _exposed(leaves: Iterable[_Leaf]) -> Iterator[str]:
    """Secrets that stand in the configuration itself, of which records are kept."""
    for leaf in leaves:
        if leaf.path[-1] == "api_key_env":
            continue  # has a message of its own
        if isinstance(leaf.written, str) and redacted(leaf.written) != leaf.written:
            yield (
                f"{leaf.key}: holds the value of a secret, and would be written into records: write"
                " '${oc.env:NAME}' in its place, with the name of its variable"
            )
        elif "extra_body" in leaf.path and leaf.variables:
            yield (
                f"{leaf.key}: is made of the environment, and what is asked is kept with every"
                " answer: write it out, or, if it is a key, name its variable in api_key_env"
            )
        elif isinstance(leaf.value, str) and has_credentials(leaf.value):
            yield (
                f"{leaf.key}: has an address with a user, a password or a key in it, which would be"
                " written into records: name the variable that has a key in api_key_env, and give a"
                " file that needs one by its path, after you have downloaded it"
            )


def _unknown_keys(node: DictConfig, prefix: str) -> Iterator[str]:
    for name in map(str, node):
        key = f"{prefix}{name}"
        if key not in mistakes.known():
            yield key
        elif mistakes.is_table(key):
            continue
        elif not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _unknown_keys(node[name], f"{key}.")


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy of ``config`` with what is ours alone."""
    HydraConfig.instance().set_config(config)  # what ${hydra:…} is taken from
    job = copy.deepcopy(config)
    choices = job.hydra.runtime.choices
    with read_write(job), open_dict(job):
        del job["hydra"]
    return named(job, choices)


register()  # at import, as Hydra's own examples do: the job of a cluster imports this alone
