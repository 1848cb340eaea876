"""Real runs on the CPU, under every option of DeepSpeed that is offered, against a plain loop."""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainingArguments

from mini_lima.errors import UserError
from mini_lima.files import read_json
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation
from mini_lima.sft.batches import render
from mini_lima.sft.deepspeed_config import Batches
from mini_lima.sft.order import MicroBatches, Order
from mini_lima.sft.trainer import SftTrainer
from tests.sft.attempts import (
    EPOCHS,
    EXAMPLES,
    OPTIONS,
    STEPS,
    TINY,
    Attempt,
    Attempts,
    without_deepspeed,
)
from tests.sft.by_hand import furthest, mean_distance, plain_loop, rate
from tests.sft.test_deepspeed_config import SHARDING


@dataclass(frozen=True)
class Case:
    """How a run is divided."""

    option: str
    processes: int = 1
    micro: int = 2


IN_FP32 = {
    "zero0": Case("zero0"),
    "zero1 on two": Case("zero1", 2),
    "zero2": Case("zero2"),
    "zero2_offload": Case("zero2_offload"),
    "in one micro-batch": Case("zero2_offload", 1, 8),
    "zero3 of pretrained weights on two": Case("zero3", 2),
    "zero3_offload": Case("zero3_offload"),
}
IN_BF16 = ["zero2_offload", "zero3"]
FILES = {
    *("model.safetensors", "config.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("metrics.jsonl", "deepspeed.json", "summary.json", "README.md"),
}
Runs = dict[str, Future[Attempt]]


@pytest.fixture(scope="module")
def runs(attempts: Attempts, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    pretrained = tmp_path_factory.mktemp("pretrained")
    load_model(TINY, None, 0, torch.float32).save_pretrained(pretrained)
    load_tokenizer(TINY, None).save_pretrained(pretrained)

    found: Runs = {}
    for name, case in IN_FP32.items():
        weights = {"model": str(pretrained), "init_seed": None} if "pretrained" in name else {}
        settings = {"deepspeed": OPTIONS[case.option], "micro_batch_size_per_gpu": case.micro}
        found[name] = attempts.whole(case.processes, **settings, **weights)
    for option in IN_BF16:
        found[f"{option} in bf16"] = attempts.whole(
            deepspeed=OPTIONS[option], precision="bf16", micro_batch_size_per_gpu=1
        )
    return found


@pytest.fixture(scope="module")
def conversations() -> list[Conversation]:
    template = ChatTemplate(load_tokenizer(TINY, None))
    return render(EXAMPLES, template, max_length=256, overlong="refuse").conversations


def test_however_it_is_divided_training_is_what_a_plain_loop_does(runs: Runs) -> None:
    assert {each.option for each in IN_FP32.values()} == SHARDING.keys()
    losses, weights = plain_loop()

    for name in IN_FP32:
        run = runs[name].result()
        assert set(run.codes) == {0}, (name, run.raised)
        assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-4), name
        # PyTorch's norm of the gradient, by which it is clipped, is a float32 sum: good to 1e-4.
        assert furthest(run.weights, weights) < 5e-5, name


def test_in_bf16_the_gradients_of_the_micro_batches_are_added_up_in_fp32(runs: Runs) -> None:
    losses, exactly = plain_loop(torch.bfloat16, added_up_in=torch.float32)
    _, rounded = plain_loop(torch.bfloat16, added_up_in=torch.bfloat16)

    for option in IN_BF16:
        run = runs[f"{option} in bf16"].result()
        assert run.codes == [0], (option, run.raised)
        assert [row["loss"] for row in run.rows] == pytest.approx(losses, rel=1e-3), option
        # Not equal either way: each passes through its own roundings to bf16. It is 0.43 to 0.6.
        ratio = mean_distance(run.weights, exactly) / mean_distance(run.weights, rounded)
        assert ratio < 0.85, option


@pytest.mark.parametrize("name", ["in one micro-batch", "zero1 on two"])
def test_neither_accumulation_nor_a_second_process_changes_the_result(
    name: str, runs: Runs
) -> None:
    accumulating, other = runs["zero2_offload"].result(), runs[name].result()

    for key in ("loss", "grad_norm"):
        assert [row[key] for row in other.rows] == pytest.approx(
            [row[key] for row in accumulating.rows], rel=1e-5
        )
    assert furthest(other.weights, accumulating.weights) < 1e-5


def test_every_optimizer_step_has_a_row_with_the_rate_it_used(
    runs: Runs, conversations: list[Conversation]
) -> None:
    run = runs["zero2_offload"].result()
    summary = read_json(run.output_dir / "summary.json")

    assert [row["step"] for row in run.rows] == list(range(1, STEPS + 1))
    assert [row["learning_rate"] for row in run.rows] == pytest.approx(
        [rate(update) for update in range(1, STEPS + 1)]
    )
    tokens = sum(each.tokens for each in conversations)
    assert sum(row["tokens"] for row in run.rows) == EPOCHS * tokens
    assert (summary["tokens"], summary["steps"], summary["examples"]) == (tokens, STEPS, 9)
    assert summary["first_loss"] == run.rows[0]["loss"]
    assert summary["last_loss"] == run.rows[-1]["loss"] < 0.9 * summary["first_loss"]


@pytest.mark.parametrize("name", ["zero0", "zero3 of pretrained weights on two", "zero3_offload"])
def test_transformers_loads_what_is_saved_and_the_tied_head_is_stored_once(
    name: str, runs: Runs
) -> None:
    folder = runs[name].result().output_dir
    model = AutoModelForCausalLM.from_pretrained(folder)
    parameters = read_json(folder / "summary.json")["parameters"]

    for key, tensor in runs[name].result().weights.items():
        assert torch.equal(model.get_parameter(key), tensor)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert parameters == sum(each.numel() for each in model.parameters())
    size = (folder / "model.safetensors").stat().st_size
    assert 4 * parameters < size < 4 * parameters + 10_000
    assert {path.name for path in folder.iterdir()} == FILES


def test_data_parallelism_without_deepspeed_is_refused_at_the_start(attempts: Attempts) -> None:
    run = attempts.one(meanwhile=(without_deepspeed, None)).result()

    assert run.codes == [1]
    assert run.raised[0].startswith("RuntimeError: DeepSpeed was asked for, but ")


def trainer(folder: Path, conversations: list[Conversation]) -> SftTrainer:
    """One that nobody has told of DeepSpeed."""
    size = len(conversations)
    return SftTrainer(
        model=load_model(TINY, None, 0, torch.float32),
        args=TrainingArguments(str(folder), use_cpu=True, report_to=[], disable_tqdm=True),
        train_dataset=conversations,
        micro_batches=MicroBatches(Order(size, 4, seed=0), Batches(4, 1, 1), [1] * size, rank=0),
    )


def test_training_without_deepspeed_is_an_error(
    tmp_path: Path, conversations: list[Conversation]
) -> None:
    with pytest.raises(RuntimeError, match=r"^DeepSpeed was asked for, but Qwen2ForCausalLM would"):
        trainer(tmp_path, conversations).train()


def test_tokens_that_the_model_has_no_embedding_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"qwen-tiny: .*token 4096, .* 4096 embeddings"):
        trainer(tmp_path, [Conversation([1, 2], [3]), Conversation([1], [4095, 4096])])
