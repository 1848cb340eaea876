"""Hydra's side of the configuration: with `mistakes.py` all that knows it below `run.py`."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mini_lima.config import keys, names
from mini_lima.config.checks import faults
from mini_lima.config.mistakes import Refused
from mini_lima.config.schema import Config
from mini_lima.errors import UserError


def register() -> None:
    """Give Hydra the schema and the resolvers that name folders."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    OmegaConf.register_new_resolver("cell_name", names.cell_name, replace=True)
    OmegaConf.register_new_resolver("run_name", names.run_name, replace=True)
    # Hydra copies the whole store for each group it lists, 0.4 s for a --help, and copies once more
    # what it takes out of it. Nothing is taken out that would change the store, so one will do.
    vars(store)["__deepcopy__"] = lambda memo: store


class Rehearsal(Callback):
    """Composes and checks every cell before Hydra makes a folder or starts the first of them.

    Hydra itself would find a fault of the last cell after the first ones have run.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the one cell of a run."""
        try:
            to_config(_without_hydra(config))
        except Exception as error:
            raise Refused(error) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all cells of a sweep."""
        try:
            loader = GlobalHydra.instance().config_loader()
            for overrides in _cells(config):
                to_config(_without_hydra(loader.load_sweep_config(config, overrides)))
        except Exception as error:
            raise Refused(error) from error


def to_config(composed: DictConfig) -> Config:
    """Turn Hydra's composition into a plain `Config`.

    Raises:
        UserError: keys without a value, unknown keys (``+key=`` slips past Hydra's own check), or
            values that do not fit together: all of them at once.
    """
    missing = sorted(OmegaConf.missing_keys(composed))
    found = [f"{key} has no value: give {key}=…" for key in missing]
    found += [keys.no_such_key(key) for key in _unknown_keys(composed, "")]
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


def _unknown_keys(node: DictConfig, prefix: str) -> Iterator[str]:
    for name in map(str, node):
        key = f"{prefix}{name}"
        if key not in keys.known():
            yield key
        elif keys.is_table(key):
            continue
        elif not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _unknown_keys(node[name], f"{key}.")


def _cells(config: DictConfig) -> Iterator[list[str]]:
    """The overrides of each cell of a sweep; ranges, which a sweeper draws from, are left out."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    asked = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    choices = {}
    for each in parser.parse_overrides(asked):
        key = each.get_key_element()
        if each.is_sweep_override() and key.startswith("grid."):
            raise UserError(f"{each.input_line}: choose what a grid sweeps with model=… and data=…")
        if not each.is_sweep_override():
            choices[key] = [f"{key}={each.get_value_element_as_str()}"]
        elif each.is_discrete_sweep():
            choices[key] = [f"{key}={value}" for value in each.sweep_string_iterator()]
    for cell in itertools.product(*choices.values()):
        yield list(cell)


def _without_hydra(config: DictConfig) -> DictConfig:
    job = copy.deepcopy(config)
    with read_write(job), open_dict(job):
        del job["hydra"]
    return job
