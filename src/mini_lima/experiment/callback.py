"""What happens around the cells of a command: Hydra calls this before the first and after the last.

Before: every cell is composed and checked, since Hydra itself would find a fault of the last one
after the first ones have run; ``plan=true`` ends there, with the plan of all of them. After: the
table, and the exit code of the worst cell.
"""

import itertools
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mini_lima.config import entry
from mini_lima.config.checks import folder_fault
from mini_lima.config.mistakes import Refused
from mini_lima.config.schema import Config
from mini_lima.errors import UserError
from mini_lima.evaluation import declared_contrasts
from mini_lima.text import NAMES_A_SECRET, redacted

log = logging.getLogger("mini_lima.experiment")
RUN = ("hydra.run.dir",)
SWEEP = ("hydra.sweep.dir",)
CELL = ("hydra.sweep.dir", "hydra.sweep.subdir")


class AroundAllCells(Callback):
    """Checks or plans all cells before the first, and summarises them after the last."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the one cell of a run."""
        try:
            if launcher := _other_than_basic(config, "launcher"):
                raise UserError(f"{launcher} submits the cells of a sweep: add --multirun")
            _check_or_plan([config], RUN)
        except Exception as error:
            raise Refused(error) from error

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check all cells of a sweep."""
        try:
            loader = GlobalHydra.instance().config_loader()
            choices = _choices(config)
            _check_or_plan(
                [loader.load_sweep_config(config, each) for each in _cells(config, choices)], CELL
            )
        except Exception as error:
            raise Refused(error) from error
        if _other_than_basic(config, "launcher"):
            log.info("mini-lima compare %s shows how the cells stand", _folder(config, SWEEP))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let SIGTERM end a cell again that waits for the stage of another: submitit's jobs ignore it."""
        if _other_than_basic(config, "launcher"):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say how the cell ended."""
        _summarise(_folder(config, RUN))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare the cells."""
        elsewhere = _other_than_basic(config, "launcher") is not None
        _summarise(_folder(config, SWEEP), elsewhere=elsewhere)


def _summarise(folder: Path, *, elsewhere: bool = False) -> None:
    from mini_lima.experiment.sweep import finish

    try:
        code = finish(folder, elsewhere=elsewhere)
    except Exception as error:
        raise Refused(error) from error
    if code:
        sys.exit(code)


def _check_or_plan(cells: Sequence[DictConfig], folder: tuple[str, ...]) -> None:
    for each in cells:
        _refuse_secrets(each.hydra)
    composed = [entry.without_hydra(cell) for cell in cells]
    configs = [entry.to_config(each) for each in composed]
    for path in dict.fromkeys(str(_folder(cell, folder[:1])) for cell in cells):
        if redacted(path) != path:
            raise UserError(f"{folder[0]}: the name of the folder would have a secret in it")
    _check_arms(configs)
    for each in cells:
        if fault := folder_fault(_folder(each, folder)):
            raise UserError(f"{folder[0]}: {fault}; name another folder")
    planned = [config.plan for config in configs]
    if not any(planned):
        _try_to_write(_folder(cells[0], folder[:1]))
        return
    if not all(planned) or _other_than_basic(cells[0], "sweeper"):
        raise UserError("plan=true plans all cells of a grid: leave hydra/sweeper away")
    from mini_lima.experiment import cell, plan_table
    from mini_lima.experiment.plan import Plan

    plan, logged = Plan(), set[str]()
    for each, config, plain in zip(cells, configs, composed, strict=True):
        cell.plan(config, entry.resolved(plain), _folder(each, folder).name, plan, logged)
    plan_table.show(plan)
    sys.exit(plan.exit_code)


def _try_to_write(folder: Path) -> None:
    """Make ``folder``; raise UserError if it cannot be made or written to after all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: nothing can be written there: {error.strerror}; make room, or name another"
            " folder"
        ) from error


def _refuse_secrets(hydra: DictConfig) -> None:
    """Raise if Hydra would write a secret into its own records, by which a run can be repeated."""
    for typed in (*entry.as_typed(hydra.overrides.task), *entry.as_typed(hydra.overrides.hydra)):
        if redacted(typed) != typed:
            raise UserError(
                f"{typed.partition('=')[0]}=…: the command line holds the value of a secret, and is"
                " written into records: write '${oc.env:NAME}' in its place, in single quotes"
            )
    for name in filter(NAMES_A_SECRET.fullmatch, map(str, hydra.job.env_set)):
        raise UserError(
            f"hydra.job.env_set.{name}: is written into records: set the variable in the shell"
        )


def _check_arms(cells: Sequence[Config]) -> None:
    """Raise if a contrast names what is no arm at all.

    One of another sweep may still be compared with these; so any option of ``data=`` will do.
    """
    contrasts = dict.fromkeys(text for cell in cells for text in cell.contrasts)
    loader = GlobalHydra.instance().config_loader()
    arms = [*dict.fromkeys([*(cell.arm for cell in cells), *loader.get_group_options("data")])]
    if lines := declared_contrasts.unknown(contrasts, arms):
        raise UserError("; ".join(lines))


def _folder(config: DictConfig, keys: tuple[str, ...]) -> Path:
    """The folder of a run, a sweep or a cell of one."""
    HydraConfig.instance().set_config(config)  # what the names of folders are made from
    return Path(*(str(OmegaConf.select(config, key)) for key in keys)).absolute()


def _choices(config: DictConfig) -> dict[str, list[str]]:
    """The overrides that a sweep chooses from by their keys, of an interval its ends.

    Raises:
        UserError: it cannot choose from them.
    """
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    asked = [
        *(f"{key}={value}" for key, value in params.items()),
        *entry.as_typed(config.hydra.overrides.task),
    ]
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
