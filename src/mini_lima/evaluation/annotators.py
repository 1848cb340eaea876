"""Who judges: the annotators that alpaca_eval ships, and controls that need no model.

A win rate can be compared with published ones only if the prompt is AlpacaEval's own, so it is
taken from the installed library by the name of its annotator config. So is the parser, but for the
one that takes the beginning of a sentence for a vote (see `reading`). The model is named by the
run, for the models that these configs name are mostly gone.

Text of models and users never becomes part of the template. The library fills prompts by repeated
replacement and splits the result into chat messages afterwards: an instruction that contains
``{output_1}`` or ``<|im_start|>`` rewrites the prompt. Here the bare template is split first, by
the library's own function, and each message is then filled in a single pass.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation import reading
from mini_lima.evaluation.library import Shown, undisturbed

PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
LONGEST, COIN = "longest", "coin"
OUTPUT_A = r"Output \(a\)"
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


@dataclass(frozen=True)
class Completion:
    """What an annotator said; a control says its verdict.

    Attributes:
        text: As it was written.
        finish_reason: As the endpoint says it.
        served_model: The model that the endpoint says it used.
        logprobs: Per token its alternatives, in OpenAI's form.
        usage: Token counts as reported.
        usd: What it cost, if that is known.
        attempts: How often it was asked until it could be read, or given up.
        error: Why there is none, as `mini_lima.chat` says it.
    """

    text: str
    finish_reason: str | None = None
    served_model: str | None = None
    logprobs: Sequence[Mapping[str, Any]] | None = None
    usage: Mapping[str, Any] | None = None
    usd: float | None = None
    attempts: int = 1
    error: str | None = None


@dataclass(frozen=True)
class Annotator:
    """A judge.

    Attributes:
        name: The name of alpaca_eval's config, or of a control.
        prompt: (role, template) pairs with the placeholders ``{instruction}``, ``{output_1}`` and
            ``{output_2}``; empty for a control that asks no model.
        read: The preference in a completion, from 1 (the first output) to 2 (the second); None
            where there is none, or more than one.
        extra: Parameters of the request that the reading depends on.
        decide: A control's verdict on what is shown, given the name of the occasion.
    """

    name: str
    prompt: tuple[tuple[str, str], ...]
    read: Callable[[Completion], float | None]
    extra: Mapping[str, Any] = field(default_factory=dict)
    decide: Callable[[Shown, str], str] | None = None

    def messages(self, shown: Shown) -> tuple[tuple[str, str], ...]:
        """Return the (role, content) pairs that ask about ``shown``."""
        text = {
            "instruction": shown.instruction,
            "output_1": shown.first,
            "output_2": shown.second,
        }
        return tuple(
            (role, PLACEHOLDER.sub(lambda found: text[found[1]], template))
            for role, template in self.prompt
        )


def load_annotator(name: str) -> Annotator:
    """Return a control, or the annotator that alpaca_eval ships under ``name``.

    Configs that binarize the log probabilities of a single token (``alpaca_eval_clf_gpt4_turbo``,
    which has the prompt of AlpacaEval 2) are read from the token itself: at temperature 0 that is
    the same verdict, and any chat model can give it. Weighted ones ask for log probabilities. The
    model that a config names is not used: models are retired, prompts are not. A prompt for a model
    that completes text is sent as one message.

    Raises:
        UserError: there is no such config, or it asks about several instructions in one prompt
            (``alpaca_farm``), which is not supported.
    """
    if name in CONTROLS:
        return Annotator(name, prompt=(), read=_verdict_itself, decide=CONTROLS[name])
    with undisturbed():
        from alpaca_eval import constants

        folder = Path(constants.EVALUATORS_CONFIG_DIR)
        shipped = sorted(path.parent.name for path in folder.glob("*/configs.yaml"))
        if name not in shipped:
            raise UserError(
                f"there is no annotator {name!r}: choose {' or '.join(CONTROLS)}, or one that "
                f"alpaca_eval ships ({', '.join(shipped)})"
            )
        annotator = _shipped(name, folder)
    if annotator is None:
        raise UserError(
            f"the annotator {name!r} asks about several instructions in one prompt, or is several "
            "annotators, which is not supported: choose chatgpt, alpaca_eval_gpt4, "
            f"weighted_alpaca_eval_gpt4_turbo or {LONGEST}"
        )
    return annotator


def longest(shown: Shown, occasion: str = "") -> str:
    """Prefer the output with more characters; equal lengths are a tie.

    AlpacaEval lists this control among its annotators but ships no config for it. Its own analysis
    gives equal lengths to the second output, which would favour whichever model stands there.
    """
    first, second = len(shown.first), len(shown.second)
    return "1.5" if first == second else "1" if first > second else "2"


def coin(shown: Shown, occasion: str) -> str:
    """Toss a coin on each ``occasion``: what a judge without any opinion looks like."""
    return random.Random(f"{occasion} {shown.instruction}").choice(["1", "2"])


CONTROLS: Mapping[str, Callable[[Shown, str], str]] = {LONGEST: longest, COIN: coin}
"""Annotators that need no model, no key and no money."""


def _verdict_itself(completion: Completion) -> float:
    return float(completion.text)


def _shipped(name: str, folder: Path) -> Annotator | None:
    """Read one of the library's configs; None if it asks for what is not supported."""
    from alpaca_eval import completion_parsers, utils

    config = utils.load_configs(folder / name).get(name)
    if config is None or not config.keys() <= UNDERSTOOD or config.get("batch_size", 1) != 1:
        return None
    prompt = (folder / config["prompt_template"]).read_text(encoding="utf-8")
    chat = prompt.startswith("<|im_start|>")
    messages = (
        [(part["role"], part["content"]) for part in utils.prompt_to_chatml(prompt)]
        if chat
        else [("user", prompt.removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant:"))]
    )
    sampling = config["completions_kwargs"]
    settings = config.get("completion_parser_kwargs", {})
    extra = {key: sampling[key] for key in SENT if key in sampling}
    parser = config.get("fn_completion_parser", "regex_parser")
    if parser == "logprob_parser" and settings["is_binarize"] and "log_prob_index" not in settings:
        first, known = settings["numerator_token"], settings["denominator_tokens"]
        return Annotator(name, tuple(messages), partial(_token, first=first, known=known))
    if parser == "logprob_parser":
        read = partial(_weighed, parse=completion_parsers.logprob_parser, settings=settings)
    elif parser == "regex_parser" and _names_outputs(settings) and "tools" not in extra:
        return Annotator(name, tuple(messages), lambda found: reading.chosen(found.text), extra)
    else:
        read = partial(_parsed, parse=getattr(completion_parsers, parser), settings=settings)
    return Annotator(name, tuple(messages), read, extra)


def _names_outputs(settings: Mapping[str, Any]) -> bool:
    """Whether a regular expression looks for ``Output (a)`` at the beginning of a line."""
    patterns = {getattr(each, "pattern", each) for each in settings["outputs_to_match"].values()}
    return any(OUTPUT_A in pattern for pattern in patterns)


def _token(completion: Completion, *, first: str, known: Sequence[str]) -> float | None:
    answer = completion.text.strip()
    return None if answer not in known else 1.0 if answer == first else 2.0


def _weighed(
    completion: Completion, *, parse: Callable[..., Sequence[Any]], settings: Mapping[str, Any]
) -> float | None:
    """The verdict weighted with the probabilities that the model gave to both answers."""
    if not completion.logprobs:
        return None
    answer = {"logprobs": {"content": list(completion.logprobs)}}
    return _one(partial(parse, answer, **settings))


def _parsed(
    completion: Completion, *, parse: Callable[..., Sequence[Any]], settings: Mapping[str, Any]
) -> float | None:
    return _one(partial(parse, completion.text, **settings))


def _one(parse: Callable[[], Sequence[Any]]) -> float | None:
    """Make a parser of alpaca_eval's give one preference from 1 to 2, or None, and never raise.

    Its parsers write a tie as 0, which the library's own check then refuses with the whole run.
    """
    try:
        (found,) = parse()
        preference = 1.5 if found == 0 else float(found)
    except Exception:  # which errors a text can cause is up to each parser
        return None
    return preference if 1 <= preference <= 2 else None
