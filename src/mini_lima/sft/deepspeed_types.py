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


def is_torchs_adam(kind: str | None, params: Mapping[str, Any], *, offload: bool) -> bool:
    """Whether an Adam is torch's: it is, wherever DeepSpeed's for the host's memory is not."""
    return kind in ("AdamW", "Adam") and (not offload or bool(params.get("torch_adam")))


def builders(
    kind: str | None, params: Mapping[str, Any], *, offload: bool, device: str
) -> list[str]:
    """Return DeepSpeed's builders of the extensions that a training on ``device`` needs."""
    own: list[str] = []
    if kind is not None and not is_torchs_adam(kind, params, offload=offload):
        builder = OPTIMIZERS[kind].offloaded if offload else OPTIMIZERS[kind].beside
        own = [builder] if builder else []
    return ["ShareMemCommBuilder", *own] if device == "cpu" else own
