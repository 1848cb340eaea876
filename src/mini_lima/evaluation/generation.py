"""A model's answers to the evaluation instructions, written by transformers in worker processes.

The prompt is rendered by the template that training used, and an answer ends at any of the model's
end-of-turn tokens. Of the settings that may come with a model (a repetition penalty, say) none is
in force but these tokens: two models are compared as the configuration says.

How the work is shared out changes no answer, so every attempt may do it again: answers are in the
work folder the moment they are complete, one file per rank and a JSON line per answer, and what an
earlier attempt left there, on however many ranks, is not made again. What was written survives the
process at once; every few seconds it is also forced onto the disk, where it survives the machine. A
line that was torn, by a kill in the middle of it, is not an answer: its instruction is answered
again.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from mini_lima.chat import ONLY_THOUGHT, are_too_many, separate
from mini_lima.errors import UserError
from mini_lima.evaluation.decoding import Generation, Prompt, decode
from mini_lima.evaluation.outputs import Output, read_questions, write_outputs
from mini_lima.models.language_model import context_length, load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate
from mini_lima.workers import launch
from mini_lima.workers.progress import progress

SECONDS_BETWEEN_SYNCS = 5.0


def generate(
    output_dir: Path,
    *,
    work_dir: Path,
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
    most_failed: float,
    template: str | None = None,
    template_kwargs: dict[str, Any] | None = None,
) -> None:
    """Write the files of `write_outputs`.

    Args:
        output_dir: Receives the files.
        work_dir: Keeps answers between attempts.
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights; None reads the model's own.
        reference_outputs: File with the instructions.
        limit: Only the first so many instructions.
        max_new_tokens: Length limit of an answer.
        batch_size: Answers written side by side; a matter of memory and speed.
        temperature: 0 is greedy.
        seed: Of the sampling, where the temperature is above 0. A sampled answer depends on it, on
            the instruction and on how often that occurred before, and on nothing else.
        precision: ``fp32`` or ``bf16``.
        generator: Name of the model in the outputs.
        device: ``cpu`` or ``cuda``.
        most_failed: Share of the answers that may be thoughts alone.
        template: File with a chat template to use in place of the tokenizer's own.
        template_kwargs: What the template is called with.

    Raises:
        UserError: the instructions, the tokenizer or the model do not fit, or too little memory.
    """
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tokenizer = load_tokenizer(model, revision, template, template_kwargs)
    chat = ChatTemplate(tokenizer)
    questions = read_questions(
        reference_outputs,
        limit=limit,
        template=chat,
        context=context_length(model, revision),
        max_new_tokens=max_new_tokens,
    )
    prompts = [
        Prompt(
            number=number,
            ids=question.prompt,
            limit=question.room,
            seed=f"{seed} {question.repeat} {question.row.instruction}",
        )
        for number, question in enumerate(questions)
    ]
    # Shared out before it is known what is done: each rank would see that at another moment.
    share = sorted(prompts, key=lambda prompt: len(prompt.ids))[rank::ranks]
    answered = _read_answers(work_dir)
    to_do = [prompt for prompt in share if prompt.number not in answered]
    with progress(f"answers of {generator}", len(prompts), done=len(answered)) as bar:
        if to_do:
            network = _network(model, revision, init_seed, precision, device)
            stops = chat.stops(network.generation_config.eos_token_id)
            with _writing_answers(work_dir, rank) as append, _memory_errors(batch_size):
                for generation in decode(
                    network,
                    to_do,
                    stops=frozenset(stops),
                    temperature=temperature,
                    batch_size=batch_size,
                ):
                    append(generation)
                    bar.advance()
    _wait_for_all(ranks)
    if rank == 0:
        answered = _read_answers(work_dir)
        outputs = [_output(tokenizer, answered[number]) for number in range(len(questions))]
        failed = sum(output.error is not None for output in outputs)
        if are_too_many(failed, len(outputs), most_failed):
            raise UserError(
                f"{failed} of {len(outputs)} answers of {generator} are thoughts without an answer,"
                f" of which evaluation.most_failed={most_failed:g} may be: give them more tokens"
                " (evaluation.max_new_tokens), or have the model not think, by"
                " model.template_kwargs={enable_thinking: false} if its chat template knows that"
            )
        write_outputs(output_dir, questions, outputs, generator=generator)


def _output(tokenizer: Any, generation: Generation) -> Output:
    """Read an answer without the thought before it; a thought alone is none."""
    ids, cut = generation.ids, generation.cut
    # Tags of thoughts may be special tokens.
    found = separate(tokenizer.decode(ids, skip_special_tokens=False))
    if found.thought is None:
        return Output(tokenizer.decode(ids, skip_special_tokens=True), len(ids), cut)
    text = found.answer
    for token in tokenizer.added_tokens_decoder.values():
        text = text.replace(token.content, "") if token.special else text
    if not text.strip():
        return Output("", 0, cut, error=ONLY_THOUGHT, detail="a thought and no answer")
    return Output(text, len(tokenizer.encode(text, add_special_tokens=False)), cut)


def _network(
    model: str, revision: str | None, init_seed: int | None, precision: str, device: str
) -> Any:
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    network: Any = load_model(model, revision, init_seed, dtype)  # of whose methods no type knows
    return network.to("cpu" if device == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}").eval()


@contextlib.contextmanager
def _memory_errors(batch_size: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the GPU's memory is too small for evaluation.batch_size={batch_size}: try half of it;"
            " what is answered so far is kept"
        ) from error


def _wait_for_all(ranks: int) -> None:
    if ranks > 1:
        # The first to finish waits for the last, which may have the longest answers.
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=1))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _read_answers(folder: Path) -> dict[int, Generation]:
    """Return all complete answers in ``folder``, by the number of their instruction."""
    lines = [line for file in folder.glob("answers-*.jsonl") for line in file.open("rb")]
    found = (_generation(line) for line in lines)
    return {each.number: each for each in found if each is not None}


@contextlib.contextmanager
def _writing_answers(folder: Path, rank: int) -> Iterator[Callable[[Generation], None]]:
    """Give a function that appends an answer to the file of ``rank``."""
    with (folder / f"answers-{rank}.jsonl").open("ab") as file:
        file.write(b"\n")  # ends a line that was torn
        synced = time.monotonic()

        def append(generation: Generation) -> None:
            nonlocal synced
            file.write(json.dumps(asdict(generation)).encode() + b"\n")
            file.flush()
            if time.monotonic() - synced > SECONDS_BETWEEN_SYNCS:
                os.fsync(file.fileno())
                synced = time.monotonic()

        yield append
        file.flush()
        os.fsync(file.fileno())


def _generation(line: bytes) -> Generation | None:
    try:
        row: Any = json.loads(line)
    except ValueError:
        return None
    return Generation(**row)


if __name__ == "__main__":
    launch.work(generate)
