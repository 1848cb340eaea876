from collections import defaultdict
from itertools import zip_longest

import pytest
from omegaconf import OmegaConf

from mini_lima.errors import UserError
from tests.composing import CONF, configured

FILES = sorted(CONF.rglob("*.yaml"))
OPTIONS = [path for path in FILES if path.parent != CONF]
VALUES = {
    "model.name": "mine",
    "model.source": "me/mine",
    "teacher.model": "mine",
    "annotator.chat.model": "mine",
    "evaluation.reference_outputs": "rows.json",
    "data.steps.file.file": "rows.jsonl",
    "optimizer._target_": "torch.optim.RMSprop",
    "optimizer.lr": "1e-5",
    "scheduler._target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
}

# DeepSpeed cannot do the study's bf16 without ZeRO, and the configuration is refused.
TOGETHER = {"deepspeed=zero0": ["sft.precision=fp32"]}


def option(path):
    group = path.parent.relative_to(CONF)
    return f"{f'+{group}@metrics.mine' if group.name == 'metric' else group}={path.stem}"


def left_open(path):
    """The keys that the option wants from the command line."""
    if "???" not in path.read_text(encoding="utf-8"):
        return []
    return sorted(
        OmegaConf.missing_keys(OmegaConf.create({path.parent.name: OmegaConf.load(path)}))
    )


def test_every_option_composes_and_says_what_it_wants_to_be_given():
    groups = defaultdict(list)
    for path in OPTIONS:
        groups[path.parent.name].append(path)
    experiments = groups.pop("experiment")
    # An option of each group at a time, so that every one of them is there once.
    for paths in [*zip_longest(*groups.values()), *zip(experiments)]:
        present = [path for path in paths if path is not None]
        chosen = [
            each for path in present for each in (option(path), *TOGETHER.get(option(path), []))
        ]
        wanted = [key for path in present for key in left_open(path)]
        if wanted:
            with pytest.raises(UserError) as refused:
                configured(*chosen)
            assert all(key in str(refused.value) for key in wanted), chosen
        configured(*chosen, *(f"{key}={VALUES[key]}" for key in wanted))


def test_every_file_begins_with_a_line_that_says_when_to_choose_it():
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = lines[lines[0].startswith("# @package")]
        assert head.startswith("# "), path
        assert len(head.split()) > 3, path


@pytest.mark.parametrize(
    ("model", "source", "batch"),
    [("qwen-0.5b", "Qwen/Qwen1.5-0.5B", 8), ("qwen-1.8b", "Qwen/Qwen1.5-1.8B", 2)],
)
def test_the_defaults_are_the_study(model, source, batch):
    config = configured(f"model={model}")
    assert config.model.source == source
    assert config.model.weights == "pretrained"
    assert config.model.micro_batch_size_per_gpu == batch
    assert config.optimizer == {
        "type": "AdamW",
        "lr": 1e-5,
        "betas": [0.8, 0.999],
        "eps": 1e-8,
        "weight_decay": 3e-7,
    }
    assert config.scheduler == {
        "type": "WarmupLR",
        "warmup_min_lr": 0.0,
        "warmup_num_steps": 100,
        "warmup_type": "log",
    }
    assert (config.deepspeed.zero_stage, config.deepspeed.offload_optimizer) == (2, True)
    assert config.sft.global_batch_size > batch  # gradients are accumulated
    assert config.teacher.model == "gpt-3.5-turbo"
    assert config.annotator.name == "chatgpt"
    assert config.annotator.chat.model == "gpt-3.5-turbo-0301"
    assert config.arm == "improved"
    assert config.launch.device == "cuda"
    assert config.tracking.mode == "online"


def test_the_embedded_tier_needs_no_key_network_or_gpu():
    config = configured("experiment=embedded")
    assert config.model.source.startswith("embedded:")
    assert config.data.seeds.startswith("embedded:")
    assert config.evaluation.reference_outputs.startswith("embedded:")
    assert config.teacher.cassette is not None
    assert config.annotator.chat is None
    assert config.launch.device == "cpu"
    assert config.tracking.mode == "offline"
