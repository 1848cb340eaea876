"""The study's data stages against a teacher on loopback."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mini_lima.chat import LEDGER, Chat, ChatModel, Endpoint, Reply
from mini_lima.chat.replies import read_reply
from mini_lima.data import run_step
from mini_lima.data.examples import Example, read_examples
from mini_lima.data.filters import Filters
from mini_lima.data.rewriting import FewShot
from mini_lima.files import read_json, read_jsonl
from tests.chat.server import FakeOpenAI
from tests.data.teachers import Teacher, jsonl, seed_rows

FAKE = ChatModel("fake", temperature=1.0)
ASSETS = Path(__file__).parents[2] / "src/mini_lima/assets"
PROMPTS = {
    "new_tasks_prompt": ASSETS / "prompts/1_new_tasks.txt",
    "more_instances_prompt": ASSETS / "prompts/2_more_instances.txt",
    "new_instances_prompt": ASSETS / "prompts/3_new_instances.txt",
}
LENGTHEN = ASSETS / "prompts/4_lengthen.txt"
FEW_SHOT = FewShot("rain", "Say it.", "rain", "It rains.", "It pours")


@dataclass(frozen=True)
class DataSet:
    """A finished data set and the cache with the replies that it was made of."""

    folder: Path
    cache: Path

    @property
    def examples(self) -> list[Example]:
        return read_examples(self.folder)

    @property
    def outputs(self) -> list[str]:
        return [example.output for example in self.examples]

    @property
    def rejects(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "rejects.jsonl")

    @property
    def reasons(self) -> Counter[str]:
        return Counter(f"{reject['prompt']}: {reject['reason']}" for reject in self.rejects)

    @property
    def stats(self) -> dict[str, Any]:
        return read_json(self.folder / "stats.json")

    @property
    def files(self) -> dict[str, bytes]:
        """All but the ledger: who resumes pays less."""
        paths = (path for path in self.folder.iterdir() if path.name != LEDGER)
        return {path.name: path.read_bytes() for path in paths}

    def exchanges(self) -> dict[str, tuple[str, Reply]]:
        """The prompt and the reply of every request that was answered, by the request's key."""
        with sqlite3.connect(self.cache) as database:
            rows = database.execute("SELECT request_key, request, response FROM responses")
            return {
                key: (
                    json.loads(request)["messages"][-1]["content"],
                    read_reply(key, json.loads(response), cached=True),
                )
                for key, request, response in rows
            }


class Study:
    """Builds data sets below ``root`` from ``seeds``, by default three of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.least_used = 0.0
        self.seeds = root / "seeds.jsonl"
        self.set_seeds(seed_rows(3))
        self._built = 0

    def set_seeds(self, rows: list[dict[str, Any]]) -> None:
        self.seeds.write_text(jsonl(*rows), encoding="utf-8")

    def naive(self, endpoint: Endpoint, *, cache: str = "cache", **params: Any) -> DataSet:
        # Tasks of the tests' teacher are meant to be alike.
        filters = Filters(near_duplicate=False)
        defaults = {
            "shuffle_seed": 0,
            "pairs_per_prompt": 2,
            "max_rounds": 3,
            "max_idle_rounds": 9,
            "filters": filters,
        }
        teacher = params.pop("teacher", FAKE)
        keywords = defaults | params
        return self.run(
            "self_instruct", endpoint, cache, teacher, keywords, seeds=self.seeds, **PROMPTS
        )

    def improved(
        self, before: DataSet, endpoint: Endpoint, *, cache: str = "cache", **params: Any
    ) -> DataSet:
        teacher = params.pop("teacher", FAKE)
        keywords = {"few_shot": FEW_SHOT, "prompt": LENGTHEN} | params
        prompt = {"prompt": keywords.pop("prompt")}
        return self.run("rewrite", endpoint, cache, teacher, keywords, data=before.folder, **prompt)

    def run(
        self,
        step: str,
        endpoint: Endpoint,
        cache: str,
        teacher: ChatModel,
        keywords: dict[str, Any],
        **given: Path,
    ) -> DataSet:
        self._built += 1
        data_set = DataSet(self.root / f"data set {self._built}", self.root / cache)
        data_set.folder.mkdir()
        run_step(
            data_set.folder,
            step=f"mini_lima.data.{step}",
            name={"rewrite": "lengthen"}.get(step, step),
            keywords=keywords,
            teacher=Chat(teacher, endpoint, data_set.cache),
            inputs=["data"] if "data" in given else [],
            least_used=self.least_used,
            **given,
        )
        return data_set

    @contextmanager
    def taught_by(self, teacher: Teacher) -> Iterator[Endpoint]:
        with FakeOpenAI(teacher) as server:
            yield Endpoint("fake", server.base_url, concurrency=4, max_retries=0)

    def naive_by(self, teacher: Teacher, **params: Any) -> DataSet:
        with self.taught_by(teacher) as endpoint:
            return self.naive(endpoint, **params)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)
