"""Faults that single types cannot see: values out of range, fields that contradict each other."""

import math
import os
import re
import shlex
import stat
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from annotated_types import Interval

from mini_lima.chat import address_faults, key_variable_faults
from mini_lima.config import arms, judges
from mini_lima.config.schema import (
    AdapterMethod,
    Config,
    Dialect,
    Engine,
    Precision,
    Weights,
)
from mini_lima.errors import UserError
from mini_lima.evaluation import declared_contrasts, metrics
from mini_lima.models.rendering import CLOCK
from mini_lima.sft import optimizers
from mini_lima.workers.launch import AUTO

LARGEST = 2**63 - 1
UNUSABLE = re.compile("[\0\ud800-\udfff]")


def faults(config: Config) -> list[str]:
    """Return every fault of ``config``, each as one line that names the key and what to do."""
    return [*_out_of_range(config, ""), *_contradictions(config)]


def _out_of_range(node: Any, prefix: str) -> Iterator[str]:
    """The values that the types of the schema exclude, in ``node`` and all below it."""
    for name, hint in get_type_hints(type(node), include_extras=True).items():
        value, key = getattr(node, name), f"{prefix}{name}"
        for below, each in value.items() if isinstance(value, dict) else [("", value)]:
            if is_dataclass(each):
                yield from _out_of_range(each, f"{key}.{below}." if below else f"{key}.")
        if found := [*_impossible(key, value)]:
            yield from found
            continue
        if hint == list[str] and not all(isinstance(each, str) for each in value):
            yield f"{key}={value}: must be a list of texts"
        for bound in _bounds(hint):
            if isinstance(value, int | float) and not _within(value, bound):
                yield f"{key}={value}: must be {_said(bound)}"


def _impossible(key: str, value: Any) -> Iterator[str]:
    """What is nowhere a number or a text that can be used, in ``value`` and all below it."""
    match value:
        case dict():
            for name, inner in value.items():
                yield from _impossible(f"{key}.{name}", inner)
        case list():
            for number, inner in enumerate(value):
                yield from _impossible(f"{key}[{number}]", inner)
        case float() if not math.isfinite(value):
            yield f"{key}={value}: must be a finite number"
        case float() if value == 0 and math.copysign(1, value) < 0:
            yield f"{key}={value}: write 0, which is the same"
        case int() if abs(value) > LARGEST:
            yield f"{key}={hex(value):.24}…: must be a number of at most 64 bits"
        case str() if UNUSABLE.search(value):
            yield f"{key}: holds NUL or half a character, which no path and no text can"


def _bounds(hint: Any) -> Iterator[Interval]:
    """The ranges in a type, whether it may be something else too or not."""
    for kind in (hint, *get_args(hint)):
        for limit in getattr(kind, "__metadata__", ()):
            if isinstance(limit, Interval):
                yield limit
            else:
                yield Interval(gt=getattr(limit, "gt", None), ge=getattr(limit, "ge", None))


def _within(value: Any, bound: Interval) -> bool:
    """Whether ``value`` is within ``bound``; what is not a number is within none."""
    return (
        (bound.gt is None or value > bound.gt)
        and (bound.ge is None or value >= bound.ge)
        and (bound.lt is None or value < bound.lt)
        and (bound.le is None or value <= bound.le)
    )


def _said(bound: Interval) -> str:
    words = {"gt": "greater than", "ge": "at least", "lt": "below", "le": "at most"}
    limits = {key: getattr(bound, key) for key in words}
    said = [f"{words[key]} {limit}" for key, limit in limits.items() if limit is not None]
    return " and ".join(said)


def _choices(config: Config) -> Iterator[str]:
    """What is wrong with what the groups that are open to a person's own have chosen."""
    processes = config.launch.processes
    if not isinstance(processes, int) and processes != AUTO:
        yield f"launch.processes={processes}: must be a whole number or {AUTO}"
    if config.adapter.method is AdapterMethod.lora and not config.adapter.target_modules:
        yield "adapter.target_modules=[]: name at least one linear layer, such as q_proj"
    yield from _money(config)
    yield from _template_kwargs(config)
    yield from _metrics(config)
    yield from optimizers.faults(config.optimizer, config.scheduler, optimizer_place(config))
    yield from judges.faults(config)


def _metrics(config: Config) -> Iterator[str]:
    for name, given in config.metrics.items():
        try:
            metrics.resolve({name: given})
        except UserError as error:
            yield str(error)


def _template_kwargs(config: Config) -> Iterator[str]:
    given = config.model.template_kwargs
    for name in given:
        if not name.isidentifier() or name in ("messages", "add_generation_prompt"):
            yield f"model.template_kwargs.{name}: cannot be given to a chat template"
    engine = config.evaluation.engine
    if given and engine.name is Engine.openai and engine.dialect is Dialect.openai:
        yield (
            "model.template_kwargs: a server is told them in the dialect vllm alone: set"
            " evaluation.engine.dialect=vllm, or choose evaluation/engine=transformers"
        )
    if CLOCK in given and engine.name is Engine.openai:
        yield (
            f"model.template_kwargs.{CLOCK}: a server has a clock of its own: fix the date in a"
            " template in the model's folder, or choose evaluation/engine=transformers"
        )


def _money(config: Config) -> Iterator[str]:
    for name, chat in config.chats().items():
        found = (*chat.faults(), *chat.taken(), *address_faults(chat.base_url))
        yield from (f"{name}.{fault}" for fault in found)
        yield from (f"{name}.prices{fault}" for fault in chat.prices.faults())
    for model, prices in config.prices.items():
        yield from (f"prices.{model}{fault}" for fault in prices.faults())


def optimizer_place(config: Config) -> optimizers.Place:
    """Where the optimizer is to work."""
    return optimizers.Place(
        zero_stage=config.deepspeed.zero_stage,
        offload=config.deepspeed.offload_optimizer,
        precision=config.sft.precision,
        device=config.launch.device,
    )


def global_batch_fault(config: Config, processes: int) -> Iterator[str]:
    """Say so if the global batch does not divide into micro-batches of ``processes`` per node."""
    step = config.model.micro_batch_size_per_gpu * processes * config.launch.nodes
    if step > 0 and config.sft.global_batch_size % step:
        nodes = f" × {config.launch.nodes} nodes" if config.launch.nodes > 1 else ""
        yield (
            f"sft.global_batch_size={config.sft.global_batch_size}: must be a multiple of"
            f" model.micro_batch_size_per_gpu × launch.processes ="
            f" {config.model.micro_batch_size_per_gpu} × {processes}{nodes};"
            " lower the micro-batch, or choose another global batch"
        )


def _pinned(key: str, source: str, sha256: str | None) -> Iterator[str]:
    if sha256 is None and source.startswith(("http://", "https://")):
        yield f"{key}_sha256 is missing: a file from the web must be the one that is meant"
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        yield f"{key}_sha256={sha256}: must be 64 hexadecimal digits"


def _engine(config: Config) -> Iterator[str]:
    engine = config.evaluation.engine
    found = (*key_variable_faults(engine.api_key_env), *address_faults(engine.base_url))
    yield from (f"evaluation.engine.{fault}" for fault in found)
    if engine.name is Engine.transformers:
        return
    if (engine.base_url is None) == (engine.command is None):
        yield "evaluation.engine: give base_url, or command, but not both"
    if engine.command is not None and not _is_command(engine.command):
        yield f"evaluation.engine.command={engine.command}: not a command line"
    for key in ("chat_template", "baseline_template"):
        if getattr(config.model, key) is not None:
            yield (
                f"model.{key}: a server renders prompts with the template in the model's folder;"
                " put it there, or choose evaluation/engine=transformers"
            )


def folder_fault(folder: Path) -> str | None:
    """Say why ``folder`` cannot be, or be made, one that can be written to; None if it can.

    Nothing is made; it is its nearest parent that must let something be.
    """
    for each in (folder.absolute(), *folder.absolute().parents):
        try:
            if not stat.S_ISDIR(each.stat().st_mode):
                return f"{each} is no folder"
        except FileNotFoundError:
            if each.is_symlink():
                return f"{each} is a link to nothing"
            continue
        except (OSError, ValueError) as error:
            return f"there can be no such folder: {getattr(error, 'strerror', None) or error}"
        return None if os.access(each, os.W_OK | os.X_OK) else f"{each} cannot be written to"
    return None


def _is_place(text: str) -> bool:
    """Whether ``text`` is ``host:port``, the host of IPv6 in brackets."""
    place = re.fullmatch(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", text)
    return place is not None and 0 < int(place[1]) < 65536


def _is_command(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:  # a quotation without an end
        return False


def _contrasts(config: Config) -> Iterator[str]:
    for text in config.contrasts:
        if not isinstance(text, str):
            continue  # is named among the values
        try:
            declared_contrasts.parse(text)
        except UserError as error:
            yield str(error)


def _contradictions(config: Config) -> Iterator[str]:
    yield from _choices(config)
    yield from _contrasts(config)
    if config.store and (fault := folder_fault(Path(config.store))):
        yield f"store={config.store}: {fault}; name another folder"
    references = config.evaluation
    yield from _pinned("data.seeds", config.data.seeds or "", config.data.seeds_sha256)
    try:
        arms.last_step(asdict(config.data))
    except UserError as error:
        yield str(error)
    yield from _pinned(
        "evaluation.reference_outputs",
        references.reference_outputs,
        references.reference_outputs_sha256,
    )
    yield from _pinned(
        "evaluation.length_difficulties",
        references.length_difficulties or "",
        references.length_difficulties_sha256,
    )
    yield from _engine(config)
    if config.annotator is None and config.other_annotators:
        names = ", ".join(config.other_annotators)
        yield f"annotator=none with other_annotators ({names}): the first judge is annotator=…"
    if config.annotator is None and not any(config.metrics.values()):
        yield "annotator=none without metrics: nothing would be measured; give one or the other"
    processes = config.launch.processes
    yield from global_batch_fault(config, processes if isinstance(processes, int) else 1)
    if config.launch.nodes > 1 and not _is_place(config.launch.rendezvous or ""):
        yield (
            f"launch.nodes={config.launch.nodes}: needs launch.rendezvous=host:port of this"
            " machine, as the others reach it, with a port from 1 to 65535"
        )
    if config.deepspeed.zero_stage == 0 and config.sft.precision is Precision.bf16:
        yield (
            "deepspeed.zero_stage=0 with sft.precision=bf16: DeepSpeed would add the gradients up"
            " in bf16 and begin with an empty step of Adam; deepspeed=zero1 does the same work in"
            " fp32 (or set sft.precision=fp32)"
        )
    if config.deepspeed.offload_optimizer and config.deepspeed.zero_stage == 0:
        yield "deepspeed.offload_optimizer=true: needs deepspeed.zero_stage 1, 2 or 3"
    if config.deepspeed.offload_parameters and config.deepspeed.zero_stage != 3:
        yield "deepspeed.offload_parameters=true: needs deepspeed.zero_stage=3"
    if config.model.weights is Weights.pretrained and config.model.source.startswith("embedded:"):
        yield "model.weights=pretrained: embedded models ship without weights; set random"
