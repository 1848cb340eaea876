"""Running one cell: what is missing, what is to do, the work itself, and a record of how it ended.

The record, ``cell.json`` in the cell's folder, is written when the cell starts, when it is laid out
and again when it ends, so that a comparison can be made at any time and a cell that was killed is
seen to be unfinished. It names the cell's stages, and the store knows where the records are: what
a cell needs is not taken from it.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mini_lima import pipeline
from mini_lima.chat import LEDGER
from mini_lima.config import arms
from mini_lima.config.schema import Config, Until
from mini_lima.errors import Stopped, UserError
from mini_lima.evaluation.result import verdicts_of
from mini_lima.experiment import preflight, time_estimates
from mini_lima.experiment.plan import Plan
from mini_lima.experiment.recipe import recipe_of, steps_of
from mini_lima.experiment.time_estimates import Forecasts
from mini_lima.report import wandb_run
from mini_lima.results import (
    CELL,
    RESULT,
    CellRecord,
    Cost,
    Folders,
    cost_of,
    read_result,
    write_cell,
)
from mini_lima.store import contents, index
from mini_lima.store.stages import Stage, StageFailed, Store, walk

log = logging.getLogger(__name__)
LOG = "mini-lima.log"
"""The log of a cell, which Hydra writes (conf/config.yaml)."""
PACKAGES = (
    "mini-lima",
    "torch",
    "transformers",
    "accelerate",
    "deepspeed",
    "alpaca-eval",
    "openai",
    "wandb",
    "numpy",
)
"""Packages whose versions are kept with every stage."""
UP_TO: dict[Until | None, tuple[str, ...]] = {
    Until.data: ("data", "teacher"),
    Until.sft: ("data", "teacher", "sft"),
    Until.outputs: ("data", "teacher", "sft", "outputs"),
    None: ("data", "teacher", "sft", "outputs", "annotations", "tracking"),
}
"""What a cell may lack something for, by where it stops."""


def stages_before(folder: Path) -> dict[str, str]:
    """Return the stages that the record in ``folder`` names, if there is one, of any version."""
    path = folder / CELL
    try:
        return index.stages_in(path) if path.is_file() else {}
    except UserError as error:
        log.warning("%s: what it names is not kept from being pruned", error)
        return {}


def run(
    config: Config,
    resolved: dict[str, Any],
    overrides: Sequence[str],
    folder: Path,
    logged: set[str],
) -> float | None:
    """Build the cell, and leave its record, with an exit code, in ``folder``.

    The exit code is 0, 1 for failed work, or 2 for what a person can fix.

    Args:
        config: The cell.
        resolved: The same as plain data.
        overrides: What the command line asked for.
        folder: The cell's.
        logged: Lines that earlier cells of the process have logged, and this one need not: the
            cells of a grid mostly lack the same. Its own are added.

    Returns:
        The win rate of the tuned model, in percent; None if there is none.
    """
    started = time.monotonic()
    record = CellRecord(
        model=config.model.name,
        arm=config.arm,
        seed=config.sft.seed,
        overrides=list(overrides),
        config=resolved,
        until=None if config.until is None else str(config.until),
        log=str(folder / LOG),
        # What an earlier run here has made stays in use, even if this one gets nowhere.
        stages=stages_before(folder),
    )
    write_cell(folder / CELL, record)
    launch = {key: getattr(config.launch, key) for key in time_estimates.LAUNCH}
    store = Store(Path(config.store), PACKAGES, {"launch": launch})
    try:
        cell = _ready(config, resolved, store)
        record = _laid_out(record, cell, store)
        write_cell(folder / CELL, record)
        index.register(store.root, folder)
        record = _built(record, cell, store)
    except UserError as error:
        record = replace(record, status="failed", exit_code=2, reason=str(error))
    except StageFailed as error:
        record = replace(record, status="failed", reason=str(error), log=str(error.log))
    except Stopped as stopped:
        record = replace(record, status="stopped", reason=str(stopped))
        raise
    except Exception as error:  # a fault of ours must not cost the other cells their summary
        record = replace(record, status="failed", reason=f"{type(error).__name__}: {error}")
        log.exception("this is a fault of Mini-LIMA, please report it")
    finally:
        record = replace(
            record,
            seconds=time.monotonic() - started,
            executed=[str(stage) for stage in store.executed],
        )
        write_cell(folder / CELL, record)
    if record.status == "failed":
        _say(record.reason or record.status, logged)
    return win_rate(record)


def win_rate(record: CellRecord) -> float | None:
    """Return what ``record`` says that the tuned model wins, in percent; None if nothing."""
    if record.result is None or not record.result.judges:
        return None
    return record.result.judges[0].sft.win_rate


def plan(config: Config, resolved: dict[str, Any], name: str, onto: Plan, logged: set[str]) -> None:
    """Put the cell ``name`` ``onto`` a plan."""
    store = Store(Path(config.store))
    cell, fault, to_do, lookups = _looked_at(config, resolved, store)
    faults = preflight.missing(config, (), lookups) or ([str(fault)] if fault else [])
    if faults:
        _say("\n".join(faults), logged)
        onto.exit_code = 2
    if cell is not None:
        onto.add(name, walk(cell.last), store)
        onto.budget_usd = config.budget_usd
        onto.lacking |= dict.fromkeys(preflight.missing(config, to_do, []))
        return
    with suppress(UserError):  # what needs no model can be planned all the same: it costs money
        data = pipeline.build_cell(replace(config, until=Until.data), resolved)
        onto.add(name, walk(data.last), store)


def _laid_out(record: CellRecord, cell: pipeline.Cell, store: Store) -> CellRecord:
    """Say what the cell is made of, and where each part of it is or will be."""
    inputs = cell.parts
    annotations = {
        key: Folders(
            baseline=str(store.path(inputs[verdicts_of("baseline", key)])),
            sft=str(store.path(inputs[verdicts_of("sft", key)])),
        )
        for key in cell.judges
    }
    scores = None
    if "sft_metrics" in inputs:
        scores = Folders(
            baseline=str(store.path(inputs["baseline_metrics"])),
            sft=str(store.path(inputs["sft_metrics"])),
        )
    return replace(
        record,
        recipe=recipe_of(inputs, cell.judges),
        steps=steps_of(inputs["data"]),
        fingerprint=cell.result.fingerprint if cell.result else cell.last[0].fingerprint,
        stages={str(each): str(store.path(each)) for each in walk(cell.last)},
        annotations=annotations,
        scores=scores,
    )


def _built(record: CellRecord, cell: pipeline.Cell, store: Store) -> CellRecord:
    """Build the cell; return what is known then."""
    result = None
    with _live(cell, store):
        for stage in [cell.result] if cell.result else cell.last:
            folder = store.build(stage)
    if cell.result:
        result = read_result(folder / RESULT)
    else:
        made = ", ".join(str(store.path(stage)) for stage in cell.last)
        log.info(
            "stopped after %s, as until=%s asks: look into %s", record.until, record.until, made
        )
    record = _laid_out(record, cell, store)  # finished stages may have another label
    ledgers = {str(stage): store.path(stage) / LEDGER for stage in walk(cell.last)}
    costs: dict[str, Cost] = {}
    for name, path in ledgers.items():
        try:
            costs |= {name: cost_of(path)} if os.path.isfile(path) else {}
        except UserError as error:  # of a stage that nothing was made from just now
            log.warning("the cost of %s is not known: %s", name, error)
    record = replace(record, status="finished", exit_code=0, result=result, costs=costs)
    try:
        for stage in cell.last:
            if reason := wandb_run.not_sent(store.build(stage)):
                log.warning("the result is complete but not in Weights & Biases: %s", reason)
                record = replace(record, not_tracked=reason)
    except StageFailed as error:
        # The numbers are there and paid for: they do not depend on whether somebody logs them.
        log.warning("the result is complete but not tracked, run again to track it: %s", error)
        record = replace(record, not_tracked=str(error))
    return record


def _live(cell: pipeline.Cell, store: Store) -> AbstractContextManager[None]:
    """Show the training in Weights & Biases while it runs, if that is wanted and still to be."""
    (*_, last), sft = cell.last, cell.parts.get("sft")
    tracked = last.params.get("run")
    if sft is None or tracked is None or tracked.mode != "online" or store.is_finished(sft):
        return nullcontext()
    folders = [store.path(sft), store.work_dir(sft)]
    return wandb_run.live(tracked, last.settings["config"], folders)


def _looked_at(
    config: Config, resolved: dict[str, Any], store: Store
) -> tuple[pipeline.Cell | None, UserError | None, set[str], list[Callable[[], object]]]:
    """The cell or the first of its faults, what is to do, and the look-ups that name all faults."""
    to_do = set(UP_TO[config.until])
    if not arms.last_step(asdict(config.data)).wants("teacher"):
        to_do.remove("teacher")
    lookups, forecasts = pipeline.lookups(config), Forecasts(store)
    cell, fault, data = None, None, None
    try:
        cell = pipeline.build_cell(config, resolved)
        to_do, data = _to_do(walk(cell.last), store), cell.parts["data"]
        lookups += _checks(cell, store)
        # Reads what the steps will read: files, seeds, prompts.
        lookups.append(partial(forecasts.of, data))
    except UserError as error:
        fault = error
    if to_do & {"sft", "outputs"}:
        lookups.append(partial(preflight.try_rendering, config, data, store, forecasts))
    return cell, fault, to_do, lookups


def _ready(config: Config, resolved: dict[str, Any], store: Store) -> pipeline.Cell:
    """Lay out the cell; raise UserError with everything that its unfinished stages lack."""
    cell, fault, to_do, lookups = _looked_at(config, resolved, store)
    lacking = preflight.missing(config, to_do, lookups) if to_do else []
    if lacking:
        lines = ["before this can run it needs", *(f"  - {line}" for line in lacking)]
        if not config.model.source.startswith("embedded:"):
            lines.append("experiment=embedded runs anywhere as it is, without key, network or GPU")
        raise UserError("\n".join(lines))
    if fault is not None:
        raise fault
    assert cell is not None
    return cell


def _checks(cell: pipeline.Cell, store: Store) -> list[Callable[[], None]]:
    """Calls that refuse what is damaged of the finished stages that the cell goes on from."""
    return [partial(contents.check, folder) for folder in store.reads(cell.last)]


def _to_do(stages: Iterable[Stage], store: Store) -> set[str]:
    """The names of those that are not finished, and ``teacher`` if one of them asks it."""
    unfinished = [stage for stage in stages if not store.is_finished(stage)]
    asking = {"teacher"} if any("teacher" in stage.params for stage in unfinished) else set()
    return {stage.name for stage in unfinished} | asking


def _say(reason: str, logged: set[str]) -> None:
    """Log ``reason`` without the lines that are ``logged`` already."""
    new = [line for line in reason.splitlines() if line not in logged]
    logged.update(new)
    if new:
        log.error("%s", "\n".join(new))
