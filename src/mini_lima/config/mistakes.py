"""What a person got wrong on the command line or in a YAML file, in one line.

Hydra and OmegaConf know what is wrong and say it over many lines. What their exceptions carry as
attributes (key, option, override) becomes a line with what could stand there instead; everything
else is theirs, as one line.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from mini_lima.config.schema import Config
from mini_lima.errors import UserError
from mini_lima.sft import optimizers

OPEN = (optimizers.OPTIMIZER, optimizers.SCHEDULER)
"""Groups that take any key: which ones there are depends on ``type`` or ``_target_``."""

ALIKE = 0.8
"""How alike a suggestion must be: less than that, "online" would suggest "offline"."""

EXTRAS = {"hydra/launcher/submitit_slurm": "slurm", "hydra/sweeper/optuna": "optuna"}
"""What other packages bring, and with which optional dependencies of ours they come."""

NO_PACKAGE = "the first line of an experiment is # @package _global_"


class Refused(BaseException):
    """Carries an error out of a Hydra callback, where any Exception would become a warning."""

    def __init__(self, cause: Exception) -> None:
        """Carry ``cause``."""
        super().__init__(str(cause))
        self.cause = cause


def one_line(error: BaseException, given: Sequence[str] = ()) -> str | None:
    """Say in one line what is wrong with the configuration; None if that is not what failed.

    Args:
        error: What was raised.
        given: The command line, for what Hydra says without a place.
    """
    if isinstance(error, Refused):
        error = error.cause
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, yaml.YAMLError):
        mark: Any = getattr(error, "problem_mark", None)
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}not valid YAML: {getattr(error, 'problem', None) or _flat(str(error))}"
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].decode(errors="replace").rpartition("\n")[2]
        return f"a YAML file is not UTF-8: its line {line!r} goes on in another encoding"
    if isinstance(error, OverrideParseException):
        reason = _flat(error.message.partition("\nSee https")[0])
        return f"{error.override}: is not key=value ({reason}); quote special characters"
    if isinstance(error, MissingConfigException):
        return _option(error)
    if isinstance(error, OmegaConfBaseException):
        return _value(error)
    if isinstance(error, HydraException):
        return _composition(error)
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    # What Hydra says of what it was given is not all of a type of its own.
    module = trace.tb_frame.f_globals["__name__"] if trace else ""
    if module.partition(".")[0] not in ("hydra", "omegaconf"):
        return None
    return f"{_flat(str(error))}; given were {' '.join(given) or 'no overrides'}"


def no_such_key(key: str, beside: Sequence[str] = ()) -> str:
    """Say that ``key`` does not exist, and which one was perhaps meant.

    Args:
        key: Dotted, as it was written.
        beside: Dotted keys that there are besides the schema's.
    """
    above = key.rpartition(".")[0]
    if known().get(above) and is_table(above):
        return f"{key}: not there yet, and keys of {above} are yours to name: write +{key}=…"
    open_keys = [f"{group}.{name}" for group in OPEN for name in optimizers.keywords(group)]
    names = [*known(), *open_keys, "experiment", *beside]
    same = [each for each in names if _word(each) == _word(key)]
    near = get_close_matches(key, names, 1, ALIKE) or (
        get_close_matches(key, same, 1) if "." in key else same
    )
    if near:
        return f"{key}: no such key; did you mean {' or '.join(near)}?"
    group = key.rpartition(".")[0]
    there = [_word(each) for each in names if each.rpartition(".")[0] == group]
    has = f"{group} has" if there and group else "there are"
    return f"{key}: no such key; {has} {', '.join(there or Config.__dataclass_fields__)}"


@cache
def known() -> Mapping[str, Any]:
    """Every dotted key with the type of its value, groups included, in the schema's order."""
    return dict(_walk(Config, ""))


def is_table(key: str) -> bool:
    """Whether the keys below ``key`` are the person's own, such as names of models."""
    return get_origin(known()[key]) is dict


def _walk(schema: type, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(schema).items():
        yield f"{prefix}{name}", kind
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        for inner in kinds:
            if inner is not NoneType and is_dataclass(inner):
                assert isinstance(inner, type)
                yield from _walk(inner, f"{prefix}{name}.")


def _option(error: MissingConfigException) -> str:
    """A YAML file that is not there: nearly always an option of a group."""
    missing = error.missing_cfg_file or ""
    group, _, name = missing.rpartition("/")
    if extra := EXTRAS.get(missing):
        return f"{missing} is not installed: pip install -c constraints.txt -e '.[{extra}]'"
    if not error.options:
        return _flat(str(error).partition("Config search path")[0])
    near = get_close_matches(name, error.options, 2, ALIKE)
    perhaps = f"did you mean {near[0]}? " if len(near) == 1 else ""  # zero2 and zero3 are alike
    return f"{group}={name}: no such option; {perhaps}available: {', '.join(error.options)}"


def _composition(error: HydraException) -> str:
    """What Hydra could not compose: the file or override that it names, and its cause."""
    said = str(error)
    cause = error.__cause__ or error.__context__
    file = f"{said.partition(': ')[0]}: " if said.startswith("In '") else ""
    if "@experiment." in said:
        return f"{file}{NO_PACKAGE}"
    if isinstance(cause, OmegaConfBaseException):
        line = _value(cause)
        override = said.partition("\n")[0].removeprefix("Error merging override ")
        return f"{override}: {line}" if override in said[23:] else f"{file}{line}"
    return _flat(said)


def _value(error: OmegaConfBaseException) -> str:
    """A key or value that the schema refuses."""
    key, said = error.full_key or "", (error.msg or str(error)).strip().partition("\n")[0]
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        if key.partition(".")[0] == "experiment":
            return NO_PACKAGE
        parent, group = error.parent_node, key.rpartition(".")[0]
        there = list(map(str, parent)) if isinstance(parent, DictConfig) else []
        return no_such_key(key, [f"{group}.{each}" if group else each for each in there])
    return f"{key}: {said}" if key else said


def _word(key: str) -> str:
    return key.rpartition(".")[2]


def _flat(text: str) -> str:
    return " ".join(text.split())
