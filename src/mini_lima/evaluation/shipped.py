"""The annotator configs that alpaca_eval ships, followed in full or refused.

Prompt and parser are the library's, but for parsers that take the beginning of a sentence for a
vote (see `reading`). Configs that binarize the log probabilities of a single token
(``alpaca_eval_clf_gpt4_turbo``, which has the prompt of AlpacaEval 2) are read from the token
itself: at temperature 0 that is the same verdict, and any chat model can give it. Weighted ones ask
for log probabilities. A prompt for a model that completes text is sent as one message.

A config of several annotators is a pool: each instruction is judged by one of them. ``alpaca_farm``
is thirteen prompts, which the library puts to three models at temperature 1, favouring some tokens;
here all go to the model of the run, sampled as the run says. The labels that AlpacaFarm flips at
random when it trains are no part of its evaluation.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation import reading
from mini_lima.evaluation.annotators import Annotator, Completion
from mini_lima.evaluation.library import undisturbed
from mini_lima.evaluation.prompts import Votes, messages_of

FOLDER = "evaluators_configs"
CONFIGS = "*/config*.yaml"
"""One of the library's, which it cannot load itself, lacks the s of the others."""
NAMES_A = r"\(a\)"
UNDERSTOOD = {
    "prompt_template",
    "fn_completions",
    "completions_kwargs",
    "fn_completion_parser",
    "completion_parser_kwargs",
    "completion_key",
    "batch_size",
    "processors_to_kwargs",  # they only add columns
    "is_randomize_output_order",  # the order is ours
}
"""Settings of a config that are followed here; one with any other is refused, not half followed."""
SENT = ("tools", "tool_choice", "logprobs", "top_logprobs")
"""What of a config's sampling goes with the prompt; the rest belongs to the model."""


@cache
def names() -> Mapping[str, Path]:
    """Return the file of each config by its name; the library itself is not loaded.

    Raises:
        UserError: it is not installed.
    """
    package = find_spec("alpaca_eval")
    if package is None or package.submodule_search_locations is None:
        raise UserError("alpaca_eval is not installed: install the project's requirements again")
    folder = Path(package.submodule_search_locations[0]) / FOLDER
    return {path.parent.name: path for path in sorted(folder.glob(CONFIGS))}


def load_shipped(name: str) -> Annotator:
    """Return the annotator that alpaca_eval ships under ``name``, one of `names`.

    Raises:
        UserError: it asks for something that is not followed here.
    """
    path = names()[name]
    with undisturbed():
        from alpaca_eval import utils

        configs = utils.load_configs(path)
        members = [_annotator(each, config, path.parents[1]) for each, config in configs.items()]
    if len(members) == 1:
        return replace(members[0], name=name)
    if any(member.extra != members[0].extra for member in members):
        raise UserError(f"the members of {name!r} need different requests, which is not supported")
    prompts = "\n".join(str(member.prompt_sha256) for member in members)
    return Annotator(
        name,
        prompt=(),
        votes=_nothing,
        extra=members[0].extra,
        members=tuple(members),
        prompt_sha256=hashlib.sha256(prompts.encode()).hexdigest(),
    )


def weighted(first: str, second: str) -> tuple[Votes, Mapping[str, Any]]:
    """Read one token, weighted with the probabilities of both, as AlpacaEval 2 does.

    Returns:
        What reads an answer, and the parameters of the request that it needs.
    """
    with undisturbed():
        from alpaca_eval import completion_parsers

    tokens = {"numerator_token": first, "denominator_tokens": [first, second], "is_binarize": False}
    read = partial(_weighed, parse=completion_parsers.logprob_parser, settings=tokens)
    return read, {"logprobs": True, "top_logprobs": 5}


def _annotator(name: str, config: Mapping[str, Any], folder: Path) -> Annotator:
    """Read one of the library's configs."""
    from alpaca_eval import completion_parsers

    if unknown := config.keys() - UNDERSTOOD:
        raise UserError(
            f"the annotator {name!r} has settings that are not supported: "
            f"{', '.join(sorted(unknown))}"
        )
    prompt = folder / config["prompt_template"]
    sampling = config["completions_kwargs"]
    settings = config.get("completion_parser_kwargs", {})
    extra = {key: sampling[key] for key in SENT if key in sampling}
    parser = config.get("fn_completion_parser", "regex_parser")
    batch = config.get("batch_size", 1)
    limit = sampling.get("max_tokens", 0) if batch > 1 else 0
    read: Votes
    if parser == "logprob_parser" and settings["is_binarize"] and "log_prob_index" not in settings:
        first, known = settings["numerator_token"], settings["denominator_tokens"]
        read, extra = partial(_token, first=first, known=known), {}
    elif parser == "logprob_parser":
        read = partial(_weighed, parse=completion_parsers.logprob_parser, settings=settings)
    elif parser == "regex_parser" and _names_outputs(settings) and "tools" not in extra:
        read = _named if batch == 1 else _listed
    else:
        read = partial(_parsed, parse=getattr(completion_parsers, parser), settings=settings)
    return Annotator(
        name,
        messages_of(prompt.read_text(encoding="utf-8")),
        read,
        batch=batch,
        extra=extra,
        max_tokens=limit,
        prompt_sha256=hashlib.sha256(prompt.read_bytes()).hexdigest(),
    )


def _names_outputs(settings: Mapping[str, Any]) -> bool:
    """Whether a regular expression looks for ``(a)``, wherever it may stand."""
    patterns = {getattr(each, "pattern", each) for each in settings["outputs_to_match"].values()}
    return any(NAMES_A in pattern for pattern in patterns)


def _named(completion: Completion) -> list[float | None]:
    return [reading.chosen(completion.text)]


def _listed(completion: Completion) -> list[float]:
    return reading.chosen_in_turn(completion.text)


def _token(completion: Completion, *, first: str, known: Sequence[str]) -> list[float | None]:
    answer = completion.text.strip()
    return [None if answer not in known else 1.0 if answer == first else 2.0]


def _weighed(
    completion: Completion, *, parse: Callable[..., Sequence[Any]], settings: Mapping[str, Any]
) -> list[float | None]:
    """The verdict weighted with the probabilities that the model gave to both answers."""
    if not completion.logprobs:
        return []
    answer = {"logprobs": {"content": list(completion.logprobs)}}
    return _preferences(partial(parse, answer, **settings))


def _parsed(
    completion: Completion, *, parse: Callable[..., Sequence[Any]], settings: Mapping[str, Any]
) -> list[float | None]:
    return _preferences(partial(parse, completion.text, **settings))


def _preferences(parse: Callable[[], Sequence[Any]]) -> list[float | None]:
    """Make a parser of alpaca_eval's give preferences from 1 to 2, or None, and never raise or log.

    Its parsers write a tie as 0, which the library's own check then refuses with the whole run.
    """
    try:
        with undisturbed():
            found = [1.5 if each == 0 else float(each) for each in parse()]
    except Exception:  # which errors a text can cause is up to each parser
        return []
    return [each if 1 <= each <= 2 else None for each in found]


def _nothing(completion: Completion) -> list[float | None]:
    return []
