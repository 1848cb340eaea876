import shutil

import pytest
from hydra.errors import MissingConfigException
from hypothesis import given
from hypothesis import strategies as st
from tests.composing import CONF, configured

from mini_lima.config import keys
from mini_lima.config.mistakes import one_line

ON_THE_COMMAND_LINE = {
    # mistake: what the line must name
    "optmizer.lr=1": ["optmizer.lr", "optimizer.lr"],
    "sft.epoch=3": ["sft.epoch:", "sft.epochs"],
    "+sft.epoch=3": ["sft.epoch:", "sft.epochs"],
    "++sft.epoch=3": ["sft.epoch:", "sft.epochs"],
    "epochs=3": ["epochs", "sft.epochs"],
    "lr=1e-4": ["lr", "optimizer.lr"],
    "temperature=1": ["temperature", "teacher.temperature", "evaluation.temperature"],
    "model.foo=1": ["model.foo", "micro_batch_size_per_gpu"],
    "frobnicate=1": ["frobnicate", "optimizer", "deepspeed"],
    "modle=qwen-tiny": ["modle", "model"],
    "+modle=qwen-tiny": ["modle", "model"],
    "model=qwen-tinny": ["model=qwen-tinny", "did you mean qwen-tiny?", "custom", "qwen-1.8b"],
    "deepspeed=zero4": ["deepspeed=zero4", "zero0", "zero3_offload"],
    "deepspeed=3": ["deepspeed=3", "option"],
    "epxeriment=embedded": ["epxeriment", "did you mean experiment?"],
    "tracking=online": ["tracking=online", "did you mean wandb?"],
    "experiment=nope": ["experiment=nope", "embedded", "grid"],
    "experiment=[grid,nope]": ["experiment=nope", "embedded", "grid"],
    "+model=qwen-tiny": ["model", "twice"],
    "model.weights=rndom": ["model.weights=rndom", "pretrained", "random"],
    "sft.precision=fp23": ["sft.precision=fp23", "fp32", "bf16"],
    "sft.precision=null": ["sft.precision=null", "fp32", "bf16"],
    "sft.epochs=three": ["sft.epochs=three", "whole number"],
    "sft.epochs=1.5": ["sft.epochs=1.5", "whole number"],
    "sft.epochs.x=1": ["sft.epochs.x=1", "sft.epochs", "whole number"],
    "plan=maybe": ["plan=maybe", "true", "false"],
    "optimizer.lr=fast": ["optimizer.lr=fast", "number"],
    "optimizer.betas=0.9": ["optimizer.betas=0.9", "tuple"],
    "optimizer.betas=[0.9,b]": ["optimizer.betas=[0.9, 'b']", "number"],
    "optimizer.betas=[0.9,0.9,0.9]": ["optimizer.betas=[0.9, 0.9, 0.9]", "2 items"],
    "sft=3": ["sft=3", "epochs", "precision"],
    "optimizer.lr=[1": ["optimizer.lr=[1", "quote"],
    "optimizer.lr": ["optimizer.lr", "key=value"],
    "model=qwen-tiny,qwen-mini": ["model=qwen-tiny,qwen-mini", "--multirun"],
    "~sft.epochs": ["~sft.epochs"],
    "~model": ["model.name", "model.source"],
    "model=custom": ["model.name", "model.source"],
    "sft.epochs=0": ["sft.epochs=0", "greater than 0"],
    "sft.global_batch_size=7": ["sft.global_batch_size=7", "multiple", "lower the micro-batch"],
    "hydra.run.dirr=x": ["hydra.run.dirr", "dir"],
}
IN_A_FILE = {
    "sft: {epoch: 3}": ["experiment/mine.yaml", "sft.epoch:", "sft.epochs"],
    "stf: {epochs: 3}": ["experiment/mine.yaml", "stf", "sft"],
    "sft: {precision: fp23}": ["experiment/mine.yaml", "sft.precision=fp23", "fp32 or bf16"],
    "sft: {epochs: three}": ["experiment/mine.yaml", "sft.epochs=three", "whole number"],
    "sft: {epochs: null}": ["experiment/mine.yaml", "sft.epochs=null", "whole number"],
    "sft: 3": ["experiment/mine.yaml", "sft=3", "epochs"],
    "teacher: openai": ["experiment/mine.yaml", "teacher=openai", "endpoint"],
    "sft: {epochs: [1}": ["experiment/mine.yaml:2", "not valid YAML"],
    "sft:\n\tepochs: 1": ["experiment/mine.yaml:3", "not valid YAML"],
    "sft:\n  epochs: 1\n  epochs: 2": ["experiment/mine.yaml:4", "duplicate key epochs"],
    "- sft": ["experiment/mine.yaml", "list"],
    "store: ${nope}": ["store", "nope"],
    "store: ${nope": ["store", "${nope"],
    "store: ${oc.env:NO_SUCH_VARIABLE}": ["store", "NO_SUCH_VARIABLE"],
    "defaults: [override /model: nope]": ["model=nope", "qwen-tiny"],
    "defaults: [override /modle: qwen-tiny]": ["experiment/mine.yaml", "modle", "model"],
    "defaults: [overide /model: qwen-tiny]": ["model", "override"],
}


def what_is_said(*overrides, conf=CONF):
    with pytest.raises(Exception) as found:  # noqa: PT011 - of whatever type Hydra likes
        configured(*overrides, conf=conf)
    said = one_line(found.value)
    assert said is not None
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("mistake", "named"), ON_THE_COMMAND_LINE.items(), ids=ON_THE_COMMAND_LINE)
def test_a_mistake_on_the_command_line_is_named_with_what_is_allowed(mistake, named):
    said = what_is_said(mistake)
    assert [each for each in named if each not in said] == []


@pytest.mark.parametrize(("mistake", "named"), IN_A_FILE.items(), ids=IN_A_FILE)
def test_a_mistake_in_a_file_is_named_with_what_is_allowed(mistake, named, tmp_path):
    conf = shutil.copytree(CONF, tmp_path / "conf")
    text = f"# @package _global_\n{mistake}\n"
    (conf / "experiment" / "mine.yaml").write_text(text, encoding="utf-8")
    said = what_is_said("experiment=mine", conf=conf)
    assert [each for each in named if each not in said] == []


@pytest.mark.parametrize("head", ["", "# a head of its own\n# @package _global_\n"])
@pytest.mark.parametrize("body", ["", "sft: {epochs: 1}", "defaults: [override /model: qwen-tiny]"])
def test_an_experiment_without_its_first_line_is_told_so(head, body, tmp_path):
    conf = shutil.copytree(CONF, tmp_path / "conf")
    (conf / "experiment" / "mine.yaml").write_text(f"{head}{body}\n", encoding="utf-8")
    said = what_is_said("experiment=mine", conf=conf)
    assert "experiment/mine.yaml" in said
    assert "# @package _global_" in said


def test_a_mistake_in_an_option_names_the_option_s_file(tmp_path):
    conf = shutil.copytree(CONF, tmp_path / "conf")
    (conf / "model" / "mine.yaml").write_text("# mine\nnmae: mine\n", encoding="utf-8")
    assert "model/mine.yaml: model.nmae" in what_is_said("model=mine", conf=conf)
    (conf / "model" / "mine.yaml").write_bytes("# mine\nname: café\n".encode("latin-1"))
    assert "name: caf" in what_is_said("model=mine", conf=conf)


def test_all_unknown_keys_and_missing_values_are_told_at_once():
    said = what_is_said("model=custom", "+sft.epoch=1", "+evaluation.rate=2")
    for key in ("model.name", "model.source", "sft.epoch:", "evaluation.rate:"):
        assert key in said


def test_what_is_no_mistake_of_a_person_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError) as bug:
        _ = 1 / 0
    assert one_line(bug.value) is None


@given(st.data())
def test_a_key_with_a_letter_too_few_leads_back_to_it(data):
    key = data.draw(st.sampled_from([key for key in keys.known() if len(key) > 4]))
    at = data.draw(st.integers(0, len(key) - 1).filter(lambda index: key[index] != "."))
    mistyped = key[:at] + key[at + 1 :]
    if mistyped not in {word for each in keys.known() for word in (each, each.rpartition(".")[2])}:
        assert key in keys.no_such_key(mistyped).partition("did you mean ")[2]


@given(st.text())
def test_any_text_for_a_key_gets_an_answer_in_one_line(text):
    key = " ".join(text.split())
    assert keys.no_such_key(key).startswith(f"{key}: no such key; ")
    assert "\n" not in keys.no_such_key(key)


@pytest.mark.parametrize("key", keys.known())
def test_every_key_can_say_what_it_takes(key):
    assert keys.expected(key)


@pytest.mark.parametrize("missing", ["hydra/launcher/submitit_slurm", "hydra/sweeper/optuna"])
def test_what_comes_with_an_optional_dependency_is_said_with_its_installation(missing):
    error = MissingConfigException("In 'its/file': Could not find it", missing)
    said = one_line(error)
    assert said.startswith("its/file.yaml: ")
    assert "pip install" in said
    assert "\n" not in said
