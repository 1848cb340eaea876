import shutil

import pytest
from hydra.errors import MissingConfigException
from hypothesis import given
from hypothesis import strategies as st

from mini_lima.config.mistakes import no_such_key, one_line
from tests.composing import CONF, configured

ON_THE_COMMAND_LINE = {
    # mistake: what the line must name
    "optmizer.lr=1": ["optmizer", "optimizer"],
    "sft.epoch=3": ["sft.epoch:", "sft.epochs"],
    "+sft.epoch=3": ["sft.epoch:", "sft.epochs"],
    "epochs=3": ["epochs", "sft.epochs"],
    "temperature=1": ["temperature", "teacher.temperature", "evaluation.temperature"],
    "model.foo=1": ["model.foo", "micro_batch_size_per_gpu"],
    "frobnicate=1": ["frobnicate", "optimizer", "deepspeed"],
    "modle=qwen-tiny": ["modle", "model"],
    "model=qwen-tinny": ["model=qwen-tinny", "did you mean qwen-tiny?", "custom", "qwen-1.8b"],
    "deepspeed=zero4": ["deepspeed=zero4", "zero0", "zero3_offload"],
    "deepspeed=3": ["group override must be a string"],
    "epxeriment=embedded": ["epxeriment", "did you mean experiment?"],
    "tracking=online": ["tracking=online", "available: disabled, offline, wandb"],
    "experiment=[grid,nope]": ["experiment/nope"],
    "+model=qwen-tiny": ["model", "override"],
    "model.weights=rndom": ["model.weights=rndom", "pretrained", "random"],
    "sft.precision=null": ["sft.precision=null"],
    "sft.epochs=three": ["sft.epochs=three", "Integer"],
    "sft.epochs.x=1": ["sft.epochs.x=1"],
    "optimizer.betas=0.9": ["optimizer.betas=0.9", "tuple"],
    "data.steps.lengthen.promt=x": ["data.steps.lengthen.promt", "data.steps.lengthen.prompt"],
    "+data.steps.halve._target_=my_arms.halve": ["data.steps.halve", "no module my_arms"],
    "sft=3": ["sft=3"],
    "optimizer.lr=[1": ["optimizer.lr=[1", "quote"],
    "optimizer.lr": ["optimizer.lr", "key=value"],
    "model=qwen-tiny,qwen-mini": ["model=qwen-tiny,qwen-mini", "--multirun"],
    "~sft.epochs": ["sft.epochs"],
    "~model": ["model.name", "model.source"],
    "hydra.run.dirr=x": ["hydra.run.dirr", "hydra.run.dir?"],
    "contrasts=[improved-naive]": ["contrasts: 'improved-naive'", "with spaces"],
}
IN_A_FILE = {
    "sft: {epoch: 3}": ["experiment/mine", "sft.epoch:", "sft.epochs"],
    "sft: {precision: fp23}": ["experiment/mine", "sft.precision", "fp32"],
    "sft: 3": ["experiment/mine", "SftConfig"],
    "sft: {epochs: [1}": ["experiment/mine.yaml:2", "not valid YAML"],
    "sft:\n  epochs: 1\n  epochs: 2": ["experiment/mine.yaml:4", "duplicate key epochs"],
    "- sft": ["experiment/mine"],
    "store: ${nope}": ["store", "nope"],
    "store: ${oc.env:NO_SUCH_VARIABLE}": ["store", "NO_SUCH_VARIABLE"],
    "defaults: [override /model: nope]": ["model=nope", "qwen-tiny"],
    "defaults: [override /modle: qwen-tiny]": ["experiment/mine", "modle"],
}


def what_is_said(*overrides, conf=CONF):
    with pytest.raises(Exception) as found:  # noqa: PT011 - of whatever type Hydra likes
        configured(*overrides, conf=conf)
    said = one_line(found.value)
    assert said is not None
    assert "\n" not in said
    return said


def test_a_mistake_on_the_command_line_is_named_with_what_is_allowed():
    said = {mistake: what_is_said(mistake) for mistake in ON_THE_COMMAND_LINE}
    lacking = {
        (mistake, each, said[mistake])
        for mistake, named in ON_THE_COMMAND_LINE.items()
        for each in named
        if each not in said[mistake]
    }
    assert lacking == set()


def test_a_mistake_in_a_file_is_named_with_what_is_allowed(tmp_path):
    conf = shutil.copytree(CONF, tmp_path / "conf")
    lacking = []
    for mistake, named in IN_A_FILE.items():
        text = f"# @package _global_\n{mistake}\n"
        (conf / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
        said = what_is_said("experiment=mine", conf=conf)
        lacking += [(mistake, each, said) for each in named if each not in said]
    assert lacking == []


def test_a_mistake_in_an_option_names_the_option_s_file(tmp_path):
    conf = shutil.copytree(CONF, tmp_path / "conf")
    (conf / "model" / "mine.yaml").write_text("# mine\nnmae: mine\n", encoding="utf-8")
    assert "'model/mine': model.nmae" in what_is_said("model=mine", conf=conf)
    (conf / "model" / "mine.yaml").write_bytes("# mine\nname: café\n".encode("latin-1"))
    assert "name: caf" in what_is_said("model=mine", conf=conf)


def test_all_unknown_keys_and_missing_values_are_told_at_once():
    said = what_is_said("model=custom", "+sft.epoch=1", "+evaluation.rate=2")
    for key in ("model.name", "model.source", "sft.epoch:", "evaluation.rate:"):
        assert key in said


@given(st.text())
def test_any_text_for_a_key_gets_an_answer_in_one_line(text):
    key = " ".join(text.split())
    assert no_such_key(key).startswith(f"{key}: no such key; ")
    assert "\n" not in no_such_key(key)


@pytest.mark.parametrize("missing", ["hydra/launcher/submitit_slurm", "hydra/sweeper/optuna"])
def test_what_comes_with_an_optional_dependency_is_said_with_its_installation(missing):
    error = MissingConfigException("In 'its/file': Could not find it", missing)
    said = one_line(error)
    assert "pip install" in said
    assert "\n" not in said
