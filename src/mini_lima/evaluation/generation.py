"""A model's answers to the evaluation instructions, in AlpacaEval's ``model_outputs.json`` format.

The prompt is rendered by the template that training used, and an answer ends at the end-of-turn
token. An answer that never got there ran into the length limit; such answers are counted.

How the work is shared out changes no answer. The batches are those of a single process, each with
its own seed, and whole batches go to the processes in turn. Of the settings that may come with a
model (a repetition penalty, say) none is in force but its end tokens: two models are compared as
the configuration says.
"""

import os
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import GenerationConfig

from mini_lima import launch
from mini_lima.evaluation.pairs import read_answers
from mini_lima.files import write_json
from mini_lima.language_model import load_model, load_tokenizer
from mini_lima.progress import progress
from mini_lima.rendering import ChatTemplate

if TYPE_CHECKING:
    pass

Answer = tuple[list[int], bool]
"""Token ids without the terminator, and whether the limit cut the answer off."""


def generate(
    output_dir: Path,
    *,
    model: str,
    revision: str | None,
    init_seed: int | None,
    reference_outputs: Path,
    limit: int | None,
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    seed: int,
    precision: str,
    generator: str,
    device: str,
    template: str | None = None,
) -> None:
    """Write ``model_outputs.json`` and ``health.json``.

    Args:
        output_dir: Receives the two files.
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights; None reads the model's own.
        reference_outputs: File with the instructions.
        limit: Only the first so many instructions.
        max_new_tokens: Length limit of an answer.
        batch_size: Answers written side by side.
        temperature: 0 is greedy.
        seed: Of the sampling, where the temperature is above 0.
        precision: ``fp32`` or ``bf16``.
        generator: Name of the model in the outputs.
        device: ``cpu`` or ``cuda``.
        template: File with a chat template to use in place of the tokenizer's own.

    Raises:
        UserError: the instructions or the tokenizer do not fit.
    """
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tokenizer = load_tokenizer(model, revision, template)
    chat = ChatTemplate(tokenizer)
    rows = read_answers(reference_outputs, unnamed="reference")[:limit]
    prompts = [chat.prompt(row.instruction) for row in rows]

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    place = "cpu" if device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}"
    network: Any = load_model(model, revision, init_seed, dtype)  # of whose methods no type knows
    network.to(place).eval()
    stops = chat.stops(network.generation_config.eos_token_id)
    network.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        eos_token_id=stops,
        pad_token_id=chat.end_of_turn,
        **({"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}),
    )

    mine: dict[int, Answer] = {}
    batches = _batches(prompts, batch_size)
    with progress(f"answers of {generator}", total=len(prompts)) as bar:
        for at in range(rank, len(batches), ranks):
            torch.manual_seed(random.Random(f"{seed} {at}").getrandbits(63))
            answers = _answer(network, [prompts[number] for number in batches[at]], stops)
            mine |= zip(batches[at], answers, strict=True)
            bar.advance(len(batches[at]))
    by_number = _gathered(mine, ranks)
    if rank == 0:
        ids = [by_number[number][0] for number in range(len(rows))]
        texts = [str(tokenizer.decode(each, skip_special_tokens=True)) for each in ids]
        outputs = [
            {
                "instruction": row.instruction,
                "output": text,
                "generator": generator,
                "dataset": row.dataset,
            }
            for row, text in zip(rows, texts, strict=True)
        ]
        write_json(output_dir / "model_outputs.json", outputs)
        health = {
            "n": len(rows),
            "cut_at_limit": sum(cut for _, cut in by_number.values()),
            "empty": sum(not text.strip() for text in texts),
            "mean_length_characters": fmean(len(text) for text in texts),
            "mean_length_tokens": fmean(len(each) for each in ids),
        }
        write_json(output_dir / "health.json", health)


def _batches(prompts: Sequence[list[int]], size: int) -> list[list[int]]:
    """The numbers of the prompts, those of similar length together."""
    by_length = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
    return [by_length[start : start + size] for start in range(0, len(prompts), size)]


def _answer(network: Any, prompts: Sequence[list[int]], stops: Sequence[int]) -> list[Answer]:
    """Answer ``prompts`` side by side; they are padded on the left, out of the model's sight."""
    width = max(len(prompt) for prompt in prompts)
    padded = [[stops[0]] * (width - len(prompt)) + prompt for prompt in prompts]
    seen = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    with torch.inference_mode():
        written = network.generate(
            input_ids=torch.tensor(padded, device=network.device),
            attention_mask=torch.tensor(seen, device=network.device),
        )
    assert isinstance(written, torch.Tensor)
    answers: list[Answer] = []
    for ids in written[:, width:].tolist():
        end = next((at for at, token in enumerate(ids) if token in stops), None)
        answers.append((ids[:end], end is None))
    return answers


def _gathered(mine: dict[int, Answer], ranks: int) -> dict[int, Answer]:
    """The answers of all ranks, on every rank."""
    if ranks == 1:
        return mine
    # The first to finish waits for the last, which may have the longest answers.
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))
    parts: list[dict[int, Answer]] = [{} for _ in range(ranks)]
    torch.distributed.all_gather_object(parts, mine)
    torch.distributed.destroy_process_group()
    return {number: answer for part in parts for number, answer in part.items()}


if __name__ == "__main__":
    launch.work(generate)
