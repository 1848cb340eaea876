import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from deepspeed.runtime.config import DeepSpeedConfig as Parsed
from omegaconf import OmegaConf

from mini_lima.config.schema import DeepSpeedConfig, OptimizerConfig
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config

CONF = Path(__file__).parents[2] / "conf"
SHARDING = {
    "zero0": (0, "none", "none"),
    "zero1": (1, "none", "none"),
    "zero2": (2, "none", "none"),
    "zero2_offload": (2, "cpu", "none"),
    "zero3": (3, "none", "none"),
    "zero3_offload": (3, "cpu", "cpu"),
}
"""Option → ZeRO stage, where the optimizer is, where the parameters are."""


def config(option: str = "zero2_offload", **changed: Any) -> dict[str, Any]:
    zero = OmegaConf.to_object(OmegaConf.load(CONF / "deepspeed" / f"{option}.yaml"))
    optimizer = OmegaConf.to_object(OmegaConf.load(CONF / "optimizer" / "adamw.yaml"))
    given: dict[str, Any] = {
        "optimizer": asdict(OptimizerConfig(**optimizer)),
        "zero": asdict(DeepSpeedConfig(**zero)),
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
    parsed = Parsed(json.loads(json.dumps(config(option))))
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


def test_the_rate_stands_in_both_places() -> None:
    optimizer = {
        "lr": 3e-4,
        "betas": [0.9, 0.95],
        "eps": 1e-6,
        "weight_decay": 0.1,
        "warmup_min_lr": 1e-6,
        "warmup_num_steps": 7,
        "warmup_type": "linear",
    }

    found = config(optimizer=optimizer)

    assert found["optimizer"]["params"]["lr"] == 3e-4
    assert found["scheduler"]["params"]["warmup_max_lr"] == 3e-4
    assert found["scheduler"]["params"]["warmup_min_lr"] == 1e-6
    assert found["scheduler"]["params"]["warmup_type"] == "linear"


def test_the_global_batch_is_the_product_of_its_parts() -> None:
    found = config(batches=Batches(micro=3, accumulation=5, processes=2))

    assert found["train_batch_size"] == 30


@pytest.mark.parametrize(("device", "pinned"), [("cuda", True), ("cpu", False)])
def test_host_memory_is_pinned_where_there_is_a_gpu_to_copy_to(device: str, pinned: bool) -> None:
    sharding = config("zero3_offload", device=device)["zero_optimization"]

    assert sharding["offload_optimizer"] == {"device": "cpu", "pin_memory": pinned}
    assert sharding["offload_param"] == {"device": "cpu", "pin_memory": pinned}


def test_fp32_asks_for_no_half_precision() -> None:
    assert config(precision="fp32")["bf16"]["enabled"] is False
