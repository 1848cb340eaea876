"""Try, before anything is asked or trained, what training and generation will load and render.

    python -m mini_lima.experiment.rendering_trial QUESTION

In a process of its own, since tokenizers come with torch. The question is the JSON of a `Question`,
and the answer a list of faults, each one line: the last line that is printed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.models.rendering import ChatTemplate, Turns


@dataclass(frozen=True, kw_only=True)
class Question:
    """What will be rendered.

    Attributes:
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Of random weights; None: the model's own.
        device: As launch.device.
        chat_template: File with the template of training; None: the tokenizer's own.
        template_kwargs: What it is called with.
        baseline_template: File with another one, for the baseline.
        examples: The rows of the data set as JSON Lines, if it is known.
        max_length: As sft.max_length.
        overlong: As sft.overlong.
        turns: As sft.turns.
        reference_outputs: File of the evaluation's instructions, if there is an evaluation.
        limit: As evaluation.limit.
        max_new_tokens: As evaluation.max_new_tokens.
    """

    model: str
    revision: str | None
    init_seed: int | None
    device: str
    chat_template: str | None
    template_kwargs: dict[str, Any]
    baseline_template: str | None
    examples: str | None
    max_length: int
    overlong: str
    turns: Turns
    reference_outputs: str | None
    limit: int | None
    max_new_tokens: int


def faults(question: Question) -> list[str]:
    """Return what is wrong, as a process of its own finds it."""
    return _asked(json.dumps(asdict(question), sort_keys=True))


@cache
def _asked(question: str) -> list[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(question)
        file.flush()
        command = [sys.executable, "-m", "mini_lima.experiment.rendering_trial", file.name]
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )
    try:
        found: list[str] = json.loads(ended.stdout.rstrip().rpartition("\n")[2])
    except ValueError:
        said = ended.stderr.strip().rpartition("\n")[2] or f"exit code {ended.returncode}"
        return [f"{json.loads(question)['model']}: its chat template cannot be tried: {said}"]
    return found


def found(question: Question) -> Iterator[str]:
    """Yield what is wrong, as it is found here."""
    import torch

    from mini_lima.evaluation.outputs import read_questions
    from mini_lima.models import model_files
    from mini_lima.models.language_model import (
        context_length,
        is_gguf,
        load_model,
        load_tokenizer,
    )
    from mini_lima.sft.batches import render

    said: list[str] = []

    def tried(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except UserError as error:
            said.append(str(error))
        except Exception as error:  # what a library finds wrong with a model's files
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            said.append(f"{question.model}: its files cannot be read: {reason}")
        return None

    def load() -> None:
        try:
            load_model(model, None, question.init_seed, torch.float32, empty=True)
        except ImportError:
            # On the login node of a cluster, which has no GPU, nor perhaps what belongs to one.
            if question.device == "cpu" or torch.cuda.is_available():
                raise

    def template(file: str | None, kwargs: dict[str, Any]) -> ChatTemplate:
        return ChatTemplate(load_tokenizer(question.model, question.revision, file, kwargs))

    model, own_weights = Path(question.model), question.init_seed is None
    # What is on the hub would have to be fetched, a GGUF file is unpacked before anything is paid
    # for, and other faults of a folder are named already.
    is_folder = question.revision is None and not is_gguf(model)
    if is_folder and not any(model_files.faults(model, with_weights=own_weights)):
        tried(load)
    context = tried(lambda: context_length(question.model, question.revision))
    trained = tried(lambda: template(question.chat_template, question.template_kwargs))
    asked = trained
    if question.baseline_template:
        asked = tried(lambda: template(question.baseline_template, {}))
    if trained and question.examples is not None:
        rows = [json.loads(line) for line in question.examples.split("\n") if line]
        how = partial(render, max_length=question.max_length, overlong=question.overlong)
        tried(partial(how, rows, trained, turns=question.turns, context=context))
    if question.reference_outputs:
        file, most = Path(question.reference_outputs), question.max_new_tokens
        ask = partial(read_questions, file, limit=question.limit, max_new_tokens=most)
        for each in dict.fromkeys(filter(None, [trained, asked])):
            tried(partial(ask, template=each, context=context))
    yield from dict.fromkeys(said)


if __name__ == "__main__":
    given = Question(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.stdout.write("\n" + json.dumps(list(found(given))) + "\n")
