import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from markdown_it import MarkdownIt

from mini_lima.errors import UserError
from mini_lima.files import write_json
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.sft.saving import model_card, try_saving
from tests.sft.attempts import SETTINGS, TINY

SUMMARY = {
    "parameters": 10,
    "examples": 9,
    "examples_dropped_as_too_long": 1,
    "tokens": 345,
    "supervised_tokens": 123,
    "micro_batches": "flattened",
    "steps": 8,
    "first_loss": 8.27641,
    "last_loss": 6.09489,
}
ON_THE_HUB = {"model": "Qwen/Qwen1.5-0.5B", "revision": "8f445e3628f3500ee69f24e1303c9f10f5342a39"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "naive-0123456789ab"
    folder.mkdir()
    stage = {"identity": {"fingerprint": "0123456789abcdef"}, "provenance": {"label": "naive"}}
    write_json(folder / "stage.json", stage)
    return folder


def card(data: Path, **changes: Any) -> str:
    settings = {**SETTINGS, "init_seed": None, **ON_THE_HUB, "data": data, **changes}
    return model_card(settings, SUMMARY, {"train_batch_size": 8})


def front_matter(text: str) -> dict[str, Any]:
    _, front, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


def test_names_of_models_and_data_sets_are_shown_and_not_obeyed(data: Path) -> None:
    name = "evil`\n---\n# head|<img src=x>![x](http://evil)\x1b[2J\u202e"
    write_json(
        data / "stage.json", {"identity": {"fingerprint": "0"}, "provenance": {"label": name}}
    )
    text = card(data, model=name, revision="main")
    assert front_matter(text)["base_model"] == name
    body = text.split("---\n", 2)[2]
    assert not {*body} & {*"\x1b\u202e"}
    read = MarkdownIt("gfm-like", {"linkify": False}).parse(body)
    kinds = {each.type for block in read for each in block.children or ()}
    assert kinds <= {"text", "text_special", "softbreak", "code_inline"}
    assert [each.tag for each in read if each.type == "heading_open"] == ["h1", "h2", "h2"]


def test_the_lineage_names_commit_data_set_and_figures(data: Path) -> None:
    text = card(data)

    assert text.count("\n# ") == 1
    assert "- base model: `Qwen/Qwen1.5-0.5B` at commit `8f445e3628f3500ee69f24e1303c9f" in text
    assert "- data set: `naive`, fingerprint `0123456789abcdef`\n" in text
    assert "- 9 examples, 1 more left out as too long\n" in text
    assert "| first loss | 8.2764 |\n| last loss | 6.0949 |\n" in text
    _, _, rest = text.partition("```json\n")
    assert json.loads(rest.partition("```")[0]) == {"train_batch_size": 8}


@pytest.mark.parametrize(
    "changes",
    [{"model": "/home/me/secret/qwen-tiny", "revision": None}, {"init_seed": 7}],
    ids=["a folder", "random weights"],
)
def test_a_base_that_the_hub_does_not_have_is_not_named_to_it(
    data: Path, changes: dict[str, Any]
) -> None:
    text = card(data, **changes)

    assert "base_model" not in front_matter(text)
    assert "secret" not in text
    assert ("random weights of seed 7" in text) == ("init_seed" in changes)


def test_what_cannot_be_saved_is_found_before_training() -> None:
    network, tokenizer = load_model(TINY, None, 0, torch.float32), load_tokenizer(TINY, None)
    try_saving(network, tokenizer)
    network.generation_config.update(do_sample=False, temperature=0.9)
    with pytest.raises(UserError, match="GenerationConfig"):
        try_saving(network, tokenizer)
