"""An arm, out of the configuration: its steps with what each of them reads, checked.

    data:
      steps:                       in order; each reads the one before it
        self_instruct: {_target_: mini_lima.data.self_instruct, …}
        halve: {_target_: my_arms.halve, ratio: 0.5}
      others:                      other arms that a step reads too, such as match and mix
        naive: {steps: …}

A step reads the one before it as ``data``, if its function has a keyword of that name. ``_inputs_``
says what else it reads: ``{other: self_instruct}`` names an earlier step of the arm, or one of
``others``. A keyword that the function annotates as a path is a file, given as a source. A step
that is null is left out.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from mini_lima.data.steps import GIVEN, has_forecast
from mini_lima.errors import UserError
from mini_lima.store.targets import Target, find, load

DATA = "data"
INPUTS = "_inputs_"
SETTINGS = ("_target_", INPUTS)


@dataclass(frozen=True)
class Step:
    """A step of an arm.

    Attributes:
        name: What the arm calls it.
        target: Its function, with the keywords that it is configured with.
        inputs: The steps whose data sets it reads, by keyword; the first is the one it changes.
        files: Sources of the files that it reads, by keyword.
        seeds: Where the arm's seed tasks are, with their sha256.
    """

    name: str
    target: Target
    inputs: Mapping[str, "Step"] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    seeds: tuple[str | None, str | None] = (None, None)

    def all(self) -> dict[int, "Step"]:
        """Return it and all that it is made from, earlier ones first, by identity."""
        found: dict[int, Step] = {}
        for before in self.inputs.values():
            found |= before.all()
        return {**found, id(self): self}

    def wants(self, keyword: str) -> bool:
        """Whether it, or a step that it is made from, asks for ``keyword``."""
        return any(keyword in each.target.wants for each in self.all().values())


def last_step(data: Mapping[str, Any], where: str = "data") -> Step:
    """Return the step whose data set is the arm's.

    Args:
        data: The group ``data`` as plain data.
        where: Its key.

    Raises:
        UserError: the first thing that is wrong with them.
    """
    others = {
        name: last_step(given, f"{where}.others.{name}")
        for name, given in (data.get("others") or {}).items()
        if given is not None
    }
    given = {name: step for name, step in (data.get("steps") or {}).items() if step is not None}
    if not given:
        raise UserError(f"{where}.steps: has no step; the first makes the examples")
    seeds = (data.get("seeds"), data.get("seeds_sha256"))
    steps: dict[str, Step] = {}
    used: set[str] = set()
    for name, configured in given.items():
        step = _step(f"{where}.steps.{name}", name, configured, {**others, **steps}, steps, seeds)
        used |= {each.name for each in step.inputs.values()}
        steps[name] = step
    *before, last = steps
    if idle := [name for name in before if name not in used]:
        raise UserError(
            f"{where}.steps.{idle[0]}: no later step reads it; give the next one a keyword data,"
            f" name it in {INPUTS}, or leave it out with {where}.steps.{idle[0]}=null"
        )
    return steps[last]


def _step(
    key: str,
    name: str,
    configured: Any,
    there: Mapping[str, Step],
    earlier: Mapping[str, Step],
    seeds: tuple[str | None, str | None],
) -> Step:
    if not isinstance(configured, Mapping):
        raise UserError(f"{key}: must be _target_ and keywords, found {configured!r:.60}")
    if unknown := [k for k in configured if k.startswith("_") and k not in SETTINGS]:
        raise UserError(
            f"{key}.{unknown[0]}: no such key; besides keywords there are _target_, _inputs_"
        )
    function = find(key, configured.get("_target_"))
    parameters = inspect.signature(function).parameters
    named = configured.get(INPUTS) or {}
    if not isinstance(named, Mapping) or not all(isinstance(each, str) for each in named.values()):
        raise UserError(
            f"{key}.{INPUTS}={named!r:.60}: must say for a keyword which data set it is, such as"
            " {other: self_instruct}"
        )
    inputs: dict[str, Step] = {}
    if DATA in parameters and DATA not in named:
        if not earlier:
            raise UserError(f"{key}: it changes a data set, and no step before it makes one")
        inputs[DATA] = [*earlier.values()][-1]
    for keyword, source in named.items():
        if keyword not in parameters:
            raise UserError(
                f"{key}.{INPUTS}.{keyword}: the function {configured['_target_']} has no such"
                f" keyword; it has {', '.join(parameters)}"
            )
        if source not in there:
            raise UserError(
                f"{key}.{INPUTS}.{keyword}={source}: neither an earlier step nor one of"
                f" data.others; there are {', '.join(there) or 'none'}"
            )
        inputs[keyword] = there[source]
    paths = [each for each in _paths(function) if each not in (*inputs, *GIVEN)]
    for keyword in paths:
        if keyword not in configured and parameters[keyword].default is inspect.Parameter.empty:
            raise UserError(
                f"{key}.{keyword} has no value: give a file, or another data set by the name of an"
                f" earlier step or of one of data.others in {key}.{INPUTS}.{keyword}"
            )
    files = {keyword: configured[keyword] for keyword in paths if keyword in configured}
    for keyword, source in files.items():
        if source is not None and not isinstance(source, str):
            raise UserError(
                f"{key}.{keyword}={source!r:.60}: must be a file: a path, embedded:… or hub:…"
            )
    settings = {k: v for k, v in configured.items() if k not in files and k != INPUTS}
    present = [keyword for keyword, source in files.items() if source is not None]
    target = load(key, settings, provided=(*GIVEN, *inputs, *present))
    if "teacher" in target.wants and not has_forecast(function):
        raise UserError(
            f"{key}: {target.name} asks a teacher and does not say what it will ask, so that"
            " nothing can be planned: decorate it with mini_lima.data.steps.forecast_by"
        )
    if "seeds" in target.wants and seeds[0] is None:
        raise UserError(f"data.seeds has no value, and {key} reads seed tasks: give data.seeds=…")
    return Step(name, target, inputs, {k: files[k] for k in present}, seeds)


def _paths(function: Callable[..., Any]) -> Iterator[str]:
    """The keywords that ``function`` annotates as paths, whether they may be None or not."""
    for keyword, hint in get_type_hints(function).items():
        if hint is Path or Path in get_args(hint):
            yield keyword
