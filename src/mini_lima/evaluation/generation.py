"""A model's answers to the evaluation instructions, in AlpacaEval's ``model_outputs.json`` format.

The prompt is rendered by the template that training used, and an answer ends at the end-of-turn
token. An answer that never got there ran into the length limit; such answers are counted.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
import transformers

from mini_lima import launch
from mini_lima.evaluation.pairs import read_answers
from mini_lima.files import write_json
from mini_lima.language_model import load_model, load_tokenizer
from mini_lima.progress import progress
from mini_lima.rendering import ChatTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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

    Raises:
        UserError: the instructions or the tokenizer do not fit.
    """
    transformers.utils.logging.set_verbosity_error()
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tokenizer = load_tokenizer(model, revision)
    template = ChatTemplate(tokenizer)
    rows = read_answers(reference_outputs, unnamed="reference")[:limit]
    prompts = [template.prompt(row.instruction) for row in rows]

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    place = "cpu" if device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}"
    network = load_model(model, revision, init_seed, dtype).to(place).eval()
    torch.manual_seed(seed)
    mine = _answers(
        network,
        prompts,
        range(rank, len(prompts), ranks),
        stops=_stops(network, template),
        pad=template.end_of_turn,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        temperature=temperature,
        label=f"answers of {generator}",
    )
    answers = _gathered(mine, ranks)
    if rank == 0:
        texts = [tokenizer.decode(answers[i][0], skip_special_tokens=True) for i in range(len(rows))]
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
            "cut_at_limit": sum(cut for _, cut in answers.values()),
            "empty": sum(not text.strip() for text in texts),
            "mean_length_characters": fmean(len(text) for text in texts),
            "mean_length_tokens": fmean(len(ids) for ids, _ in answers.values()),
        }
        write_json(output_dir / "health.json", health)


def _stops(network: "PreTrainedModel", template: ChatTemplate) -> list[int]:
    """Every token that ends a turn: the template's and whatever the model's own files name."""
    own = network.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [] if own is None else [own]
    return sorted({template.end_of_turn, *listed})


def _answers(
    network: "PreTrainedModel",
    prompts: Sequence[list[int]],
    numbers: Sequence[int],
    *,
    stops: list[int],
    pad: int,
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    label: str,
) -> dict[int, Answer]:
    """Answer the prompts with these ``numbers``, those of similar length side by side."""
    by_length = sorted(numbers, key=lambda number: len(prompts[number]))
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
    answers: dict[int, Answer] = {}
    with progress(label, total=len(by_length)) as bar:
        for start in range(0, len(by_length), batch_size):
            batch = by_length[start : start + batch_size]
            width = max(len(prompts[number]) for number in batch)
            left = [[pad] * (width - len(prompts[n])) + prompts[n] for n in batch]
            mask = [[0] * (width - len(prompts[n])) + [1] * len(prompts[n]) for n in batch]
            with torch.inference_mode():
                written = network.generate(
                    input_ids=torch.tensor(left, device=network.device),
                    attention_mask=torch.tensor(mask, device=network.device),
                    max_new_tokens=max_new_tokens,
                    eos_token_id=stops,
                    pad_token_id=pad,
                    **sampling,
                )
            for number, ids in zip(batch, written[:, width:].tolist(), strict=True):
                end = next((at for at, token in enumerate(ids) if token in stops), None)
                answers[number] = (ids[:end], end is None)
            bar.advance(len(batch))
    return answers


def _gathered(mine: dict[int, Answer], ranks: int) -> dict[int, Answer]:
    """The answers of all ranks, on every rank."""
    if ranks == 1:
        return mine
    torch.distributed.init_process_group("gloo")
    parts: list[dict[int, Answer]] = [{} for _ in range(ranks)]
    torch.distributed.all_gather_object(parts, mine)
    torch.distributed.destroy_process_group()
    return {number: answer for part in parts for number, answer in part.items()}


if __name__ == "__main__":
    launch.work(generate)
