"""A model's answers to the evaluation instructions, written by an OpenAI-compatible server.

Such as `vllm serve`, which needs other versions of torch and transformers than training does and so
lives in an environment of its own. Answers are kept in the work folder, with which they go, and
never stand in for those of another model.

The server renders the prompts, by the chat template in the model's folder. Whatever else could
differ from what transformers would write here is said with each request, where the server's dialect
has words for it: which tokens end an answer, and that no setting that comes with the model counts.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mini_lima.chat import ChatModel, Endpoint, Ledger, complete, write_ledger
from mini_lima.errors import UserError
from mini_lima.evaluation.outputs import Output, Question, read_questions, write_outputs
from mini_lima.evaluation.server import serving
from mini_lima.models.language_model import context_length, load_model, load_tokenizer, own_stops
from mini_lima.models.rendering import ChatTemplate
from mini_lima.workers import launch


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
    temperature: float,
    seed: int,
    generator: str,
    dialect: str,
    command: str | None,
    base_url: str | None,
    connection: dict[str, Any],
) -> None:
    """Write the files of `write_outputs`, and ``ledger.json``: what asking took.

    Args:
        output_dir: Receives the files.
        work_dir: Keeps answers between attempts, and the log of a server that is started here.
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Seed of random weights, which are written for the server; None: it has its own.
        reference_outputs: File with the instructions.
        limit: Only the first so many instructions.
        max_new_tokens: Length limit of an answer.
        temperature: 0 is greedy.
        seed: Sent along where the temperature is above 0, plus how often an instruction occurred
            before.
        generator: Name of the model in the outputs.
        dialect: ``vllm`` (SGLang understands it, too), or ``openai``: nothing but OpenAI's own.
        command: Starts a server for the model, see `serving`; None if there is one.
        base_url: Of the server that is there.
        connection: Other fields of `Endpoint`.

    Raises:
        UserError: the instructions do not fit, or the server refuses; says how to start one.
        ConnectionError: some answers are missing; the others are kept.
    """
    tokenizer = load_tokenizer(model, revision)
    if init_seed is not None:
        folder = work_dir / f"{Path(model).name}-seed{init_seed}"
        load_model(model, revision, init_seed, torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        model, revision = str(folder), None
    chat = ChatTemplate(tokenizer)
    questions = read_questions(
        reference_outputs,
        limit=limit,
        template=chat,
        context=context_length(model, revision),
        max_new_tokens=max_new_tokens,
    )
    _check_text(questions, chat, reference_outputs)
    stops = chat.stops(own_stops(model, revision))
    ledger = Ledger()
    with serving(command, base_url, model=model, revision=revision, folder=work_dir) as server:
        requests = [
            ChatModel(
                server.model,
                temperature=temperature,
                top_p=1.0,
                max_tokens=question.room,
                seed=seed if temperature else None,
                extra_body=_extra(dialect, stops),
            ).request(
                [("user", question.row.instruction)],
                sample=question.repeat if temperature else 0,
            )
            for question in questions
        ]
        replies = complete(
            requests,
            endpoint=Endpoint(name=generator, base_url=server.base_url, **connection),
            cache=work_dir / "responses.sqlite",
            label=f"answers of {generator}",
            failures="return",
            ledger=ledger,
        )
    outputs = [
        Output(
            text=reply.text,
            # Not as the servers count: some count the token that ends an answer, some nothing.
            tokens=len(tokenizer(reply.text, add_special_tokens=False)["input_ids"]),
            cut=reply.finish_reason == "length",
            error=reply.error,
        )
        for reply in replies
    ]
    write_outputs(output_dir, questions, outputs, generator=generator)
    write_ledger(output_dir / "ledger.json", ledger)


def _extra(dialect: str, stops: Sequence[int]) -> dict[str, Any]:
    if dialect == "openai":
        return {}
    neutral = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    return {"stop_token_ids": list(stops), **neutral}


def _check_text(questions: Sequence[Question], chat: ChatTemplate, file: Path) -> None:
    rows = [
        row
        for row, question in enumerate(questions, start=1)
        if chat.spells_control_tokens(question.row.instruction)
    ]
    if rows:
        raise UserError(
            f"{file}: row {', '.join(map(str, rows))} spells control tokens, which a server takes"
            " for such: take that out of the set, or choose evaluation/engine=transformers"
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    launch.work(generate)
