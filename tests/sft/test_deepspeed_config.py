import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from deepspeed.runtime.config import DeepSpeedConfig as Parsed

from mini_lima.config.resolve import optimizer_and_scheduler
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
from tests.composing import CONF, configured

SHARDING = {
    "zero0": (0, "none", "none"),
    "zero1": (1, "none", "none"),
    "zero2": (2, "none", "none"),
    "zero2_offload": (2, "cpu", "none"),
    "zero3": (3, "none", "none"),
    "zero3_offload": (3, "cpu", "cpu"),
}
"""Option → ZeRO stage, where the optimizer is, where the parameters are."""


def config(
    option: str = "zero2_offload", overrides: Sequence[str] = (), **changed: Any
) -> dict[str, Any]:
    composed = configured(f"deepspeed={option}", *overrides)
    optimizer, scheduler = optimizer_and_scheduler(composed)
    given: dict[str, Any] = {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "total_steps": 100,
        "zero": asdict(composed.deepspeed),
        "batches": Batches(micro=2, accumulation=8, processes=1),
        "precision": "bf16",
        "gradient_clipping": 1.0,
        "device": "cuda",
    }
    return deepspeed_config(**given | changed)


def offloaded(settings: Any) -> str:
    return str(settings.device) if settings else "none"


def test_every_option_of_the_group_is_known_here() -> None:
    assert {path.stem for path in (CONF / "deepspeed").glob("*.yaml")} == SHARDING.keys()


@pytest.mark.parametrize("option", SHARDING)
def test_deepspeed_reads_each_option_as_it_is_meant(option: str) -> None:
    fp32 = ["sft.precision=fp32"]  # with which alone zero0 composes
    parsed = Parsed(json.loads(json.dumps(config(option, fp32))))
    zero = parsed.zero_config

    assert (
        zero.stage,
        offloaded(zero.offload_optimizer),
        offloaded(zero.offload_param),
    ) == SHARDING[option]
    assert zero.gather_16bit_weights_on_model_save == (zero.stage == 3)
    assert (parsed.train_micro_batch_size_per_gpu, parsed.gradient_accumulation_steps) == (2, 8)
    assert parsed.train_batch_size == 16
    assert parsed.gradient_clipping == 1.0
    assert (parsed.bfloat16_config.enabled, parsed.float16_config.enabled) == (True, False)


def test_the_study_s_optimizer_and_schedule_reach_deepspeed() -> None:
    parsed = Parsed(config())

    assert parsed.optimizer_name == "adamw"
    assert parsed.optimizer_params == {
        "lr": 1e-5,
        "betas": [0.8, 0.999],
        "eps": 1e-8,
        "weight_decay": 3e-7,
    }
    assert parsed.scheduler_name == "WarmupLR"
    assert parsed.scheduler_params == {
        "warmup_min_lr": 0.0,
        "warmup_max_lr": 1e-5,
        "warmup_num_steps": 100,
        "warmup_type": "log",
    }
