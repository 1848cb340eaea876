"""Real runs on the CPU: DeepSpeed's engine and Trainer against a plain loop.

One of them goes through the elastic launcher; the others, which need not, are forks.
"""

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.sft.attempts import (
    ADAMW,
    EXAMPLES,
    LAUNCH,
    OPTIONS,
    SETTINGS,
    TINY,
    WARMUP,
    Attempts,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, TrainingArguments

from mini_lima import sft
from mini_lima.files import read_json, read_jsonl
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft.batches import flatten, render
from mini_lima.sft.choices import Choice
from mini_lima.sft.deepspeed_config import Batches, deepspeed_config
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.trainer import SftTrainer

EPOCHS, STEPS = 8, 16
MICRO_BATCH = 4
RUNS: dict[str, dict[str, Any]] = {
    "accumulating": {},
    "the same again": {},
    "in one micro-batch": {"micro_batch_size_per_gpu": 8},
    "two processes": {"processes": 2},
    "zero3 of pretrained weights on two processes": {
        "deepspeed": OPTIONS["zero3"],
        "processes": 2,
        "init_seed": None,
    },
}
LAUNCHED = "two processes"
FILES = {
    *("model.safetensors", "config.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("metrics.jsonl", "deepspeed.json", "summary.json", "README.md"),
}


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "metrics.jsonl")

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        with safe_open(self.folder / "model.safetensors", "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def runs(
    attempts: Attempts, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Run]]]:
    pretrained = tmp_path_factory.mktemp("pretrained")
    load_model(TINY, None, 0, torch.float32).save_pretrained(pretrained)
    load_tokenizer(TINY, None).save_pretrained(pretrained)

    def train(name: str) -> Run:
        changes = {"micro_batch_size_per_gpu": MICRO_BATCH, "epochs": EPOCHS, **RUNS[name]}
        if "init_seed" in changes:
            changes["model"] = str(pretrained)
        if name != LAUNCHED:
            return Run(attempts.one(**changes).result().output_dir)
        folder, work_dir = (tmp_path_factory.mktemp(each) for each in ("sft", "work"))
        given = {**SETTINGS, **LAUNCH, **changes}
        sft.train(folder, data=attempts.data, work_dir=work_dir, **given)
        return Run(folder)

    side_by_side = ThreadPoolExecutor(2)
    yield {name: side_by_side.submit(train, name) for name in sorted(RUNS, key=LAUNCHED.__ne__)}
    side_by_side.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    template = ChatTemplate(load_tokenizer(TINY, None))
    return render(EXAMPLES, template, max_length=256, overlong="refuse").conversations


def rate(update: int) -> float:
    """DeepSpeed's logarithmic warm-up: none in the first two updates, then ln(k−1)/ln(n)."""
    part = math.log(max(update - 1, 1)) / math.log(WARMUP["warmup_num_steps"])
    return ADAMW["lr"] * min(part, 1.0)


@pytest.fixture(scope="module")
def plain_loop(conversations: list[Conversation]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """What the settings mean, in PyTorch alone: the losses, and the weights at the end."""
    model: Any = load_model(TINY, None, 0, torch.float32)
    adam = torch.optim.AdamW(
        model.parameters(),
        betas=tuple(ADAMW["betas"]),
        eps=ADAMW["eps"],
        weight_decay=ADAMW["weight_decay"],
    )
    order = Order(len(conversations), 8, SETTINGS["seed"])
    losses = []
    for epoch in range(EPOCHS):
        for members in order.global_batches(epoch):
            batch = flatten([conversations[i] for i in members])
            loss = summed_loss(model, batch) / sum(len(conversations[i].response) for i in members)
            losses.append(loss.item())
            adam.param_groups[0]["lr"] = rate(len(losses))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), SETTINGS["gradient_clipping"])
            adam.step()
            adam.zero_grad()
    return losses, {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", RUNS)
def test_however_it_is_divided_training_is_what_a_plain_loop_does(
    name: str,
    runs: dict[str, Future[Run]],
    plain_loop: tuple[list[float], dict[str, torch.Tensor]],
) -> None:
    losses, weights = plain_loop
    run = runs[name].result()

    assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-4)
    saved = run.weights
    assert saved.keys() == weights.keys()
    for key, expected in weights.items():
        # PyTorch's norm of the gradient, by which it is clipped, is a float32 sum: good to 1e-4.
        torch.testing.assert_close(saved[key], expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", ["in one micro-batch", "two processes"])
def test_neither_accumulation_nor_a_second_process_changes_the_result(
    name: str, runs: dict[str, Future[Run]]
) -> None:
    accumulating, other = runs["accumulating"].result(), runs[name].result()

    for key in ("loss", "grad_norm"):
        assert [row[key] for row in other.rows] == pytest.approx(
            [row[key] for row in accumulating.rows], rel=1e-5
        )
    weights = other.weights
    for key, tensor in accumulating.weights.items():
        torch.testing.assert_close(weights[key], tensor, rtol=0, atol=1e-5)


def test_the_same_seed_gives_bit_identical_losses_and_weights(
    runs: dict[str, Future[Run]],
) -> None:
    one, other = runs["accumulating"].result(), runs["the same again"].result()

    timed = "tokens_per_second"
    assert [{**row, timed: 0} for row in one.rows] == [{**row, timed: 0} for row in other.rows]
    weights = other.weights
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.weights.items())


def test_every_optimizer_step_has_a_row_with_the_rate_it_used(
    runs: dict[str, Future[Run]], conversations: list[Conversation]
) -> None:
    run = runs["accumulating"].result()
    summary = read_json(run.folder / "summary.json")

    assert [row["step"] for row in run.rows] == list(range(1, STEPS + 1))
    assert [row["learning_rate"] for row in run.rows] == pytest.approx(
        [rate(update) for update in range(1, STEPS + 1)]
    )
    assert [row["learning_rate"] for row in run.rows[:2]] == [0, 0]
    tokens = sum(len(each.prompt) + len(each.response) for each in conversations)
    assert sum(row["tokens"] for row in run.rows) == EPOCHS * tokens
    assert (summary["tokens"], summary["steps"], summary["examples"]) == (tokens, STEPS, 9)
    assert summary["first_loss"] == run.rows[0]["loss"]
    assert summary["last_loss"] == run.rows[-1]["loss"] < 0.8 * summary["first_loss"]


@pytest.mark.parametrize("name", ["accumulating", "zero3 of pretrained weights on two processes"])
def test_transformers_loads_what_is_saved_and_the_tied_head_is_stored_once(
    name: str, runs: dict[str, Future[Run]]
) -> None:
    run = runs[name].result()
    model = AutoModelForCausalLM.from_pretrained(run.folder)
    parameters = read_json(run.folder / "summary.json")["parameters"]

    for key, tensor in run.weights.items():
        assert torch.equal(model.get_parameter(key), tensor)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert parameters == sum(each.numel() for each in model.parameters())
    size = (run.folder / "model.safetensors").stat().st_size
    assert 4 * parameters < size < 4 * parameters + 10_000
    assert {path.name for path in run.folder.iterdir()} == FILES


def test_generation_stops_at_the_end_of_turn(runs: dict[str, Future[Run]]) -> None:
    folder = runs["accumulating"].result().folder
    tokenizer = AutoTokenizer.from_pretrained(folder)

    settings = GenerationConfig.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(settings.eos_token_id) == ["<|im_end|>"]
    assert settings.pad_token_id == tokenizer.pad_token_id
    assert [ChatTemplate(tokenizer).end_of_turn] == settings.eos_token_id


def test_what_deepspeed_was_given_is_kept(runs: dict[str, Future[Run]]) -> None:
    kept = read_json(runs[LAUNCHED].result().folder / "deepspeed.json")

    assert kept == deepspeed_config(
        optimizer=Choice(**SETTINGS["optimizer"]),
        scheduler=Choice(**SETTINGS["scheduler"]),
        total_steps=STEPS,
        zero=SETTINGS["deepspeed"],
        batches=Batches(micro=MICRO_BATCH, accumulation=1, processes=2),
        precision="fp32",
        gradient_clipping=1.0,
        device="cpu",
    )


def test_training_without_deepspeed_is_an_error(
    tmp_path: Path, conversations: list[Conversation]
) -> None:
    order = Order(len(conversations), 4, seed=0)
    trainer = SftTrainer(
        micro_batches=MicroBatches(order, Batches(4, 1, 1), [1] * len(conversations), rank=0),
        model=load_model(TINY, None, 0, torch.float32),
        args=TrainingArguments(str(tmp_path), use_cpu=True, report_to=[], disable_tqdm=True),
        train_dataset=conversations,
    )

    with pytest.raises(RuntimeError, match=r"^DeepSpeed was asked for, but Qwen2ForCausalLM would"):
        trainer.train()
