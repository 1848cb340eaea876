"""What a person got wrong on the command line or in a YAML file, in one line.

Hydra and OmegaConf know what is wrong and tell it over many lines, in words of their own classes.
Here it becomes: what was found, where, and what could stand there instead. Whatever has no better
words keeps theirs, shortened to a line.
"""

import re
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from mini_lima.config import keys
from mini_lima.errors import UserError

OPTION_ALIKE = 0.75
"""Options are alike by nature (zero2, zero3): worth a guess is a close one that stands alone."""

ALSO_CALLED = {("tracking", "online"): "wandb"}
"""What is meant where the option that is spelt alike would be the opposite."""

EXTRAS = {"hydra/launcher/submitit_slurm": "slurm", "hydra/sweeper/optuna": "optuna"}
"""What other packages bring, and with which optional dependencies of ours they come."""

NO_PACKAGE = "the first line of an experiment is # @package _global_"


class Refused(BaseException):
    """Carries an error out of a Hydra callback, where any Exception would become a warning."""

    def __init__(self, cause: Exception) -> None:
        """Carry ``cause``."""
        super().__init__(str(cause))
        self.cause = cause


def one_line(error: BaseException) -> str | None:
    """Say in one line what is wrong with the configuration; None if that is not what failed."""
    if isinstance(error, Refused):
        error = error.cause
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, yaml.YAMLError):
        return _yaml(error)
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].decode(errors="replace").rpartition("\n")[2]
        return f"a YAML file is not UTF-8: its line {line!r} goes on in another encoding"
    if isinstance(error, OverrideParseException):
        return _override(error)
    if isinstance(error, MissingConfigException):
        return _option(error)
    if isinstance(error, OmegaConfBaseException):
        return _value(error)
    if isinstance(error, HydraException):
        return _composition(error)
    return _bare(error)


def _yaml(error: yaml.YAMLError) -> str:
    mark: Any = getattr(error, "problem_mark", None)
    where = f"{mark.name}:{mark.line + 1}: " if mark else ""
    return f"{where}not valid YAML: {getattr(error, 'problem', None) or _flat(str(error))}"


def _override(error: OverrideParseException) -> str:
    if "=" not in error.override:
        return f"{error.override}: an override is written key=value or group=option"
    reason = _flat(error.message.partition("\nSee https")[0])
    return f"{error.override}: cannot be read ({reason}); quote special characters: \"key='value'\""


def _option(error: MissingConfigException) -> str:
    """A YAML file that is not there: nearly always an option of a group."""
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    if extra := EXTRAS.get(error.missing_cfg_file or ""):
        return f"{_file(error)}it is not installed: pip install -c constraints.txt -e '.[{extra}]'"
    if not group:
        return _flat(re.split(r"\n(Config s|S)earch path", str(error))[0])
    options = list(error.options or _options(str(error), group))
    if not options:
        return _file(error) + keys.no_such_key(group)
    alias = ALSO_CALLED.get((group, name))
    meant = [alias] if alias else get_close_matches(name, options, 2, OPTION_ALIKE)
    perhaps = f"did you mean {meant[0]}? " if len(meant) == 1 else ""
    # Hydra blames these two for what the command line asked for.
    where = _file(error, besides=("config", "hydra/config"))
    return f"{where}{group}={name}: no such option; {perhaps}available: {', '.join(options)}"


def _options(message: str, group: str) -> Sequence[str]:
    """The options of a group, for the errors that do not list them but say where they looked."""
    folders = [Path(found) for found in re.findall(r"path=file://(.+)", message)]
    return sorted({each.stem for folder in folders for each in (folder / group).glob("*.yaml")})


def _composition(error: HydraException) -> str:
    said = str(error)
    cause = error.__cause__ or error.__context__
    if found := re.match(r"Ambiguous value for argument '(.+)'\n", said):
        return f"{found[1]}: add --multirun to try each of these values, or write a list as [a,b]"
    if re.search(r"Could not override '.+@experiment\.", said):
        return _file(error) + NO_PACKAGE
    if found := re.search(r"Could not override '([^'@]+)'", said):
        return _file(error) + _no_such_key(found[1], cause)
    if found := re.match(r"Multiple values for (.+?)\. To override", said):
        return (
            f"{found[1]} is chosen twice: write {found[1]}=… without + on the command line, or"
            f" override /{found[1]}: … in the defaults of a YAML file"
        )
    if isinstance(cause, OmegaConfBaseException):
        found = re.match(r"Error merging override (.+)", said)
        return _file(error) + _value(cause, found[1] if found else "")
    return _flat(said)


def _value(error: OmegaConfBaseException, override: str = "") -> str:
    """A key or value that the schema refuses; ``override`` is how the command line gave it."""
    key, said = error.full_key or "", (error.msg or str(error)).strip().partition("\n")[0]
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        if key.partition(".")[0] == "experiment":
            return NO_PACKAGE
        return _no_such_key(key, error)
    value = str(error.value)
    if found := re.search(r"is not a subclass of (\w+)\. value: (.*)", said):
        key, value = keys.group_of_type(found[1]) or key, found[2]
    must_be = keys.expected(key)
    interpolated = isinstance(error, InterpolationResolutionError)
    if must_be is None or interpolated or not isinstance(error, ValidationError):
        said = re.sub(r"^.* raised while resolving interpolation: ", "", said).strip('"')
        said = "a list stands where keys should" if "with ListConfig" in said else said
        return ": ".join(filter(None, [override or key, said]))
    given = override or f"{key}={'null' if value == 'None' else value}"
    return f"{given}: {'' if given.startswith(f'{key}=') else f'{key} '}must be {must_be}"


def _no_such_key(key: str, error: BaseException | None) -> str:
    """As `keys.no_such_key`; beside one of Hydra's own, or a person's, stand those there are."""
    parent = getattr(error, "parent_node", None)
    if not isinstance(parent, DictConfig) or not (key.startswith("hydra.") or keys.in_table(key)):
        return keys.no_such_key(key)
    parts, failed = key.split("."), str(getattr(error, "key", ""))
    wrong = ".".join(parts[: parts.index(failed) + 1]) if failed in parts else key
    group = wrong.rpartition(".")[0]
    said = keys.no_such_key(wrong, [f"{group}.{each}" for each in map(str, parent)])
    return f"{said}; +{key}=… adds it" if keys.in_table(key) else said


def _file(error: HydraException, besides: Sequence[str] = ()) -> str:
    """The YAML file that Hydra was reading, except where it names it for want of a better one."""
    found = re.match(r"In '(.+?)': ", str(error))
    return f"{found[1]}.yaml: " if found and found[1] not in besides else ""


def _bare(error: BaseException) -> str | None:
    """Hydra's complaints about what it was given are not all of a type of its own."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or not re.match(r"(hydra|omegaconf)\b", frames[-1].f_globals["__name__"]):
        return None
    overrides = [getattr(frame.f_locals.get("override"), "input_line", None) for frame in frames]
    if "NoneType" in str(error) and (override := next(filter(None, overrides), None)):
        group = override.partition("=")[0].rpartition(".")[0]
        return f"{override}: {group} is null here: choose an option that has it, or use a YAML file"
    if override := overrides[-1]:
        return f"{override}: must be the name of an option; --help lists them"
    return _flat(str(error))


def _flat(text: str) -> str:
    return " ".join(text.split())
