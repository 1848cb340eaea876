"""DeepSpeed's own optimizers and schedulers: what each takes, what it is made of, where it works.

Their names are those of ``type`` in DeepSpeed's JSON configuration. What stands in a signature
here is what can be configured: DeepSpeed's keywords, less those that follow from others
(``warmup_max_lr`` is the optimizer's ``lr``, ``total_num_steps`` that of the training). Defaults
are DeepSpeed's, and written out, since a library's may change; None leaves a keyword out.

Torch and DeepSpeed are not imported: a configuration is checked without them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Betas = tuple[Annotated[float, Interval(ge=0, lt=1)], Annotated[float, Interval(ge=0, lt=1)]]
Steps = Annotated[int, Ge(1)]
WarmupType = Literal["log", "linear"]


@dataclass(frozen=True)
class Implementation:
    """A class that DeepSpeed makes of an optimizer's type.

    Attributes:
        name: The class's.
        builder: DeepSpeed's builder of the extension that it needs; None: it needs none.
        on: The devices on which there is such a class.
        state_at_once: Whether it has a state before its first step.
    """

    name: str
    builder: str | None = None
    on: tuple[str, ...] = ("cuda", "cpu")
    state_at_once: bool = False


@dataclass(frozen=True)
class Kind:
    """A type of optimizer.

    Attributes:
        takes: Function whose signature is what can be configured.
        offloaded: What it is where the optimizer is in the host's memory.
        beside: What it is where the optimizer is beside the parameters.
        tested: Whether DeepSpeed knows of it that ZeRO may shard it; otherwise it is to be told so.
    """

    takes: Callable[..., None]
    offloaded: Implementation
    beside: Implementation
    tested: bool = True


def _adamw(
    *,
    lr: Positive,
    betas: Betas = (0.9, 0.999),
    eps: Positive = 1e-8,
    weight_decay: NotNegative = 0.0,
    torch_adam: bool | None = None,
) -> None:
    """Adam with decoupled weight decay; ``torch_adam`` takes torch's and compiles nothing."""


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


_CPU_ADAM = Implementation("DeepSpeedCPUAdam", "CPUAdamBuilder")
_FUSED_ADAM = Implementation("FusedAdam", "FusedAdamBuilder")

OPTIMIZERS: Mapping[str, Kind] = {
    "AdamW": Kind(_adamw, _CPU_ADAM, _FUSED_ADAM),
    "Adam": Kind(_adam, _CPU_ADAM, _FUSED_ADAM),
    "Lion": Kind(
        _lion,
        Implementation("DeepSpeedCPULion", "CPULionBuilder"),
        Implementation("FusedLion", "FusedLionBuilder", on=("cuda",)),
    ),
    "Adagrad": Kind(
        _adagrad,
        Implementation("DeepSpeedCPUAdagrad", "CPUAdagradBuilder"),
        Implementation("Adagrad", state_at_once=True),
    ),
    "SGD": Kind(_sgd, Implementation("SGD"), Implementation("SGD"), tested=False),
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


def implementation(
    kind: str | None, params: Mapping[str, Any], *, offload: bool
) -> Implementation | None:
    """Return the class that will train; None for an optimizer that DeepSpeed does not make.

    Args:
        kind: The optimizer's type.
        params: Its keywords.
        offload: Whether its states are in the host's memory.
    """
    if kind is None:
        return None
    if params.get("torch_adam"):
        return Implementation("AdamW" if kind == "AdamW" or params["adam_w_mode"] else "Adam")
    return OPTIMIZERS[kind].offloaded if offload else OPTIMIZERS[kind].beside


def builders(
    kind: str | None, params: Mapping[str, Any], *, offload: bool, device: str
) -> list[str]:
    """Return DeepSpeed's builders of the extensions that a training on ``device`` needs."""
    made = implementation(kind, params, offload=offload)
    own = [made.builder] if made and made.builder else []
    return ["ShareMemCommBuilder", *own] if device == "cpu" else own
