import copy
import math
import re
from dataclasses import asdict
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from mini_lima.config import entry, mistakes
from mini_lima.config.checks import faults
from mini_lima.errors import UserError
from mini_lima.store.fingerprint import plain
from tests.composing import compose, configured

OUT_OF_RANGE = (
    "sft.epochs=0",
    "sft.global_batch_size=-16",
    "sft.max_length=0",
    "optimizer.lr=0",
    "optimizer.lr=nan",
    "optimizer.weight_decay=-1",
    "optimizer.betas=[0.9,1]",
    "optimizer.betas=[0.9]",
    "scheduler.warmup_num_steps=0",
    "sft.held_out=1",
    "deepspeed.zero_stage=4",
    "evaluation.confidence=1",
    "evaluation.temperature=-0.1",
    "evaluation.limit=0",
    "launch.processes=0",
    "launch.threads=0",
    "launch.nodes=0",
    "launch.processes=several",
    "sft.checkpoint_steps=0",
    "adapter.dropout=1",
    "teacher.concurrency=0",
    "data.steps.self_instruct.max_idle_rounds=0",
    "data.steps.self_instruct.max_new_tasks=-1",
    "data.seeds_sha256=abc",
    "annotator.chat.timeout=0",
    "teacher.total_timeout=0",
    "teacher.max_retries=-1",
    "teacher.tokens_per_minute=0",
    "annotator.chat.prices.input=-1",
    "prices.gpt-4o-mini.as_of=soon",
    "budget_usd=-1",
)


def test_every_value_out_of_range_is_named():
    changes = dict(each.split("=", 1) for each in OUT_OF_RANGE)
    with pytest.raises(UserError) as found:
        configured(*(f"{key}={value}" for key, value in changes.items()))
    # The optimizer, the scheduler and the arm each name the first of their faults.
    firsts = ("optimizer.", "scheduler.", "data.steps.")
    own = [key for key in changes if not key.startswith(firsts)]
    assert [key for key in own if f"{key}={changes[key]}" not in str(found.value)] == []
    for override in OUT_OF_RANGE:
        if override.startswith(firsts):
            with pytest.raises(UserError, match=re.escape(override.partition("=")[0])):
                configured(override)


def takes_numbers(kind):
    kinds = get_args(kind) or (kind,)
    return bool({int, float} & {*kinds, *(each for inner in kinds for each in get_args(inner))})


KEYS = [key for key, kind in mistakes.known().items() if takes_numbers(kind)]
OPEN = ("optimizer.lr", "optimizer.betas", "prices.m.input", "teacher.extra_body.x", "contrasts")
STEP = ("data.steps.self_instruct.max_idle_rounds", "annotator.answers", "evaluation.limit")
NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, -(10**400), -0.0, 2**31, 2**63]),
)
VALUES = st.one_of(
    NUMBERS,
    st.booleans(),
    NUMBERS.map(str),
    st.sampled_from(["1e400", "nan", ".inf", "", "text", "a\0b", "x" * 5_000, "1" * 5_000]),
    st.lists(st.one_of(NUMBERS, st.text(), st.lists(st.none(), max_size=1)), max_size=2),
    st.dictionaries(st.text(max_size=3), NUMBERS, max_size=1),
)


@pytest.fixture(scope="module")
def composed():
    return compose("experiment=embedded", "annotator=chatgpt")


@settings(max_examples=150)
@given(key=st.sampled_from([*KEYS, *OPEN, *STEP]), value=VALUES)
def test_whatever_stands_for_a_number_is_taken_or_refused_in_a_line(composed, key, value):
    changed = copy.deepcopy(composed)
    refused = None
    try:
        OmegaConf.update(changed, key, value)
        config = entry.to_config(changed)
        plain(asdict(config.sft), key)
    except Exception as error:
        refused = error
    if refused is not None:
        assert mistakes.one_line(refused), repr(refused)
        return
    taken = OmegaConf.select(changed, key)
    assert not isinstance(taken, float) or math.isfinite(taken)
    assert not isinstance(taken, int) or abs(taken) < 2**63


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["sft.global_batch_size=15"], ["sft.global_batch_size=15", "2 × 1"]),
        (["launch.processes=3"], ["sft.global_batch_size=16", "2 × 3"]),
        (["deepspeed=zero0", "deepspeed.offload_optimizer=true"], ["offload_optimizer"]),
        (["deepspeed=zero2", "deepspeed.offload_parameters=true"], ["offload_parameters"]),
        (["deepspeed=zero0"], ["deepspeed.zero_stage=0 with sft.precision=bf16", "zero1"]),
        (["adapter=lora", "adapter.target_modules=[]"], ["adapter.target_modules=[]"]),
        (["launch.nodes=2"], ["launch.rendezvous=host:port"]),
        (
            ["launch.nodes=3", "launch.processes=2", "launch.rendezvous=first:29500"],
            ["2 × 2 × 3 nodes"],
        ),
        (["teacher.prices.output=1"], ["teacher.prices", "both"]),
        (["+teacher.extra_body.stream=true"], ["teacher.extra_body.stream"]),
        (
            ["teacher.extra_body={headers: {x-api-key: a}, user: {a: Bearer 12345678}}"],
            ["teacher.extra_body.headers.x-api-key", "teacher.extra_body.user.a"],
        ),
        (["teacher.extra_body={max_tokens: 3}"], ["teacher.extra_body.max_tokens"]),
        (["model.template_kwargs={messages: []}"], ["model.template_kwargs.messages"]),
        (
            [
                *("model.template_kwargs={enable_thinking: false}", "evaluation/engine=openai"),
                "evaluation.engine.dialect=openai",
            ],
            ["evaluation.engine.dialect=vllm"],
        ),
        (["data.steps.lengthen.prompt=null"], ["data.steps.lengthen.prompt"]),
        (["data.seeds=https://localhost/seeds.jsonl"], ["data.seeds_sha256"]),
        (["model=qwen-tiny", "model.weights=pretrained"], ["model.weights=pretrained"]),
    ],
)
def test_values_that_contradict_each_other_are_named_together(overrides, named):
    with pytest.raises(UserError) as found:
        configured(*overrides)
    assert [each for each in named if each not in str(found.value)] == []


def test_all_faults_are_found_at_once():
    config = configured()
    config.sft.epochs = 0
    config.optimizer["lr"] = -1.0
    config.deepspeed.zero_stage = 7
    assert len(faults(config)) == 3
