import json
import shutil
import sys

import pytest
import torch

from mini_lima.config.sources import ASSETS
from mini_lima.errors import UserError
from mini_lima.experiment import cell, preflight
from mini_lima.experiment.plan import Plan
from mini_lima.models.language_model import load_model
from mini_lima.workers import launch
from tests.composing import configured

EVERYTHING = {"data", "teacher", "sft", "outputs", "annotations", "result", "tracking"}


@pytest.fixture(autouse=True)
def nowhere_logged_in(monkeypatch, tmp_path):
    """No credentials, no GPU; a compiler, whatever this machine has."""
    for variable in ("OPENAI_API_KEY", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CXX", sys.executable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch.cuda_devices.cache_clear()
    yield
    launch.cuda_devices.cache_clear()


def lacks(config, to_do=EVERYTHING, lookups=()):
    return preflight.missing(config, to_do, lookups)


def test_the_study_lacks_both_keys_a_gpu_and_a_login():
    found = lacks(configured())
    assert len(found) == 4
    for line, word in zip(found, ["teacher", "annotator", "CUDA", "wandb login"], strict=True):
        assert word in line


def test_what_is_done_needs_nothing_any_more():
    assert lacks(configured(), to_do={"result"}) == []
    assert lacks(configured(), to_do=set()) == []
    [line] = lacks(configured(), to_do={"annotations"})
    assert "annotator" in line


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_key_is_no_key(monkeypatch, value):
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert len(lacks(configured(), to_do={"teacher"})) == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    assert lacks(configured(), to_do={"teacher"}) == []


@pytest.mark.parametrize("override", ["teacher=recorded", "teacher.api_key_env=null"])
def test_a_teacher_without_a_key_needs_none(override):
    assert lacks(configured(override), to_do={"teacher"}) == []


def test_a_login_is_a_key_or_an_entry_for_that_very_server(monkeypatch, tmp_path):
    config = configured()
    entry = "machine {host} login user password 0123456789012345678901234567890123456789\n"
    (tmp_path / ".netrc").write_text(entry.format(host="api.wandb.ai"))
    assert lacks(config, to_do={"tracking"}) == []
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert len(lacks(config, to_do={"tracking"})) == 1
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert lacks(config, to_do={"tracking"}) == []


def test_variables_with_which_no_request_can_be_sent_are_named_once_for_all_who_would(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    found = lacks(configured(), to_do={"teacher", "annotations", "tracking"})
    assert [line for line in found if "SSL_CERT_FILE=/nowhere.pem" in line] == found[1:2]
    assert lacks(configured("experiment=embedded")) == []


def test_a_missing_compiler_is_found_before_training_and_only_then(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    config = configured("experiment=embedded")
    [line] = lacks(config, to_do={"sft"})
    assert "C++ compiler" in line
    assert lacks(config, to_do={"annotations"}) == []


def test_auto_wants_a_gpu_and_a_global_batch_that_divides_over_all_of_them(monkeypatch):
    config = configured("launch.processes=auto")
    [line] = lacks(config, to_do={"sft"})
    assert line.startswith("1 CUDA GPU(s)")
    monkeypatch.setattr(preflight, "cuda_devices", lambda: 4)
    assert lacks(config, to_do={"sft"}) == []
    monkeypatch.setattr(preflight, "cuda_devices", lambda: 3)
    [line] = lacks(config, to_do={"sft"})
    assert "sft.global_batch_size=16: must be a multiple of" in line
    assert "2 × 3" in line


def test_peft_is_missed_by_lora_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    monkeypatch.setattr(sys, "path", [])
    assert lacks(configured("experiment=embedded"), to_do={"sft"}) == []
    [line] = lacks(configured("experiment=embedded", "adapter=lora"), to_do={"sft"})
    assert "pip install -c constraints.txt -e '.[lora]'" in line


def test_every_file_and_model_that_is_not_there_is_listed_once():
    def first():
        raise UserError("no first")

    def second():
        raise UserError("no second")

    assert lacks(configured("experiment=embedded"), lookups=[first, second, int, first]) == [
        "no first",
        "no second",
    ]


def test_a_plan_names_every_file_that_cannot_be_used_in_one_go(tmp_path):
    pointer = tmp_path / "pointer.jsonl"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    references = tmp_path / "references.jsonl"
    references.write_text('{"instruction": "One.", "output": "1"}\n{"instruction": "Two."}\n')
    recording = tmp_path / "recording.jsonl"
    recording.write_text("{\n")
    config = configured(
        *("experiment=embedded", "evaluation=custom", f"store={tmp_path / 'store'}"),
        *(f"data.seeds={pointer}", f"evaluation.reference_outputs={references}"),
        *(f"teacher.cassette={recording}", "model.source=./nowhere"),
    )
    said: set[str] = set()
    onto = Plan()
    cell.plan(config, {}, "cell", onto, said)
    assert onto.exit_code == 2
    for name, told in (
        (pointer, "git lfs pull"),
        (references, "row 2: there is no output"),
        (recording, ":1: "),
        ("nowhere", "no such file"),
    ):
        assert [line for line in said if str(name) in line and told in line], name


def test_a_plan_finds_what_only_loading_the_model_shows(tmp_path, caplog):
    model = tmp_path / "model"
    load_model(ASSETS / "qwen-tiny", None, 0, torch.float32).save_pretrained(model)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ASSETS / "qwen-tiny" / file, model)
    document = json.loads((model / "config.json").read_text()) | {"num_hidden_layers": 4}
    document["layer_types"] = ["full_attention"] * 4
    (model / "config.json").write_text(json.dumps(document))
    chosen = ("model=custom", "model.name=mine", f"model.source={model}", "annotator=none")
    config = configured("experiment=embedded", *chosen, f"store={tmp_path / 'store'}")
    plan = Plan()
    cell.plan(config, {}, "cell", plan, set())
    assert plan.exit_code == 2
    assert "12 missing" in caplog.text


def test_a_plan_names_every_local_fault_in_one_go(tmp_path, caplog):
    model = tmp_path / "model"
    shutil.copytree(ASSETS / "qwen-tiny", model)
    (model / "generation_config.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "clock.jinja").write_text("{{ strftime_now('%Y') }}")
    long = {"instruction": "word " * 9000, "output": "word " * 400}
    (tmp_path / "rows.jsonl").write_text(json.dumps(long) + "\n")
    (tmp_path / "seen.jsonl").write_text(json.dumps({"prompt": long["instruction"]}) + "\n")
    config = configured(
        *("experiment=embedded", "model=custom", "data=file", "evaluation=custom"),
        *("model.name=mine", "model.weights=random", "model.micro_batch_size_per_gpu=8"),
        *("annotator=none", f"store={tmp_path / 'store'}"),
        f"model.source={model}",
        f"data.steps.file.file={tmp_path / 'rows.jsonl'}",
        f"evaluation.reference_outputs={tmp_path / 'seen.jsonl'}",
        f"model.baseline_template={tmp_path / 'clock.jinja'}",
    )
    plan = Plan()
    cell.plan(config, {}, "cell", plan, set())
    assert plan.exit_code == 2
    for fault in ("git lfs pull", "today's date", "sft.max_length=512", "no room for an answer"):
        assert fault in caplog.text
