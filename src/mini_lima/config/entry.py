"""Hydra's side of the configuration: the only place below `run.py` that knows Hydra and OmegaConf."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mini_lima.config.checks import faults
from mini_lima.config.schema import Config
from mini_lima.errors import UserError

SWEEP_VARIABLE = "MINI_LIMA_SWEEP"
LONGEST_NAME = 80


def register() -> None:
    """Give Hydra the schema and the resolver that names a cell's folder."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("cell_name", cell_name, replace=True)


def to_config(composed: DictConfig) -> Config:
    """Turn Hydra's composition into a plain `Config`.

    Raises:
        UserError: keys without a value, unknown keys (``+key=`` slips past Hydra's own check), or
            values that do not fit together: all of them at once.
    """
    found = [f"{key} has no value: give {key}=…" for key in sorted(OmegaConf.missing_keys(composed))]
    found += [f"{key}: no such key" for key in _unknown_keys(composed, Config, "")]
    if found:
        raise UserError("; ".join(found))
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    if found := faults(config):
        raise UserError("; ".join(found))
    return config


def resolved(composed: DictConfig) -> dict[str, Any]:
    """Return ``composed`` as plain data with every interpolation filled in, for reports."""
    container = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _unknown_keys(node: DictConfig, schema: type, prefix: str) -> Iterator[str]:
    known = {each.name for each in fields(schema)}
    for key in node:
        if key not in known:
            yield f"{prefix}{key}"
        elif not OmegaConf.is_missing(node, key) and isinstance(child := node[key], DictConfig):
            if is_dataclass(inner := OmegaConf.get_type(child)):
                yield from _unknown_keys(child, inner, f"{prefix}{key}.")


def cell_name(model: str, data: str, overrides: Sequence[str] | ListConfig) -> str:
    """Name a cell's folder after its options and whatever else its command line changed."""
    rest = [each for each in overrides if not re.match(r"(model|data|experiment|plan)=", each)]
    return _folder_name("-".join([model, data, *sorted(rest)]))


def sweep_name(overrides: Sequence[str]) -> str:
    """Name a sweep's folder after what was asked for, so that the same command finds it again."""
    asked = [each for each in overrides if not each.startswith(("plan=", "-", "hydra."))]
    return _folder_name("-".join(re.sub(r"^experiment=", "", each) for each in asked)) or "run"


def _folder_name(text: str) -> str:
    plain = re.sub(r"[^\w.=,+-]+", "+", text).strip("+")
    if len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[: LONGEST_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def with_experiments_joined(arguments: Sequence[str]) -> list[str]:
    """Let ``experiment=grid experiment=embedded`` mean both, in that order.

    For Hydra the last one would win, and `./sweep.sh experiment=embedded` would not be a sweep.
    """
    named = [each.removeprefix("experiment=").strip("[]") for each in arguments if _names(each)]
    if len(named) < 2:
        return list(arguments)
    first = next(at for at, each in enumerate(arguments) if _names(each))
    rest = [each for each in arguments if not _names(each)]
    return [*rest[:first], f"experiment=[{','.join(named)}]", *rest[first:]]


def _names(argument: str) -> bool:
    return argument.startswith("experiment=")


def one_line(error: BaseException) -> str | None:
    """Say in one line what a person got wrong in the configuration; None if it is no such error."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, yaml.YAMLError):
        mark: Mapping[str, Any] | Any = getattr(error, "problem_mark", None)
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}not valid YAML: {getattr(error, 'problem', error)}"
    if isinstance(error, MissingConfigException):
        lines = str(error).splitlines()
        options = [line.strip() for line in lines if line.startswith("\t") and "=" not in line]
        available = f" Available: {', '.join(options)}." if options else ""
        return f"{lines[0].rstrip('.')}.{available}"
    if isinstance(error, OmegaConfBaseException):
        key = f"{error.full_key}: " if error.full_key else ""
        return f"{key}{str(error.msg or error).splitlines()[0]}"
    if isinstance(error, HydraException):
        cause = error.__cause__ and one_line(error.__cause__)
        said = str(error).splitlines()[0]
        return f"{said}: {cause}" if cause and cause not in said else said
    return None
