"""Loading models: weights from a seed, and folders that come with code."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mini_lima
from mini_lima.errors import UserError
from mini_lima.models.language_model import load_model, load_tokenizer

INDEX = "model.safetensors.index.json"
TINY = Path(mini_lima.__file__).parent / "assets/qwen-tiny"


def weights(seed):
    parameters = load_model(TINY, None, seed, torch.float32).parameters()
    return torch.nn.utils.parameters_to_vector(parameters)


def test_weights_follow_from_the_seed_alone_and_drawing_them_disturbs_no_other_draw():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = weights(7)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(weights(7), one)
    assert not torch.equal(weights(8), one)


def test_a_saved_model_is_read_back_in_the_precision_asked_for(tmp_path):
    made = load_model(TINY, None, 3, torch.float32)
    made.save_pretrained(tmp_path)
    found = load_model(tmp_path, None, None, torch.bfloat16)
    assert found.dtype == torch.bfloat16
    name = "model.layers.0.mlp.up_proj.weight"
    original, read = made.state_dict()[name], found.state_dict()[name]
    assert torch.equal(original.bfloat16(), read)


def test_another_chat_template_takes_the_place_of_the_tokenizers_and_is_saved_with_it(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages[0].content }}", encoding="utf-8")
    load_tokenizer(TINY, None, file).save_pretrained(tmp_path / "saved")
    found = load_tokenizer(tmp_path / "saved", None)
    assert found.apply_chat_template([{"role": "user", "content": "é?"}], tokenize=False) == "é?"


@pytest.mark.parametrize("init_seed", [None, 0])
def test_code_that_comes_with_a_model_is_not_run_even_if_someone_would_say_yes(
    tmp_path, monkeypatch, init_seed
):
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Odd: pass\n")
    classes = {name: "code.Odd" for name in ("AutoConfig", "AutoModelForCausalLM")}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "odd", "auto_map": classes}))
    tokenizer = {"tokenizer_class": "Odd", "auto_map": {"AutoTokenizer": ["code.Odd", "code.Odd"]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    with pytest.raises(ValueError, match="custom code"):
        load_model(tmp_path, None, init_seed, torch.float32)
    with pytest.raises(ValueError, match="custom code"):
        load_tokenizer(tmp_path, None)
    assert not ran.exists()


@pytest.fixture
def saved(tmp_path):
    """A folder with weights, in two files."""
    load_model(TINY, None, 3, torch.float32).save_pretrained(tmp_path, max_shard_size="1MB")
    return tmp_path


def change_weights(folder, change):
    index = json.loads((folder / INDEX).read_text())
    weights = {}
    for name in set(index["weight_map"].values()):
        weights |= load_file(folder / name)
        (folder / name).unlink()
    (folder / INDEX).unlink()
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


NORM = "model.layers.0.input_layernorm.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: weights.pop(NORM), "1 missing .*input_layernorm"),
        (lambda weights: weights.update(other=torch.zeros(3)), "no use to it .*other"),
        (lambda weights: weights.update({NORM: torch.zeros(3)}), "another shape .*input_layernorm"),
    ],
    ids=["missing", "unexpected", "another shape"],
)
@pytest.mark.parametrize("empty", [False, True])
def test_weights_that_are_not_the_model_s_are_refused(saved, change, complaint, empty):
    change_weights(saved, change)
    with pytest.raises(UserError, match=complaint):
        load_model(saved, None, None, torch.float32, empty=empty)


def test_weights_that_are_tied_may_be_saved_once(saved):
    config = json.loads((saved / "config.json").read_text())
    assert config["tie_word_embeddings"]
    change_weights(saved, lambda weights: weights.pop("lm_head.weight", None))
    found = load_model(saved, None, None, torch.float32)
    assert found.get_output_embeddings().weight is found.get_input_embeddings().weight


def edited(folder, name, **changes):
    document = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    (folder / name).write_text(json.dumps(document | changes))


def shard(folder):
    return next(iter(sorted(folder.glob("*.safetensors"))))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda f: shard(f).write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs"),
        (lambda f: shard(f).write_bytes(shard(f).read_bytes()[:-9]), "cut off"),
        (lambda f: shard(f).write_bytes(b"\xff" * 64), "damaged"),
        (lambda f: shard(f).unlink(), "missing"),
        (lambda f: [(one := shard(f)).unlink(), os.mkfifo(one)], "missing"),
        (
            lambda f: [
                (f / "generation_config.json").unlink(),
                (f / "generation_config.json").mkdir(),
            ],
            "JSON",
        ),
        (lambda f: [each.unlink() for each in f.glob("model*")], "no weights"),
        (lambda f: edited(f, "config.json", quantization_config={"bits": 8}), "quantised"),
        (lambda f: edited(f, INDEX, weight_map={"a": "../../etc/a.safetensors"}), "outside"),
        (lambda f: edited(f, INDEX, weight_map={"a": "/etc/a.safetensors"}), "outside"),
        (lambda f: (f / "generation_config.json").write_text("{"), "JSON"),
        (lambda f: edited(f, "config.json", attn_implementation="me/kernels"), "kernels"),
        (lambda f: edited(f, "config.json", x={"_attn_implementation": {"": "a/b@1"}}), "kernels"),
        (lambda f: edited(f, "adapter_config.json", base_model_name_or_path="a/b"), "adapter"),
        (lambda f: edited(f, "generation_config.json", eos_token_id="</s>"), "no token"),
    ],
)
def test_a_folder_that_is_damaged_or_names_what_is_elsewhere_is_refused(saved, damage, complaint):
    damage(saved)
    with pytest.raises(UserError, match=complaint) as refused:
        load_model(saved, None, None, torch.float32)
    assert "\n" not in str(refused.value)


def test_generation_settings_that_contradict_each_other_are_left_out_and_said(saved, caplog):
    told = {"eos_token_id": 3, "temperature": 0.9, "do_sample": False, "max_length": 4096}
    edited(saved, "generation_config.json", **told)
    found = load_model(saved, None, None, torch.float32)
    assert "generation_config.json" in caplog.text
    found.save_pretrained(saved / "again")
    again = load_model(saved / "again", None, None, torch.float32).generation_config
    assert (again.eos_token_id, again.temperature) == (3, None)
