"""Functions that the configuration names: ``_target_`` and the keywords beside it, Hydra's idiom.

An arm's step, a metric or a judge is a plain function in whatever package; this is where its name
becomes the function, and where everything that can be wrong with name and keywords is said, before
any work or spending. What a function takes, and within which range, stands in its signature alone:

    def halve(data: Sequence[Example], *, ratio: Annotated[float, Interval(gt=0, lt=1)]): ...

Other keywords are the framework's to give (``output_dir``, ``data``): they are asked for by name.
"""

import hashlib
import importlib
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard, get_args, get_type_hints

from mini_lima.errors import UserError
from mini_lima.store.fingerprint import dotted_name

TARGET = "_target_"
OURS = __name__.partition(".")[0]


@dataclass(frozen=True)
class Target:
    """A function with the keywords that the configuration gives it.

    Attributes:
        where: The key under which it is configured, such as ``data.steps.halve``.
        name: Its dotted name: the shortest under which it can be imported.
        function: It.
        keywords: Checked against its signature.
    """

    where: str
    name: str
    function: Callable[..., Any]
    keywords: Mapping[str, Any]

    @property
    def wants(self) -> frozenset[str]:
        """The keywords that it takes and the configuration does not give."""
        return frozenset(_parameters(self.function)) - set(self.keywords)

    @cached_property
    def code(self) -> str | None:
        """The sha256 of the file that a function of somebody else's is in; None for ours.

        Our functions are versioned by hand. Whoever experiments with one of their own edits it and
        runs again, and must not get what the earlier one has made.
        """
        if self.function.__module__.partition(".")[0] == OURS:
            return None
        file = inspect.getsourcefile(self.function)
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()


def load(
    where: str,
    given: Mapping[str, Any],
    *,
    provided: Collection[str] = (),
    classes: bool = False,
) -> Target:
    """Find the function that ``given`` names and check the keywords for it.

    Args:
        where: The key under which it is configured, for what is said about it.
        given: ``_target_`` and keywords; keys that begin with an underscore are not the function's.
        provided: Keywords that are not configured but handed over where the function takes them.
        classes: Whether a class will do.

    Raises:
        UserError: no such function, or keywords that it does not take, lacks, or cannot use.
    """
    function = find(where, given.get(TARGET), classes=classes)
    keywords = {key: value for key, value in given.items() if not key.startswith("_")}
    return Target(
        where, dotted_name(function), function, checked(where, function, keywords, provided)
    )


def find(where: str, name: object, *, classes: bool = False) -> Callable[..., Any]:
    """Import the function, or the class if ``classes`` will do, with the dotted ``name``.

    Raises:
        UserError: there is none, or its module fails.
    """
    if not isinstance(name, str) or "." not in name:
        raise UserError(
            f"{where}.{TARGET}: must be the dotted name of a function, such as my_arms.halve;"
            f" found {name!r}"
        )
    module = name
    attributes: list[str] = []
    while True:
        try:
            found: Any = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            module, _, last = module.rpartition(".")
            attributes.insert(0, last)
            missing = error.name or ""
            if not module or not (name == missing or name.startswith(f"{missing}.")):
                raise UserError(f"{where}.{TARGET}={name}: {_no_module(name, missing)}") from error
        except Exception as error:
            raise UserError(
                f"{where}.{TARGET}={name}: its module fails: {type(error).__name__}: {error}"
            ) from error
    for attribute in attributes:
        if not hasattr(found, attribute):
            there = [each for each, value in vars(found).items() if _callable(value, classes)]
            near = get_close_matches(attribute, there, 1)
            perhaps = f"; did you mean {near[0]}?" if near else ""
            raise UserError(
                f"{where}.{TARGET}={name}: {found.__name__} has no {attribute}{perhaps}"
            )
        found = getattr(found, attribute)
    if not _callable(found, classes):
        raise UserError(f"{where}.{TARGET}={name}: is no function but a {type(found).__name__}")
    return found


def _callable(found: object, classes: bool) -> TypeGuard[Callable[..., Any]]:
    return inspect.isfunction(found) or (classes and inspect.isclass(found))


def _no_module(name: str, missing: str) -> str:
    if name == missing or name.startswith(f"{missing}."):
        return (
            f"there is no module {missing}: install it, or start where its folder lies"
            " (PYTHONPATH works too)"
        )
    return f"its module needs {missing}, which is not installed"


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return {
        name: each
        for name, each in inspect.signature(function).parameters.items()
        if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
    }


def checked(
    where: str,
    function: Callable[..., Any],
    keywords: Mapping[str, Any],
    provided: Collection[str] = (),
    *,
    called: str | None = None,
) -> dict[str, Any]:
    """Return ``keywords`` as the annotations of ``function`` have them.

    Args:
        where: The key under which they are configured.
        function: Whose they are.
        keywords: The configured ones.
        provided: Those that will be handed over.
        called: What people call the function; None: its dotted name.

    Raises:
        UserError: the first that does not fit.
    """
    called = called or dotted_name(function)
    taken = _parameters(function)
    kinds = {each.kind for each in inspect.signature(function).parameters.values()}
    own = [name for name in taken if name not in provided]
    for name in keywords:
        if name not in own and (name in taken or inspect.Parameter.VAR_KEYWORD not in kinds):
            raise UserError(f"{where}.{name}: {called} has {_no_such(name, own)}")
    lacking = [n for n in own if n not in keywords and taken[n].default is inspect.Parameter.empty]
    if lacking:
        given = f" (it is given {', '.join(provided)})" if provided else ""
        raise UserError(f"{where}.{lacking[0]} has no value: {called} needs it{given}")
    hints = _hints(function)
    return {
        name: _value(f"{where}.{name}", value, hints.get(name)) for name, value in keywords.items()
    }


def _no_such(name: str, there_are: Sequence[str]) -> str:
    near = get_close_matches(name, there_are, 1)
    perhaps = f"did you mean {near[0]}?" if near else f"it takes {', '.join(there_are) or 'none'}"
    return f"no such keyword; {perhaps}"


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of ``function``, or of what makes an instance of a class."""
    try:
        return get_type_hints(
            function.__init__ if inspect.isclass(function) else function, include_extras=True
        )
    except NameError:  # names that other people's modules know only while they are type-checked
        return {}


def _value(where: str, value: Any, hint: Any) -> Any:
    """Return ``value`` as ``hint`` says it must be: an annotated type, with its range.

    A type of which pydantic knows nothing, such as a tensor, is left to the function itself.
    """
    if hint is None:
        return value
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    for kind in (hint, *get_args(hint)):
        if is_dataclass(kind) and isinstance(value, Mapping):
            names = [each.name for each in fields(kind)]
            if unknown := [key for key in value if key not in names]:
                raise UserError(f"{where}.{unknown[0]}: {_no_such(unknown[0], names)}")
    try:
        found = TypeAdapter(hint).validate_python(value)
        if isinstance(value, bool) and not isinstance(found, bool):
            raise UserError(f"{where}={str(value).lower()}: must be a number")
        for each in found if isinstance(found, list | tuple) else [found]:
            if isinstance(each, float) and not math.isfinite(each):
                raise UserError(f"{where}={value}: must be a finite number")
        return found
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        inner = "".join(f".{part}" for part in first["loc"] if not isinstance(part, int))
        shown = str(first["input"] if inner else value)[:60]
        raise UserError(
            f"{where}{inner}={shown}: {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None
