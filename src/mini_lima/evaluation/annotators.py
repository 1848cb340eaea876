"""Who judges: the annotators that alpaca_eval ships, and the control that needs no model.

A win rate can be compared with published ones only if prompt and parser are AlpacaEval's own, so
both are taken from the installed library by the name of its annotator config; the model is named by
the run, for the models that these configs name are mostly gone.

Text of models and users never becomes part of the template. The library fills prompts by repeated
replacement and splits the result into chat messages afterwards: an instruction that contains
``{output_1}`` or ``<|im_start|>`` rewrites the prompt. Here the bare template is split first, by
the library's own function, and each message is then filled in a single pass.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation.library import Shown, undisturbed

PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
LONGEST = "longest"
UNDERSTOOD = {
    "prompt_template",
    "fn_completions",
    "completions_kwargs",
    "fn_completion_parser",
    "completion_parser_kwargs",
    "completion_key",
    "batch_size",
}
"""Settings of a config that are followed here; one with any other is refused, not half followed."""


@dataclass(frozen=True)
class Annotator:
    """A judge.

    Attributes:
        name: The name of alpaca_eval's config, or ``longest``.
        prompt: (role, template) pairs with the placeholders ``{instruction}``, ``{output_1}`` and
            ``{output_2}``; empty for a control that asks no model.
        read: The preference in a completion, from 1 (the first output) to 2 (the second); None
            where there is none, or more than one.
    """

    name: str
    prompt: tuple[tuple[str, str], ...]
    read: Callable[[str], float | None]

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
    """Return ``longest``, or the annotator that alpaca_eval ships under ``name``.

    Configs that read the log probabilities of a single token (``alpaca_eval_clf_gpt4_turbo``, which
    has the prompt of AlpacaEval 2) are read from the token itself: at temperature 0 that is the
    same binary verdict, and any chat model can give it. The model that a config names is not used:
    models are retired, prompts are not.

    Raises:
        UserError: there is no such config, or it needs what is not supported here: function calls,
            weighting by log probability, batches, a prompt that is no chat.
    """
    if name == LONGEST:
        return Annotator(name, prompt=(), read=_one_verdict(lambda completion: [float(completion)]))
    with undisturbed():
        from alpaca_eval import constants

        folder = Path(constants.EVALUATORS_CONFIG_DIR)
        shipped = sorted(path.parent.name for path in folder.glob("*/configs.yaml"))
        if name not in shipped:
            raise UserError(
                f"there is no annotator {name!r}: choose {LONGEST}, or one that alpaca_eval ships "
                f"({', '.join(shipped)})"
            )
        annotator = _shipped(name, folder)
    if annotator is None:
        raise UserError(
            f"the annotator {name!r} needs function calls, log probabilities, batches or a prompt "
            "that is no chat, which is not supported: choose chatgpt, alpaca_eval_gpt4, "
            f"alpaca_eval_clf_gpt4_turbo or {LONGEST}"
        )
    return annotator


def longest(shown: Shown) -> str:
    """Prefer the output with more characters; equal lengths are a tie.

    AlpacaEval lists this control among its annotators but ships no config for it. Its own analysis
    gives equal lengths to the second output, which would favour whichever model stands there.
    """
    first, second = len(shown.first), len(shown.second)
    return "1.5" if first == second else "1" if first > second else "2"


def _shipped(name: str, folder: Path) -> Annotator | None:
    """Read one of the library's configs; None if it asks for what is not supported."""
    from alpaca_eval import completion_parsers, utils

    config = utils.load_configs(folder / name).get(name)
    if config is None or not config.keys() <= UNDERSTOOD or config.get("batch_size", 1) != 1:
        return None
    prompt = (folder / config["prompt_template"]).read_text(encoding="utf-8")
    sampling = config["completions_kwargs"]
    if "tools" in sampling or not prompt.startswith("<|im_start|>"):
        return None
    parser = config.get("fn_completion_parser", "regex_parser")
    settings = config.get("completion_parser_kwargs", {})
    from_token = parser == "logprob_parser"
    if from_token and (not settings["is_binarize"] or "log_prob_index" in settings):
        return None
    parse = (
        partial(_token, first=settings["numerator_token"], known=settings["denominator_tokens"])
        if from_token
        else partial(getattr(completion_parsers, parser), **settings)
    )
    return Annotator(
        name=name,
        prompt=tuple((part["role"], part["content"]) for part in utils.prompt_to_chatml(prompt)),
        read=_one_verdict(parse),
    )


def _token(completion: str, *, first: str, known: Sequence[str]) -> list[float]:
    answer = completion.strip()
    return [1.0 if answer == first else 2.0] if answer in known else []


def _one_verdict(parse: Callable[[str], Sequence[Any]]) -> Callable[[str], float | None]:
    """Make a parser of alpaca_eval's give one preference from 1 to 2, or None, and never raise.

    Its parsers write a tie as 0, which the library's own check then refuses with the whole run.
    """

    def read(completion: str) -> float | None:
        try:
            (found,) = parse(completion)
            preference = 1.5 if found == 0 else float(found)
        except Exception:  # which errors a text can cause is up to each parser
            return None
        return preference if 1 <= preference <= 2 else None

    return read
