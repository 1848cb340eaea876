"""Faults that single types cannot see: values out of range, fields that contradict each other."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict

from mini_lima.config import arms, judges
from mini_lima.config.schema import (
    AdapterMethod,
    Config,
    Engine,
    Precision,
    Weights,
)
from mini_lima.errors import UserError
from mini_lima.evaluation import declared_contrasts, metrics
from mini_lima.sft import optimizers
from mini_lima.workers.launch import AUTO


def faults(config: Config) -> list[str]:
    """Return every fault of ``config``, each as one line that names the key and what to do."""
    return [*_out_of_range(config), *_contradictions(config)]


def _out_of_range(config: Config) -> Iterator[str]:
    positive = {
        "model.micro_batch_size_per_gpu": config.model.micro_batch_size_per_gpu,
        "sft.epochs": config.sft.epochs,
        "sft.global_batch_size": config.sft.global_batch_size,
        "sft.max_length": config.sft.max_length,
        "sft.gradient_clipping": config.sft.gradient_clipping,
        "evaluation.max_new_tokens": config.evaluation.max_new_tokens,
        "evaluation.batch_size": config.evaluation.batch_size,
        "evaluation.engine.concurrency": config.evaluation.engine.concurrency,
        "evaluation.engine.timeout": config.evaluation.engine.timeout,
        "evaluation.engine.total_timeout": config.evaluation.engine.total_timeout,
        "evaluation.bootstrap_samples": config.evaluation.bootstrap_samples,
        "launch.nodes": config.launch.nodes,
        "adapter.rank": config.adapter.rank,
        "adapter.alpha": config.adapter.alpha,
    }
    if config.evaluation.limit is not None:
        positive["evaluation.limit"] = config.evaluation.limit
    if config.launch.threads is not None:
        positive["launch.threads"] = config.launch.threads
    if config.sft.checkpoint_steps is not None:
        positive["sft.checkpoint_steps"] = config.sft.checkpoint_steps
    if isinstance(config.launch.processes, int):
        positive["launch.processes"] = config.launch.processes
    elif config.launch.processes != AUTO:
        yield f"launch.processes={config.launch.processes}: must be a whole number or {AUTO}"
    if not 0 <= config.adapter.dropout < 1:
        yield f"adapter.dropout={config.adapter.dropout}: must be at least 0 and below 1"
    if config.adapter.method is AdapterMethod.lora and not config.adapter.target_modules:
        yield "adapter.target_modules=[]: name at least one linear layer, such as q_proj"
    for key, value in positive.items():
        if not value > 0:
            yield f"{key}={value}: must be greater than 0"
    yield from _money(config)
    yield from _metrics(config)
    yield from optimizers.faults(config.optimizer, config.scheduler, optimizer_place(config))
    if not 0 <= config.sft.held_out < 1:
        yield f"sft.held_out={config.sft.held_out}: must be a share, at least 0 and below 1"
    if config.deepspeed.zero_stage not in range(4):
        yield f"deepspeed.zero_stage={config.deepspeed.zero_stage}: must be 0, 1, 2 or 3"
    yield from judges.faults(config)
    if not 0 < config.evaluation.confidence < 1:
        yield f"evaluation.confidence={config.evaluation.confidence}: must lie between 0 and 1"
    if config.evaluation.temperature < 0:
        yield f"evaluation.temperature={config.evaluation.temperature}: must be 0 or greater"


def _metrics(config: Config) -> Iterator[str]:
    for name, given in config.metrics.items():
        try:
            metrics.resolve({name: given})
        except UserError as error:
            yield str(error)


def _money(config: Config) -> Iterator[str]:
    if config.budget_usd is not None and not config.budget_usd >= 0:
        yield f"budget_usd={config.budget_usd}: must be 0 or more dollars, or null"
    for name, chat in config.chats().items():
        yield from (f"{name}.{fault}" for fault in (*chat.faults(), *chat.taken()))
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
    if engine.max_retries < 0:
        yield f"evaluation.engine.max_retries={engine.max_retries}: must be 0 or greater"
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


def _is_command(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:  # a quotation without an end
        return False


def _contrasts(config: Config) -> Iterator[str]:
    for text in config.contrasts:
        try:
            declared_contrasts.parse(text)
        except UserError as error:
            yield str(error)


def _contradictions(config: Config) -> Iterator[str]:
    yield from _contrasts(config)
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
    if config.launch.nodes > 1 and not re.fullmatch(r".+:\d+", config.launch.rendezvous or ""):
        yield (
            f"launch.nodes={config.launch.nodes}: needs launch.rendezvous=host:port of this"
            " machine, as the others reach it"
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
