"""Loading models: weights from a seed, and folders that come with code."""

import json
from pathlib import Path

import pytest
import torch

import mini_lima
from mini_lima.models.language_model import load_model, load_tokenizer

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
    monkeypatch.setattr("builtins.input", lambda *_: "yes")
    with pytest.raises(ValueError, match="custom code"):
        load_model(tmp_path, None, init_seed, torch.float32)
    with pytest.raises(ValueError, match="custom code"):
        load_tokenizer(tmp_path, None)
    assert not ran.exists()
