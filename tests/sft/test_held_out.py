"""Examples held out: which, that training does not see them, and the loss on them."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from mini_lima.errors import UserError
from mini_lima.files import read_json, write_jsonl
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate
from mini_lima.sft.batches import flatten, render
from mini_lima.sft.held_out import held_out_tasks
from mini_lima.sft.loss import summed_loss
from tests.sft.attempts import EXAMPLES, OPTIONS, TINY, Attempt, Attempts

SHARE = 0.3
TASKS = st.sets(st.text(max_size=8), min_size=2, max_size=30)
SHARES = st.floats(1e-6, 0.999)


@given(TASKS, SHARES, SHARES)
def test_some_tasks_are_held_out_never_all_and_a_larger_share_holds_out_more(
    tasks: set[str], one: float, other: float
) -> None:
    fewer, more = (held_out_tasks(sorted(tasks), share) for share in sorted((one, other)))

    assert 0 < len(fewer) <= len(more) < len(tasks)
    assert fewer <= more < tasks


def test_a_single_task_cannot_be_divided() -> None:
    with pytest.raises(UserError, match=r"sft\.held_out=0\.1: .*1 task"):
        held_out_tasks(["only"], 0.1)


def grouped(i: int) -> dict[str, Any]:
    return {**EXAMPLES[i], "task": f"task-{i // 2}"}


@pytest.fixture(scope="module")
def runs(attempts: Attempts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Any]]:
    rows = [grouped(i) for i in range(len(EXAMPLES))]
    held = held_out_tasks([row["task"] for row in rows], SHARE)
    everything, rest = (tmp_path_factory.mktemp(name) for name in ("everything", "rest"))
    write_jsonl(everything / "examples.jsonl", rows)
    write_jsonl(rest / "examples.jsonl", [row for row in rows if row["task"] not in held])
    some: dict[str, Any] = {"data": everything, "held_out": SHARE, "global_batch_size": 4}
    return {
        "zero3 on two": attempts.one(2, deepspeed=OPTIONS["zero3"], **some),
        "not there": attempts.one(data=rest, global_batch_size=4),
        "held out": attempts.chain([(print, None)], checkpoint_steps=5, **some),
    }


def without_loss(run: Attempt) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "held_out_loss"} for row in run.rows]


def losses(run: Attempt) -> dict[int, float]:
    return {row["step"]: row["held_out_loss"] for row in run.rows if "held_out_loss" in row}


def test_training_is_to_the_last_bit_what_it_is_without_them(
    runs: dict[str, Future[Any]],
) -> None:
    run, rest = runs["held out"].result()[0], runs["not there"].result()

    assert run.codes == rest.codes == [0], run.raised + rest.raised
    assert without_loss(run) == rest.rows
    expected = rest.weights
    assert all(torch.equal(tensor, expected[key]) for key, tensor in run.weights.items())


def test_each_epoch_ends_with_the_mean_loss_of_their_tokens(
    runs: dict[str, Future[Any]],
) -> None:
    run: Attempt = runs["held out"].result()[0]
    rows = [grouped(i) for i in range(len(EXAMPLES))]
    held = held_out_tasks([row["task"] for row in rows], SHARE)
    template = ChatTemplate(load_tokenizer(TINY, None))
    kept = [row for row in rows if row["task"] in held]
    conversations = render(kept, template, max_length=256, overlong="refuse").conversations
    model: Any = AutoModelForCausalLM.from_pretrained(run.output_dir)
    with torch.no_grad():
        total = sum(float(summed_loss(model, flatten([each]))) for each in conversations)
    summary = read_json(run.output_dir / "summary.json")

    per_epoch = -(-(len(rows) - len(kept)) // 4)
    assert list(losses(run)) == [per_epoch * epoch for epoch in range(1, 5)]
    last = losses(run)[4 * per_epoch]
    assert last == pytest.approx(
        total / sum(len(each.response) for each in conversations), rel=1e-5
    )
    assert (summary["held_out_examples"], summary["held_out_loss"]) == (len(kept), last)
    assert summary["examples"] == len(rows) - len(kept)
    card = Path(run.output_dir / "README.md").read_text()
    assert f"{len(kept)} examples held out" in card
    assert f"{last:.4f}" in card


def test_several_processes_see_the_same_loss(runs: dict[str, Future[Any]]) -> None:
    run, several = runs["held out"].result()[0], runs["zero3 on two"].result()

    assert several.codes == [0, 0], several.raised
    assert losses(several) == pytest.approx(losses(run), rel=1e-4)


def test_a_resumed_run_has_the_same_rows(runs: dict[str, Future[Any]]) -> None:
    whole, resumed = runs["held out"].result()

    assert resumed.checkpoints
    assert resumed.rows == whole.rows
