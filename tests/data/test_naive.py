"""The naive method through the real client: how much data, from where, and what was left out."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mini_lima.chat import ChatMode, Endpoint, Reply
from mini_lima.data.filters import Filters, TaskFilter, new_instances
from mini_lima.data.parsing import instances, pairs
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


def test_prompt_1_shows_every_seed_once_a_round_in_an_order_that_the_seed_draws(
    study: Study,
) -> None:
    study.set_seeds(seed_rows(8))

    def hands(shuffle_seed: int) -> list[list[str]]:
        shown: list[list[str]] = []

        def pairs(rows: list[dict[str, str]]) -> str:
            shown.append([row["name"] for row in rows])
            return good_pairs(rows)

        study.naive_by(Teacher(pairs), shuffle_seed=shuffle_seed, cache=f"{len(orders)}")
        return sorted(shown)

    orders: list[list[list[str]]] = []
    for shuffle_seed in (0, 0, 1):
        orders.append(hands(shuffle_seed))
    for order in orders:
        assert sorted(name for hand in order for name in hand) == [f"task_{n}" for n in range(8)]
        assert [len(hand) for hand in order] == [2] * 4
    assert orders[0] == orders[1] != orders[2]


def test_prompt_3_shows_each_new_task_another_seed_with_all_its_instances(study: Study) -> None:
    shown: list[Asked] = []

    def new(asked: Asked) -> str:
        shown.append(asked)
        return good_instances(asked)

    study.naive_by(Teacher(new=new))
    assert len({asked.example["name"] for asked in shown if asked.example}) == 3
    for asked in shown:
        assert asked.example
        assert len(asked.example["instances"]) == 3
        assert set(asked.task) == {"name", "instruction"}


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


def test_every_example_names_the_request_whose_reply_holds_its_output(study: Study) -> None:
    made = study.naive_by(GOOD)
    exchanges = made.exchanges()
    seeds = {row["name"]: row for row in seed_rows(3)}
    for each in made.examples:
        if each.source == "seed":
            assert each.request is None
            assert {"input": each.input, "output": each.output} in seeds[each.name]["instances"]
            continue
        assert each.request
        prompt, reply = exchanges[each.request]
        beginning = {"prompt 2": "Following is a JSON line", "prompt 3": "Following data"}
        assert prompt.startswith(beginning[each.source])
        assert json.dumps(each.instruction) in prompt
        held = [(found.instance.input, found.instance.output) for found in instances(reply.text)[0]]
        assert (each.input, each.output) in held


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


@pytest.mark.parametrize("max_idle_rounds", [2])
def test_rounds_that_bring_nothing_new_end_the_search(
    study: Study, caplog: pytest.LogCaptureFixture, max_idle_rounds: int
) -> None:
    study.set_seeds(seed_rows(4))
    same = jsonl({"name": "only", "instruction": "The only one."})
    made = study.naive_by(
        Teacher(lambda shown: same), max_rounds=9, max_idle_rounds=max_idle_rounds
    )
    assert made.stats["rounds_of_prompt_1"] == 1 + max_idle_rounds
    assert (made.stats["new_tasks"], made.stats["new_tasks_wanted"]) == (1, 4)
    assert "not 4" in caplog.text


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


PIECES: list[Callable[[random.Random], str]] = [
    lambda draw: "Here you are:\n",
    lambda draw: "```json\n",
    lambda draw: "{",
    lambda draw: "}\n",
    lambda draw: '"\\ud83d',
    lambda draw: f"{draw.randrange(9)}. ",
    lambda draw: jsonl({"name": f"n{draw.randrange(9)}", "instruction": f"Do {draw.random()}."}),
    lambda draw: jsonl({"name": "", "instruction": "x"}),
    lambda draw: jsonl(instance(str(draw.randrange(9)))),
    lambda draw: json.dumps({"output": draw.choice(["\ud83d", "é\u2028\n", {"k": [1]}, None])}),
    lambda draw: jsonl({"instances": [instance(str(draw.randrange(9))), {"input": "x"}]}),
    lambda draw: repr(instance(f"it's {draw.randrange(9)}")),
]


def found_in(prompt: str, text: str) -> list[Any]:
    if prompt.startswith("Following are"):
        found, faults = pairs(text)
        return [*found, *faults]
    shown = json.loads(prompt.split("\n")[1].removeprefix("Example data: "))["instances"]
    held, faults = instances(text)
    if prompt.startswith("Following is"):
        own = [(each["input"], each["output"]) for each in shown]
        held = [each for each in held if (each.instance.input, each.instance.output) not in own]
    return [*held, *faults]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_the_teacher_says_everything_is_an_example_or_a_reject(
    study: Study, seed: int
) -> None:
    def babble(call: Call) -> Answer:
        draw = random.Random(f"{seed} {call.last_message}")
        text = "".join(draw.choice(PIECES)(draw) for _ in range(draw.randrange(12)))
        return completion(text, finish_reason=draw.choice(["stop", "length"]))

    study.set_seeds(seed_rows(6))
    with FakeOpenAI(babble) as server:
        endpoint = Endpoint("fake", server.base_url, max_retries=0)
        made = study.naive(endpoint, pairs_per_prompt=3)
    used = Counter(each.request for each in made.examples if each.request)
    notes = ("missing", "reply cut off")
    rejected = Counter(
        each["request"] for each in made.rejects if not each["reason"].endswith(notes)
    )
    new_tasks = 0
    for key, (prompt, reply) in made.exchanges().items():
        found = len(found_in(prompt, reply.text))
        if prompt.startswith("Following are"):
            new_tasks += found - rejected[key]
        else:
            assert found == used[key] + rejected[key]
    assert new_tasks == made.stats["new_tasks"]


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
