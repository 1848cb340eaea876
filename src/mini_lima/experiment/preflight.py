"""What a run lacks on this machine, all of it at once, before any work or spending."""

import json
import os
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec

from mini_lima.chat import ChatMode, environment_faults
from mini_lima.config import resolve, sources
from mini_lima.config.checks import global_batch_fault
from mini_lima.config.schema import (
    AdapterMethod,
    ChatConfig,
    Config,
    Device,
    Engine,
    EngineConfig,
    TrackingMode,
    Until,
)
from mini_lima.data.examples import row_of
from mini_lima.errors import UserError
from mini_lima.experiment import rendering_trial
from mini_lima.experiment.time_estimates import Forecasts
from mini_lima.report.wandb_run import missing_login
from mini_lima.sft.ops import missing_tools
from mini_lima.store.stages import Stage, Store
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


def try_rendering(config: Config, data: Stage | None, store: Store, forecasts: Forecasts) -> None:
    """Have tried what training and generation will render, as far as it is here.

    Args:
        config: The cell.
        data: The stage that makes the data set; None if it could not be laid out.
        store: Where that is, if it is made.
        forecasts: Say what it will make.

    Raises:
        UserError: all that is wrong, a line each.
    """
    try:
        question = _question(config, data, store, forecasts)
    except UserError:  # of a model that is not there, which another look-up names
        return
    if question is not None and (faults := rendering_trial.faults(question)):
        raise UserError("\n  - ".join(faults))


def _question(
    config: Config, data: Stage | None, store: Store, forecasts: Forecasts
) -> rendering_trial.Question | None:
    """What is to be tried; None if all of it ships with the package."""
    examples = references = None
    given, evaluation = config.model, config.evaluation
    asked = config.until not in (Until.data, Until.sft)
    with suppress(UserError):  # which other look-ups name
        if asked:
            references = str(resolve.references(config))
    with suppress(UserError):
        is_a_file = data is not None and not data.inputs and "teacher" not in data.params
        if data is not None and (is_a_file or store.is_finished(data)):
            rows = map(row_of, forecasts.of(data).examples)
            examples = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    templates = given.chat_template, given.template_kwargs, given.baseline_template, examples
    sources_ = (given.source, evaluation.reference_outputs if asked else given.source)
    if not any(templates) and all(each.startswith("embedded:") for each in sources_):
        return None
    found = resolve.base_model(config)
    unpacked = found.inputs.get("model")
    here = found.files.get("model") or (unpacked and unpacked.files["gguf"])
    chat, baseline = (
        str(sources.local_file(each)) if each else None
        for each in (given.chat_template, given.baseline_template)
    )
    return rendering_trial.Question(
        model=str(here or found.params["model"]),
        revision=found.params["revision"],
        init_seed=found.params["init_seed"],
        device=str(config.launch.device),
        chat_template=chat,
        template_kwargs=given.template_kwargs,
        baseline_template=baseline,
        examples=examples,
        max_length=config.sft.max_length,
        overlong=str(config.sft.overlong),
        turns=str(config.sft.turns),  # type: ignore[arg-type]  # of whose members it has the values
        reference_outputs=references,
        limit=evaluation.limit,
        max_new_tokens=evaluation.max_new_tokens,
    )


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
