"""What ``optimizer=`` and ``scheduler=`` name, and the keywords beside the name.

Either a type of DeepSpeed's (``type: Lion``) or a class or function of anybody's (``_target_:
torch.optim.RMSprop``): an optimizer takes the parameters first and returns a torch Optimizer, a
scheduler takes the optimizer first, and ``total_steps`` if it wants to, and returns a torch
LRScheduler.

Of DeepSpeed's types, what stands in a signature here is what can be configured: DeepSpeed's
keywords, less those that follow from others (``warmup_max_lr`` is the optimizer's ``lr``,
``total_num_steps`` that of the training). Defaults are DeepSpeed's, and written out, since a
library's may change; None leaves a keyword out.

The process that holds the configuration does not import torch, and what is named may do so. It is
therefore tried in a process of its own (`mini_lima.sft.trial`), before anything is paid for.
"""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

from mini_lima.errors import UserError
from mini_lima.store import targets
from mini_lima.store.targets import TARGET

OPTIMIZER, SCHEDULER = "optimizer", "scheduler"
GIVEN_ELSEWHERE = {
    "params": "write DeepSpeed's params beside type, as {where}.lr=…",
    "warmup_max_lr": "the highest rate is optimizer.lr",
    "total_num_steps": "it is computed from epochs, examples and global batch",
}


STATE_AT_ONCE = (
    "it has a state before its first step, which DeepSpeed's ZeRO-3 (and its ZeRO-1 in bf16) does"
    " not take up from a checkpoint: choose deepspeed=zero2 or zero2_offload"
)


@dataclass(frozen=True)
class Choice:
    """An optimizer or a scheduler with its keywords; made of JSON types.

    Attributes:
        params: The keywords, checked.
        type: DeepSpeed's name of it.
        target: The dotted name of a class or function, where it is not DeepSpeed's.
        code: The sha256 of the file that this is in.
    """

    params: Mapping[str, Any]
    type: str | None = None
    target: str | None = None
    code: str | None = None

    def is_torchs_adam(self, *, offload: bool) -> bool:
        """Whether it is torch's Adam: DeepSpeed's own is the one for the host's memory.

        Args:
            offload: Whether its states are in the host's memory.
        """
        torchs = not offload or bool(self.params.get("torch_adam"))
        return self.type in ("AdamW", "Adam") and torchs

    def builders(self, *, offload: bool, device: str) -> list[str]:
        """Return DeepSpeed's builders of the extensions that a training on ``device`` needs."""
        needed = ["ShareMemCommBuilder"] if device == "cpu" else []
        if self.type is not None and not self.is_torchs_adam(offload=offload):
            kind = OPTIMIZERS[self.type]
            builder = kind.offloaded if offload else kind.beside
            needed += [builder] if builder else []
        return needed


@dataclass(frozen=True)
class Place:
    """Where an optimizer is to work.

    Attributes:
        zero_stage: DeepSpeed's.
        offload: Whether its states are in the host's memory.
        precision: ``fp32`` or ``bf16``.
        device: What the model is on: ``cpu`` or ``cuda``.
    """

    zero_stage: int
    offload: bool
    precision: str
    device: str

    @property
    def resumes_lazy_state(self) -> bool:
        """Whether DeepSpeed takes up an optimizer's state only if there was none at first."""
        return self.zero_stage == 3 or (
            self.zero_stage == 1 and self.precision == "bf16" and not self.offload
        )


Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Betas = tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]]
Steps = Annotated[int, Ge(1)]
WarmupType = Literal["log", "linear"]


@dataclass(frozen=True)
class Kind:
    """A type of optimizer.

    Attributes:
        takes: Function whose signature is what can be configured.
        offloaded: DeepSpeed's builder of the extension that it needs in the host's memory; None:
            it is torch's, and needs none.
        beside: The same where the optimizer is beside the parameters.
        on_cpu: Whether there is one beside parameters on a CPU.
        state_at_once: Whether beside the parameters it has a state before its first step.
        tested: Whether DeepSpeed knows of it that ZeRO may shard it; otherwise it is to be told so.
    """

    takes: Callable[..., None]
    offloaded: str | None = None
    beside: str | None = None
    on_cpu: bool = True
    state_at_once: bool = False
    tested: bool = True


def _adamw(
    *,
    lr: Positive,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NotNegative = 0.0,
    torch_adam: bool | None = None,
) -> None:
    """Adam with decoupled weight decay; ``torch_adam`` takes torch's where states are offloaded."""


def _adam(
    *,
    lr: Positive,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NotNegative = 0.0,
    adam_w_mode: bool = False,
    torch_adam: bool | None = None,
) -> None:
    """Adam with L2 regularisation; with ``adam_w_mode``, DeepSpeed's own default, it is AdamW."""


def _lion(
    *, lr: Positive, betas: Betas = (0.9, 0.999), weight_decay: NotNegative = 0.0
) -> None: ...


def _adagrad(*, lr: Positive, eps: Positive = 1e-10, weight_decay: NotNegative = 0.0) -> None: ...


def _sgd(
    *,
    lr: Positive,
    momentum: Share = 0.0,
    dampening: Share = 0.0,
    weight_decay: NotNegative = 0.0,
    nesterov: bool = False,
) -> None: ...


OPTIMIZERS: Mapping[str, Kind] = {
    "AdamW": Kind(_adamw, offloaded="CPUAdamBuilder"),
    "Adam": Kind(_adam, offloaded="CPUAdamBuilder"),
    "Lion": Kind(_lion, "CPULionBuilder", "FusedLionBuilder", on_cpu=False),
    "Adagrad": Kind(_adagrad, offloaded="CPUAdagradBuilder", state_at_once=True),
    "SGD": Kind(_sgd, tested=False),
}
"""Not among them: Lamb, which looks at whole tensors where ZeRO has none; Muon; and MuAdam, MuAdamW
and MuSGD, which need a model that the package mup has made."""


def _warmup(
    *,
    warmup_min_lr: NotNegative = 0.0,
    warmup_num_steps: Steps = 1000,
    warmup_type: WarmupType = "log",
) -> None: ...


def _warmup_cosine(
    *,
    warmup_min_ratio: Share = 0.0,
    warmup_num_steps: Steps = 1000,
    cos_min_ratio: Share = 0.0001,
    warmup_type: WarmupType = "log",
) -> None: ...


SCHEDULERS: Mapping[str, Callable[..., None]] = {
    "WarmupLR": _warmup,
    "WarmupDecayLR": _warmup,
    "WarmupCosineLR": _warmup_cosine,
}
HIGHEST_RATE = ("WarmupLR", "WarmupDecayLR")
"""Take it as ``warmup_max_lr``; the cosine scales the optimizer's own."""
WHOLE_TRAINING = ("WarmupDecayLR", "WarmupCosineLR")
"""Take its steps as ``total_num_steps``."""


def faults(
    optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], place: Place
) -> Iterator[str]:
    """Say, each in one line, what is wrong with two groups of the configuration.

    Of a ``_target_`` only its form, and whether its package is installed; `chosen` tries it.

    Args:
        optimizer: The group: ``type`` or ``_target_``, and keywords.
        scheduler: The same.
        place: Where they are to work.
    """
    for where, given in ((OPTIMIZER, optimizer), (SCHEDULER, scheduler)):
        try:
            read = _read(where, given)
        except UserError as error:
            yield str(error)
        else:
            if where == OPTIMIZER:
                yield from _optimizer_faults(read, place)


def chosen(
    optimizer: Mapping[str, Any], scheduler: Mapping[str, Any], place: Place
) -> tuple[Choice, Choice]:
    """Return what two groups of the configuration choose, once what is not DeepSpeed's was tried.

    Args:
        optimizer: The group, without `faults`.
        scheduler: The same.
        place: Where they are to work.

    Raises:
        UserError: it cannot be imported, does not take the keywords, or does not do what an
            optimizer or a scheduler must.
    """
    read = _read(OPTIMIZER, optimizer), _read(SCHEDULER, scheduler)
    if not any(each.target for each in read):
        return read
    question = {OPTIMIZER: read[0], SCHEDULER: read[1], "place": place}
    answer = _tried(json.dumps(question, sort_keys=True, default=asdict))
    return Choice(**answer[OPTIMIZER]), Choice(**answer[SCHEDULER])


def keywords(where: str) -> list[str]:
    """Return every keyword that some type of the group ``where`` takes."""
    found = [
        name for takes in types(where).values() for name in inspect.signature(takes).parameters
    ]
    return ["type", TARGET, *dict.fromkeys(found)]


def make_optimizer(choice: Choice, parameters: Any) -> Any:
    """Call the ``target`` of ``choice`` on ``parameters``: torch parameters, or groups of them."""
    target = _load(OPTIMIZER, choice, ())
    return target.function(parameters, **target.keywords)


def make_scheduler(choice: Choice, optimizer: Any, total_steps: int) -> Any:
    """Call the ``target`` of ``choice`` on ``optimizer``, for a training of ``total_steps``."""
    target = _load(SCHEDULER, choice, ("total_steps",))
    steps = {"total_steps": total_steps} if "total_steps" in target.wants else {}
    return target.function(optimizer, **steps, **target.keywords)


def found(where: str, choice: Choice) -> Choice:
    """Return ``choice`` under the name and with the code of what its ``target`` turns out to be.

    Raises:
        UserError: as for `mini_lima.store.targets.load`.
    """
    if choice.target is None:
        return choice
    target = _load(where, choice, ("total_steps",) if where == SCHEDULER else ())
    return Choice(params=choice.params, target=target.name, code=target.code)


def _load(where: str, choice: Choice, provided: tuple[str, ...]) -> targets.Target:
    function = targets.find(where, choice.target, classes=True)
    first = next(iter(inspect.signature(function).parameters), None)
    if first is None:
        what = "the parameters" if where == OPTIMIZER else "the optimizer"
        raise UserError(
            f"{where}.{TARGET}={choice.target}: must take {what} first, and takes nothing"
        )
    given = {TARGET: choice.target, **choice.params}
    return targets.load(where, given, provided=(first, *provided), classes=True)


def _read(where: str, given: Mapping[str, Any]) -> Choice:
    own = dict(given)
    kind, target = own.pop("type", None), own.pop(TARGET, None)
    if (kind is None) == (target is None):
        raise UserError(
            f"{where}: give type, a name of DeepSpeed's, or {TARGET}, that of a class or function"
            f"{', and not both' if kind else ''}"
        )
    if target is not None:
        return _named(where, target, own)
    takes = types(where).get(kind) if isinstance(kind, str) else None
    if takes is None:
        raise UserError(f"{where}.type={kind}: {_no_such_type(where, kind)}")
    for key in sorted(GIVEN_ELSEWHERE.keys() & own.keys()):
        raise UserError(f"{where}.{key}: {GIVEN_ELSEWHERE[key].format(where=where)}")
    if where == OPTIMIZER:
        for key in sorted(own.keys() & keywords(SCHEDULER)):
            raise UserError(f"optimizer.{key}: no such key; did you mean scheduler.{key}?")
    own = {name: value for name, value in own.items() if value is not None}
    checked = targets.checked(where, takes, own, called=kind)
    params = {
        name: checked.get(name, each.default)
        for name, each in inspect.signature(takes).parameters.items()
    }
    in_json = {n: list(v) if isinstance(v, tuple) else v for n, v in params.items()}
    return Choice({n: v for n, v in in_json.items() if v is not None}, type=kind)


def types(where: str) -> Mapping[str, Callable[..., None]]:
    """Return DeepSpeed's types of the group ``where``, with functions that take their keywords."""
    if where == SCHEDULER:
        return SCHEDULERS
    return {name: each.takes for name, each in OPTIMIZERS.items()}


def _no_such_type(where: str, kind: object) -> str:
    names = {name.lower(): name for name in types(where)}
    if near := get_close_matches(str(kind).lower(), names, 1, 0.75):
        return f"did you mean {names[near[0]]}?"
    example = "torch.optim.RMSprop" if where == OPTIMIZER else "torch.optim.lr_scheduler.OneCycleLR"
    return (
        f"of DeepSpeed's there are {', '.join(names.values())}; any other is given by its dotted"
        f" name, as {where}=custom {where}.{TARGET}={example}"
    )


def _named(where: str, target: object, own: Mapping[str, Any]) -> Choice:
    """Check what can be checked of a dotted name without importing anything."""
    if not isinstance(target, str) or not all(each.isidentifier() for each in target.split(".")):
        raise UserError(
            f"{where}.{TARGET}={target}: must be the dotted name of a class or function"
        )
    package, _, rest = target.partition(".")
    if not rest or find_spec(package) is None:
        raise UserError(
            f"{where}.{TARGET}={target}: there is no module {package}: install it, or start where"
            " its folder lies (PYTHONPATH works too)"
        )
    if where == OPTIMIZER:
        rate = {key: value for key, value in own.items() if key == "lr"}
        targets.checked(where, _rated, rate, called="every optimizer")
    return Choice(dict(own), target=target)


def _rated(*, lr: Positive) -> None:
    """The rate is the schedulers' too."""


def _optimizer_faults(choice: Choice, place: Place) -> Iterator[str]:
    made = OPTIMIZERS.get(choice.type or "")
    beside = made is not None and not place.offload
    if made and beside and place.device == "cpu" and not made.on_cpu:
        yield (
            f"optimizer.type={choice.type} on a {place.device}: DeepSpeed has it for an offloaded"
            " optimizer alone; choose deepspeed=zero2_offload or zero3_offload"
        )
    if made and beside and made.state_at_once and place.resumes_lazy_state:
        yield f"optimizer.type={choice.type}: {STATE_AT_ONCE}"
    params = choice.params
    simple = choice.type == "SGD" and (not params["momentum"] or params["dampening"])
    if simple and params["nesterov"]:
        yield "optimizer.nesterov=true: needs optimizer.momentum above 0 and no dampening"


@cache
def _tried(question: str) -> dict[str, Any]:
    """Have a process of its own answer ``question``, once."""
    command = [sys.executable, "-m", "mini_lima.sft.trial", question]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    try:
        answer: dict[str, Any] = json.loads(ended.stdout.rstrip().rpartition("\n")[2])
    except ValueError:
        said = ended.stderr.strip().rpartition("\n")[2] or f"exit code {ended.returncode}"
        names = [json.loads(question)[each]["target"] for each in (OPTIMIZER, SCHEDULER)]
        raise UserError(f"{' and '.join(filter(None, names))} cannot be tried: {said}") from None
    if fault := answer.get("fault"):
        raise UserError(fault)
    return answer
