"""Hydra's side of the configuration: with `mistakes.py` all that knows it below `run.py`.

Beside it stands the launcher for Slurm, which Hydra wants in a package of its own.
"""

import copy
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from mini_lima.config import keys, names
from mini_lima.config.checks import faults
from mini_lima.config.mistakes import Refused
from mini_lima.config.schema import Config
from mini_lima.errors import UserError
from mini_lima.evaluation import declared_contrasts

SLURM = "hydra_plugins._mini_lima_slurm.SlurmLauncher"
PLACES = {
    "run": ["hydra.run.dir"],
    "sweep": ["hydra.sweep.dir"],
    "cell": ["hydra.sweep.dir", "hydra.sweep.subdir"],
}
folders: list[Path] = []
"""Where this process has begun a run or a sweep: cells may run elsewhere, this is known here."""


def register() -> None:
    """Give Hydra the schema and the resolvers that name folders."""
    store = ConfigStore.instance()
    schema = OmegaConf.structured(Config)
    for key in keys.OPEN:
        OmegaConf.set_struct(schema[key], False)
    store.store(name="schema", node=schema)
    OmegaConf.register_new_resolver("cell_name", names.cell_name, replace=True)
    OmegaConf.register_new_resolver("run_name", names.run_name, replace=True)
    # Hydra copies the whole store for each group it lists, 0.4 s for a --help, and copies once more
    # what it takes out of it. Nothing is taken out that would change the store, so one will do.
    vars(store)["__deepcopy__"] = lambda memo: store


class ValidateAllCells(Callback):
    """Composes and checks every cell before Hydra makes a folder or starts the first of them.

    Hydra itself would find a fault of the last cell after the first ones have run.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the one cell of a run."""
        try:
            if launcher := _other_than_basic(config, "launcher"):
                raise UserError(f"{launcher} submits the cells of a sweep: add --multirun")
            checked = to_config(without_hydra(config))
            _check_arms([checked])
            planned = checked.plan
        except Exception as error:
            raise Refused(error) from error
        if not planned:
            folders.append(folder_of(config, "run"))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all cells of a sweep."""
        try:
            loader = GlobalHydra.instance().config_loader()
            choices = _choices(config)
            swept = [key for key, values in choices.items() if len(values) > 1]
            os.environ[names.SWEPT_VARIABLE] = ",".join(swept)
            cells = (loader.load_sweep_config(config, each) for each in _cells(config, choices))
            checked = [to_config(without_hydra(cell)) for cell in cells]
            _check_arms(checked)
            planned = any(cell.plan for cell in checked)
            elsewhere = [_other_than_basic(config, group) for group in ("launcher", "sweeper")]
            if planned and any(elsewhere):
                away = " and ".join(filter(None, elsewhere))
                raise UserError(f"plan=true runs here and plans a grid: leave {away} away")
            if OmegaConf.select(config, "hydra.launcher._target_") == SLURM:
                from hydra_plugins._mini_lima_slurm import SlurmLauncher

                Plugins.instance().register(SlurmLauncher)
        except Exception as error:
            raise Refused(error) from error
        if not planned:
            folders.append(folder_of(config, "sweep"))


def _check_arms(cells: Sequence[Config]) -> None:
    """Raise if a contrast names what is no arm at all.

    One of another sweep may still be compared with these; so any option of ``data=`` will do.
    """
    contrasts = dict.fromkeys(text for cell in cells for text in cell.contrasts)
    loader = GlobalHydra.instance().config_loader()
    arms = [*dict.fromkeys([*(cell.arm for cell in cells), *loader.get_group_options("data")])]
    if lines := declared_contrasts.unknown(contrasts, arms):
        raise UserError("; ".join(lines))


def folder_of(config: DictConfig, kind: str) -> Path:
    """Return the folder of a composed run, sweep or cell of a sweep (``kind``)."""
    HydraConfig.instance().set_config(config)  # what the names of folders are made from
    return Path(*(str(OmegaConf.select(config, key)) for key in PLACES[kind])).absolute()


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
        if key not in keys.known():
            yield key
        elif keys.is_table(key):
            continue
        elif not OmegaConf.is_missing(node, name) and isinstance(node[name], DictConfig):
            yield from _unknown_keys(node[name], f"{key}.")


def _choices(config: DictConfig) -> dict[str, list[str]]:
    """The overrides that a sweep chooses from by their keys, of an interval its ends.

    Raises:
        UserError: it cannot choose from them.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    asked = [*(f"{key}={value}" for key, value in params.items()), *config.hydra.overrides.task]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    searching = _other_than_basic(config, "sweeper")
    choices: dict[str, list[str]] = {}
    for each in parser.parse_overrides(asked):
        key = each.get_key_element()
        if each.is_sweep_override() and key.startswith("grid."):
            raise UserError(f"{each.input_line}: choose what a grid sweeps with model=… and data=…")
        if each.is_interval_sweep() and not searching:
            raise UserError(
                f"{each.input_line}: needs a sweeper that searches, hydra/sweeper=win_rate"
            )
        choices[key] = [f"{key}={value}" for value in _values(each)]
    return choices


def _cells(config: DictConfig, choices: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """The overrides of each cell of a sweep.

    Which cells a sweeper that searches will make is not known: then each value that it may choose
    beside the first ones of the others.
    """
    if not _other_than_basic(config, "sweeper"):
        yield from map(list, itertools.product(*choices.values()))
        return
    first = {key: values[0] for key, values in choices.items()}
    yield list(first.values())
    for key, values in choices.items():
        for value in values[1:]:
            yield list({**first, key: value}.values())


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if override.is_discrete_sweep():
        return [str(value) for value in override.sweep_string_iterator()]
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [str(interval.start), str(interval.end)]


def _other_than_basic(config: DictConfig, group: str) -> str | None:
    """The choice of ``hydra/group``, unless it is the one that Hydra begins with."""
    chosen = config.hydra.runtime.choices.get(f"hydra/{group}")
    return None if chosen == "basic" else f"hydra/{group}={chosen}"


def without_hydra(config: DictConfig) -> DictConfig:
    """Return a copy of ``config`` with what is ours alone."""
    job = copy.deepcopy(config)
    choices = job.hydra.runtime.choices
    with read_write(job), open_dict(job):
        del job["hydra"]
    return named(job, choices)
