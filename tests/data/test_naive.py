"""The naive method through the real client: how much data, from where, and what was left out."""

import random
import time
from collections import Counter
from dataclasses import replace

import pytest

from mini_lima.chat import ChatMode, Endpoint, Reply
from mini_lima.data.filters import Filters, TaskFilter, new_instances
from mini_lima.data.seeds import Instance, Task
from mini_lima.errors import UserError
from tests.chat.batches import FakeBatches
from tests.chat.server import Answer, Call, FakeOpenAI, completion
from tests.data.conftest import DataSet, Study
from tests.data.teachers import (
    Asked,
    Teacher,
    good_instances,
    good_pairs,
    good_rewriting,
    instance,
    jsonl,
    seed_rows,
)

GOOD = Teacher()


def test_s_seeds_make_three_s_and_five_s_examples(study: Study) -> None:
    made = study.naive_by(GOOD)
    assert Counter(each.source for each in made.examples) == {
        "seed": 3,
        "prompt 2": 6,
        "prompt 3": 15,
    }
    assert len({each.id for each in made.examples}) == 24
    assert made.rejects == []
    assert made.stats["examples"] == 24
    assert made.stats["new_tasks"] == made.stats["seed_tasks"] == 3
    assert made.stats["rounds_of_prompt_1"] == 1


def test_the_data_set_does_not_depend_on_the_order_of_replies(study: Study) -> None:
    shuffle_seed = 7
    study.set_seeds(seed_rows(7))
    arrived: list[list[str]] = []

    def messy_pairs(shown: list[dict[str, str]]) -> str:
        return good_pairs(shown[:1]) + jsonl({"name": "same", "instruction": "Same every time."})

    def build(concurrency: int, delays: int) -> DataSet:
        teacher = Teacher(messy_pairs)

        def late(call: Call) -> str | Answer:
            random_delay = random.Random(f"{delays} {call.last_message}").random()
            time.sleep(random_delay * 0.01 * (delays > 0))
            finished.append(call.last_message)
            return teacher(call)

        finished: list[str] = []
        arrived.append(finished)
        with FakeOpenAI(late) as server:
            endpoint = Endpoint("fake", server.base_url, concurrency=concurrency, max_retries=0)
            return study.naive(endpoint, cache=f"cache {delays}", shuffle_seed=shuffle_seed)

    in_order, *shuffled = [build(1, 0), build(8, 1)]
    assert arrived[0] != arrived[1]
    assert sorted(arrived[0]) == sorted(arrived[1])
    for made in shuffled:
        assert made.files == in_order.files


# Too few, too many, nothing


@pytest.mark.parametrize(
    ("reply", "new_tasks"),
    [
        ("", 0),
        (jsonl({"name": "only", "instruction": "The only one."}), 1),
    ],
)
def test_too_few_new_tasks_are_accepted_after_the_last_round_and_told(
    study: Study, caplog: pytest.LogCaptureFixture, reply: str, new_tasks: int
) -> None:
    made = study.naive_by(Teacher(lambda shown: reply), max_rounds=4)
    assert made.stats["rounds_of_prompt_1"] == 4
    assert made.stats["new_tasks"] == new_tasks
    assert made.stats["examples"] == 9 + 5 * new_tasks
    assert len(made.rejects) == 2 * 4 - new_tasks
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"{new_tasks} new tasks for 3 seed tasks" in told.getMessage()


OWN = {"input": "", "output": "Done: 0."}
TASK_3 = {"name": "new_task_0", "instruction": "New: Do number 0."}
FIVE = [instance(str(number)) for number in range(5)]
EXAMPLE = {"name": "task_0", "instruction": "Do number 0."}


@pytest.mark.parametrize(
    ("reply", "used", "rejected"),
    [
        (jsonl(*FIVE), FIVE, {}),
        (jsonl(TASK_3 | {"instances": FIVE}), FIVE, {}),
        (jsonl(*(TASK_3 | each for each in FIVE)), FIVE, {}),
        (jsonl(*FIVE[:2]), FIVE[:2], {"3 of 5 instances missing": 1}),
        ("No.", [], {"no whole JSON": 1, "5 of 5 instances missing": 1}),
        ("", [], {"empty reply": 1, "5 of 5 instances missing": 1}),
        (jsonl(*FIVE, instance("six"), instance("seven")), FIVE, {"wrong_number": 2}),
        (jsonl(*FIVE, *FIVE[:2]), FIVE, {"instance occurs twice": 2}),
        (jsonl(*FIVE[:4], {"input": "x"}), FIVE[:4], {"output in JSON": 1, "missing": 1}),
        (jsonl({"instances": [*FIVE, {"input": "x"}, "y"]}), FIVE, {"without an output": 2}),
        (jsonl(EXAMPLE | {"instances": FIVE[:2]}, *FIVE), FIVE, {"echo": 2}),
        (jsonl({"name": "task_0"} | FIVE[0], *FIVE[1:]), FIVE[1:], {"echo": 1, "missing": 1}),
        (jsonl(instance("task_0, more 1"), *FIVE), FIVE, {"echo": 1}),
        (jsonl(TASK_3 | instance("task_0, more 1"), *FIVE), FIVE, {"echo": 1}),
        (jsonl({"input": "", "output": "Done: 0."}, *FIVE), FIVE, {"echo": 1}),
    ],
)
def test_all_of_a_reply_to_prompt_3_is_used_or_rejected(
    reply: str, used: list[dict[str, str]], rejected: dict[str, int]
) -> None:
    grown = (OWN, instance("task_0, more 0"), instance("task_0, more 1"))
    seed = Task("s", "task_0", "Do number 0.", tuple(Instance(**each) for each in grown))
    task = Task("new_task_0", TASK_3["name"], TASK_3["instruction"], ())
    own_filter = TaskFilter(Filters(), [replace(seed, instances=seed.instances[:1])])
    new, rejects = new_instances(
        Reply("key", reply, "stop", "m", None, cached=False),
        task=task,
        wanted=5,
        prompt="prompt 3",
        task_filter=own_filter,
        example=seed,
    )
    assert [vars(each) for each in new] == used
    assert len(rejects) == sum(rejected.values())
    for part, count in rejected.items():
        assert sum(part in reject.reason for reject in rejects) == count
    found = {(reject.prompt, reject.asked_for, reject.request) for reject in rejects}
    assert found <= {("prompt 3", "new_task_0", "key")}


def test_a_cut_reply_gives_its_whole_instances_and_says_that_it_was_cut(study: Study) -> None:
    def cut(asked: Asked) -> Answer:
        return completion(good_instances(asked)[:-20], finish_reason="length")

    study.set_seeds(seed_rows(1))
    made = study.naive_by(Teacher(new=cut))
    assert Counter(each.source for each in made.examples)["prompt 3"] == 4
    assert made.reasons["prompt 3: reply cut off"] == 1
    assert made.reasons["prompt 3: 1 of 5 instances missing"] == 1


def silent(asked: object) -> str:
    return ""


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        (Teacher(silent, silent, silent), "prompt 1: 0 of the 3 .*6 × empty reply"),
        (Teacher(more=lambda asked: "no"), "prompt 2: 0 of the 6 .*3 × no whole JSON"),
        (Teacher(new=silent), "prompt 3: 0 of the 15 .*3 × empty reply"),
    ],
)
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_teacher_that_brings_too_little_fails_the_step_and_says_why_by_count(
    study: Study, teacher: Teacher, told: str, mode: ChatMode
) -> None:
    study.least_used = 0.5
    with FakeOpenAI(teacher) as server:
        FakeBatches(server)
        endpoint = Endpoint("fake", server.base_url, max_retries=0, mode=mode, batch_poll=0.01)
        with pytest.raises(UserError, match=told):
            study.naive(endpoint)


def test_less_than_all_is_kept_and_goes_on_to_the_data_sets_made_of_it(study: Study) -> None:
    def first_only(prompt: str) -> str:
        return "" if "Do number 0" in prompt else good_rewriting(prompt)

    study.least_used = 0.5
    with study.taught_by(Teacher(more=silent, longer=first_only)) as endpoint:
        with pytest.raises(UserError, match="prompt 2: 0 of the 6"):
            study.naive(endpoint)
        study.least_used = 0.0
        naive = study.naive(endpoint)
        improved = study.improved(naive, endpoint)
    (short,) = naive.stats["shortfalls"]
    assert (short["prompt"], short["asked_for"], short["used"]) == ("prompt 2", 6, 0)
    own, before = improved.stats["shortfalls"]
    assert (own["step"], own["asked_for"]) == ("lengthen", 18)
    assert own["used"] == len(improved.examples) == 18 - own["reasons"]["empty reply"]
    assert before == short
    assert "prompt 2: 0 of the 6 asked for are used" in (improved.folder / "card.md").read_text()


# Any reply


def test_text_goes_through_the_whole_method_unchanged(study: Study) -> None:
    output = "{name} {output} \\1 \\n \"q\" 's' Grüße 世界 🌍\n\n\tline\u2028two  "

    def strange(asked: Asked) -> str:
        fresh = [{"input": f"{output}{number}", "output": output} for number in range(2)]
        return jsonl(asked.task | {"instances": asked.task["instances"] + fresh})

    shown: list[Asked] = []

    def new(asked: Asked) -> str:
        shown.append(asked)
        return good_instances(asked)

    made = study.naive_by(Teacher(more=strange, new=new))
    assert made.outputs.count(output) == 6
    for asked in shown:
        assert asked.example
        assert [each["output"] for each in asked.example["instances"][1:]] == [output] * 2
