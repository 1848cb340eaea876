"""The shipped cassette answers both methods whole, as `conf/` lays them out."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.data.conftest import DataSet

from mini_lima.chat import Chat, ChatModel, Endpoint, read_cassette
from mini_lima.data import improved, naive
from mini_lima.data.parsing import instances

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "src/mini_lima/assets"
CASSETTE = ASSETS / "recorded_teacher.jsonl"


def conf(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataSet]:
    root = tmp_path_factory.mktemp("recorded")
    asked, teacher = conf("data/naive"), conf("teacher/recorded")
    recorded = Endpoint(teacher["endpoint"], cassette=CASSETTE)
    chat = Chat(ChatModel(teacher["model"]), recorded, root / "cache")
    for name in ("naive", "improved"):
        (root / name).mkdir()
    naive.build(
        root / "naive",
        seeds=ASSETS / asked["seeds"].removeprefix("embedded:"),
        shuffle_seed=asked["shuffle_seed"],
        pairs_per_prompt=asked["pairs_per_prompt"],
        max_rounds=asked["max_rounds"],
        teacher=chat,
    )
    worked_example = improved.WorkedExample(**conf("data/improved")["worked_example"])
    improved.build(
        root / "improved", naive=root / "naive", worked_example=worked_example, teacher=chat
    )
    return {name: DataSet(root / name, chat.cache) for name in ("naive", "improved")}


def test_it_answers_the_whole_of_both_methods(built: dict[str, DataSet]) -> None:
    assert Counter(each.source for each in built["naive"].examples) == {
        "seed": 24,
        "prompt 2": 48,
        "prompt 3": 119,
    }
    assert Counter(each.source for each in built["improved"].examples) == {"prompt 4": 186}
    rejected = {reject["asked_for"] for reject in built["improved"].rejects}
    ids = [each.id for each in built["naive"].examples]
    assert [each.id for each in built["improved"].examples] == [
        id for id in ids if id not in rejected
    ]
    assert len(set(ids)) == 191


def test_every_recorded_reply_is_used(built: dict[str, DataSet]) -> None:
    assert built["improved"].exchanges().keys() == read_cassette(CASSETTE).keys()


def test_its_few_imperfections_are_all_accounted_for(built: dict[str, DataSet]) -> None:
    assert built["naive"].reasons == {
        "prompt 1: more tasks than wanted": 4,
        "prompt 3: 1 of 5 instances missing": 1,
        "prompt 3: wrong_number": 1,
    }
    assert built["improved"].reasons == {"prompt 4: scaffold": 5}
    assert all(reject["text"].startswith("Output:") for reject in built["improved"].rejects)


def test_every_output_stands_in_the_reply_that_its_example_names(
    built: dict[str, DataSet],
) -> None:
    exchanges = built["improved"].exchanges()
    for each in built["naive"].examples:
        if each.request:
            held = [
                found.instance.output for found in instances(exchanges[each.request][1].text)[0]
            ]
            assert each.output in held
    for each in built["improved"].examples:
        assert each.request
        assert each.output == exchanges[each.request][1].text.strip()


def test_the_improved_outputs_are_longer(built: dict[str, DataSet]) -> None:
    for each in built["improved"].examples:
        assert each.naive_output
        assert len(each.output) > len(each.naive_output)
