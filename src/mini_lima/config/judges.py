"""The judges that a configuration names, checked before anything runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mini_lima.config import sources
from mini_lima.config.schema import AnnotatorConfig, Config, Reading
from mini_lima.errors import UserError
from mini_lima.evaluation.judges import JudgeChoice, choose

NAMED_TOKENS = 5
"""About what "Output (a)" takes."""


@dataclass(frozen=True)
class ConfiguredJudge:
    """A judge, and the file of its prompt if that is the user's."""

    choice: JudgeChoice
    prompt: Path | None


def judge(key: str, given: AnnotatorConfig) -> ConfiguredJudge:
    """Return the judge that is configured under ``key``.

    Raises:
        UserError: see `choose`; or its prompt's file cannot be had.
    """
    try:
        prompt = sources.local_file(given.prompt) if given.prompt else None
    except UserError as error:
        raise UserError(f"{key}.prompt={error}") from error
    choice = choose(
        key,
        name=given.name,
        prompt=prompt,
        reading=given.reading.value,
        answers=given.answers,
        rule=given.rule,
    )
    return ConfiguredJudge(choice, prompt)


def faults(config: Config) -> Iterator[str]:
    """Say what is wrong with the judges of ``config``."""
    for key, given in config.judges().items():
        try:
            choice = judge(key, given).choice
        except UserError as error:
            yield str(error)
            continue
        if given.asks_model and given.chat is None:
            yield (
                f"{key}.chat is missing: {choice.name} is put to a model, so choose one, as"
                f" annotator=local does (its model and its address are {key}.chat.…)"
            )
        if given.prompt and given.chat and given.reading is Reading.named:
            yield from _room(key, given.chat.max_tokens)


def _room(key: str, max_tokens: int | None) -> Iterator[str]:
    if max_tokens is not None and max_tokens < NAMED_TOKENS:
        yield (
            f"{key}.chat.max_tokens={max_tokens}: too few for an answer such as Output (a); allow"
            f" 50, or have {key}.prompt ask for one token and set {key}.reading=exact"
        )
