"""What a run lacks on this machine, all of it at once, before any work or spending."""

import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.util import find_spec

from mini_lima.chat import ChatMode, environment_faults
from mini_lima.config.checks import global_batch_fault
from mini_lima.config.schema import (
    AdapterMethod,
    ChatConfig,
    Config,
    Device,
    Engine,
    EngineConfig,
    TrackingMode,
)
from mini_lima.errors import UserError
from mini_lima.report.wandb_run import missing_login
from mini_lima.sft.ops import missing_tools
from mini_lima.workers.launch import AUTO, cuda_devices


def missing(
    config: Config, to_do: Collection[str], lookups: Iterable[Callable[[], object]]
) -> list[str]:
    """Return a line for everything that is missing, each with what to do; empty if all is there.

    Args:
        config: The cell.
        to_do: Names of the stages that are not finished, and ``teacher`` if one of them asks it;
            what they do not need is not asked for.
        lookups: Calls that find the cell's files and its model, or raise UserError.
    """
    lines: list[str] = []
    for look_up in lookups:
        try:
            look_up()
        except UserError as error:
            lines.append(str(error))
    if "teacher" in to_do:
        lines += _key("teacher", config.teacher)
    if "annotations" in to_do:
        judges = {key: chat for key, chat in config.chats().items() if key != "teacher"}
        for key, chat in judges.items():
            lines += _key(key.removesuffix(".chat"), chat)
    engine = config.evaluation.engine
    if "outputs" in to_do and engine.name is Engine.openai:
        lines += _server(engine)
    in_our_processes = {"sft", "outputs"} if engine.name is Engine.transformers else {"sft"}
    if in_our_processes & set(to_do):
        lines += _device(config)
    if "sft" in to_do:
        lines += missing_tools()
        lines += _peft(config)
    if "tracking" in to_do:
        lines += _tracker(config)
    return list(dict.fromkeys(lines))


def _key(who: str, chat: ChatConfig) -> Iterator[str]:
    needs_none = chat.cassette or chat.mode is ChatMode.replay
    variable = None if needs_none else chat.api_key_env
    if variable and not os.environ.get(variable, "").strip():
        yield f"the {who}'s key: set the environment variable {variable}"
    if not needs_none:
        yield from environment_faults()


def _server(engine: EngineConfig) -> Iterator[str]:
    if engine.api_key_env and not os.environ.get(engine.api_key_env, "").strip():
        yield f"the key of evaluation.engine: set the environment variable {engine.api_key_env}"
    yield from environment_faults()
    program = shlex.split(engine.command)[0] if engine.command else None
    if program and shutil.which(os.path.expanduser(program)) is None:
        yield (
            f"the program {program}, with which evaluation.engine.command begins: give its path"
            " (docs/engines.md), or choose evaluation/engine=transformers"
        )


def _device(config: Config) -> Iterator[str]:
    if config.launch.device is not Device.cuda:
        return
    wanted = 1 if config.launch.processes == AUTO else int(config.launch.processes)
    if cuda_devices() < wanted:
        yield (
            f"{wanted} CUDA GPU(s), of which torch finds {cuda_devices()}: check"
            " nvidia-smi and that torch was installed for CUDA, or set launch.device=cpu"
        )
    elif config.launch.processes == AUTO:
        yield from global_batch_fault(config, cuda_devices())


def _peft(config: Config) -> Iterator[str]:
    if config.adapter.method is AdapterMethod.lora and find_spec("peft") is None:
        yield "peft, which adapter=lora needs: pip install -c constraints.txt -e '.[lora]'"


def _tracker(config: Config) -> Iterator[str]:
    if config.tracking.mode is TrackingMode.online:
        if lacking := missing_login():
            yield f"{lacking}, or tracking=offline"
        yield from environment_faults()
