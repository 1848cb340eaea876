"""Hydra's composition as a plain `Config`; what Hydra has to know of ours is registered here."""

import copy
import copyreg
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mini_lima.config import mistakes, names
from mini_lima.config.checks import faults
from mini_lima.config.schema import Config
from mini_lima.errors import UserError


def register() -> None:
    """Give Hydra the schema and the resolvers that name folders."""
    schema = OmegaConf.structured(Config)
    for key in (*mistakes.OPEN, "model.template_kwargs", "teacher.extra_body"):
        OmegaConf.set_struct(OmegaConf.select(schema, key), False)
    ConfigStore.instance().store(name="schema", node=schema)
    OmegaConf.register_new_resolver("cell_name", names.cell_name, replace=True)
    OmegaConf.register_new_resolver("run_name", names.run_name, replace=True)
    # There is one store in a process. Hydra copies it for each group it lists, 1 s for a --help.
    copyreg.pickle(ConfigStore, lambda store: (ConfigStore.instance, ()))


def to_config(composed: DictConfig) -> Config:
    """Turn Hydra's composition into a plain `Config`.

    Raises:
        UserError: keys without a value, unknown keys (``+key=`` slips past Hydra's own check), or
            values that do not fit together: all of them at once.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    found = [f"{key} has no value: give {key}=…" for key in missing]
    found += [mistakes.no_such_key(key) for key in _unknown_keys(composed, "")]
    if found:
        raise UserError("; ".join(found))
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    if found := faults(config):
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
    """Return ``composed`` as plain data with every interpolation filled in, for reports."""
    container = OmegaConf.to_container(composed, resolve=True, enum_to_str=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


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
