"""What a judge is asked and how its answer is read: AlpacaEval's annotators, and prompts of users.

A prompt is AlpacaEval's: plain text, or turns between ``<|im_start|>`` and ``<|im_end|>``, with the
placeholders ``{instruction}``, ``{output_1}`` and ``{output_2}``. Text of models and users never
becomes part of the template. The library fills prompts by repeated replacement and splits the
result into chat messages afterwards: an instruction that contains ``{output_1}`` or
``<|im_start|>`` rewrites the prompt. Here the bare template is split first, and its messages are
then filled in a single pass.

A win rate can be compared with published ones only if prompt and parser are AlpacaEval's own, so
both are taken from the annotator configs of the installed library, each followed in full or
refused. Three things differ. Parsers that take the beginning of a sentence for a vote are replaced
(see `reading`). Configs that binarize the log probabilities of a single token
(``alpaca_eval_clf_gpt4_turbo``, which has the prompt of AlpacaEval 2) are read from the token
itself: at temperature 0 that is the same verdict, and any chat model can give it. A prompt for a
model that completes text is sent as one message.

A config of several annotators is a pool: each instruction is judged by one of them. ``alpaca_farm``
is thirteen prompts, which the library puts to three models at temperature 1, favouring some tokens;
here all go to the model of the run, sampled as the run says. The labels that AlpacaFarm flips at
random when it trains are no part of its evaluation.
"""

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import Any

from mini_lima.chat import Reply
from mini_lima.errors import UserError
from mini_lima.evaluation import reading
from mini_lima.evaluation.library import undisturbed
from mini_lima.files import read_bytes

PLACEHOLDERS = ("instruction", "output_1", "output_2")
PLACEHOLDER = re.compile(rf"\{{({'|'.join(PLACEHOLDERS)})\}}")
TURN = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)<\|im_end\|>", re.DOTALL)
LLAMA_TURN = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\s*(.*?)\s*(?:<\|eot_id\|>|$)", re.DOTALL
)
"""A turn in a prompt that is written in Llama 3's tokens."""
ROLES = ("system", "user", "assistant")
NAMED, EXACT, LAST, WEIGHTED = "named", "exact", "last", "weighted"
"""How an answer to a user's prompt is read: it is Output (a) or Output (b); one of the given
answers and nothing else; one of them at the end of a reasoning; or one of two tokens, weighted
with the probabilities of both."""

CONFIGS = "evaluators_configs/*/config*.yaml"
"""One of the library's files, which it cannot load itself, lacks the s of the others."""
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

Messages = tuple[tuple[str, str], ...]
Votes = Callable[[Reply], Sequence[float | None]]


@dataclass(frozen=True)
class Shown:
    """What a judge sees: two outputs for one instruction, in the order they are shown in."""

    instruction: str
    first: str
    second: str


@dataclass(frozen=True)
class Annotator:
    """A prompt with the way its answers are read, or a pool of such.

    Attributes:
        name: Of the prompt, or of the pool.
        prompt: (role, template) pairs with the placeholders ``{instruction}``, ``{output_1}`` and
            ``{output_2}``, each for one pair after the other; empty for a pool.
        votes: The preferences in a reply in their order, each from 1 (the first output) to 2 (the
            second), None for one that cannot be read. Never raises.
        batch: How many pairs one prompt asks about.
        extra: Parameters of the request that the reading depends on.
        max_tokens: What the config allows for an answer to several pairs; 0 to one.
        members: The annotators of a pool, of which each instruction has one; else empty.
        prompt_sha256: Of the prompt's file, in hex; of a pool, of its members' together.
    """

    name: str
    prompt: Messages
    votes: Votes
    batch: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 0
    members: tuple["Annotator", ...] = ()
    prompt_sha256: str | None = None

    def messages(self, *shown: Shown) -> Messages:
        """Return the (role, content) pairs that ask about ``shown``, as many as a batch has."""
        assert len(shown) == self.batch
        texts = {
            "instruction": cycle([each.instruction for each in shown]),
            "output_1": cycle([each.first for each in shown]),
            "output_2": cycle([each.second for each in shown]),
        }
        return tuple(
            (role, PLACEHOLDER.sub(lambda found: next(texts[found[1]]), template))
            for role, template in self.prompt
        )

    def read(self, reply: Reply) -> list[float | None]:
        """Return a preference for each pair of the batch: all of them, or none.

        With a verdict too few or too many nobody knows which belongs to which pair.
        """
        found = [] if reply.error is not None else list(self.votes(reply))
        return found if len(found) == self.batch and None not in found else [None] * self.batch

    def member(self, instruction: str, seed: int) -> "Annotator":
        """Return who judges ``instruction``: itself, or the member of the pool that is drawn.

        alpaca_eval draws it by the same text, so that a rerun asks the same one.
        """
        if not self.members:
            return self
        return random.Random(f"annotator{instruction}{seed}").choices(self.members)[0]


def messages_of(prompt: str) -> Messages:
    """Return the (role, template) pairs of a prompt; one without turns is a user's message."""
    if prompt.lstrip().startswith("<|im_start|>"):
        return tuple((role.strip(), text.strip()) for role, text in TURN.findall(prompt))
    if prompt.startswith("<|start_header_id|>"):
        return tuple((role, text) for role, text in LLAMA_TURN.findall(prompt) if text)
    return (("user", prompt.removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant:")),)


def load_own(name: str, path: Path, how: str, answers: Sequence[str]) -> Annotator:
    """Return the annotator of a user's prompt file.

    What would make every verdict fail is found here: a placeholder that is missing, turns that do
    not end, answers that the prompt never asks for.

    Args:
        name: What it is called.
        path: UTF-8.
        how: ``named``, ``exact``, ``last`` or ``weighted``.
        answers: What the prompt lets the model answer: the first output is better, the second, and
            a tie where it may say so; none for ``named``.

    Raises:
        UserError: it cannot be read, or no answer to it could be.
    """
    try:
        content = read_bytes(path)
        prompt = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
    found = messages_of(prompt.strip())
    outside = TURN.sub("", prompt) if "<|im_start|>" in prompt else ""
    if outside.strip() or any(role not in ROLES for role, _ in found):
        raise UserError(
            f"{path}: each turn is <|im_start|>system, user or assistant, a new line, its text and"
            " <|im_end|>, with nothing between turns"
        )
    templates = "\n".join(template for _, template in found)
    there = set(PLACEHOLDER.findall(templates))
    if lacking := [f"{{{each}}}" for each in PLACEHOLDERS if each not in there]:
        raise UserError(f"{path}: lacks {', '.join(lacking)}: a judge's prompt shows all three")
    asked = [answer for answer in answers or ("(a)", "(b)") if answer not in templates]
    if asked:
        raise UserError(
            f"{path}: never says {' or '.join(asked)}, which its answers are read by ({how}): give"
            " the reading and the answers that it asks for, as reading=exact answers=[A,B]"
        )
    extra: Mapping[str, Any] = {}
    if how == WEIGHTED:
        settings = {
            "numerator_token": answers[0],
            "denominator_tokens": list(answers),
            "is_binarize": False,
        }
        votes: Votes = partial(_weighted, settings=settings)
        extra = {"logprobs": True, "top_logprobs": 5}
    else:
        votes = votes_by(how, answers)
    sha256 = hashlib.sha256(content).hexdigest()
    return Annotator(name, found, votes, extra=extra, prompt_sha256=sha256)


def check_answers(key: str, how: str, answers: Sequence[str]) -> None:
    """Refuse ``answers`` that do not go with the reading.

    Raises:
        UserError: as it says.
    """
    least, most, needs = {
        NAMED: (0, 0, "none, for the answer is Output (a) or Output (b)"),
        WEIGHTED: (2, 2, "two: the token for the first output, and that for the second"),
    }.get(how, (2, 3, "two or three: for the first output, for the second, and for a tie"))
    distinct = len({each.strip() for each in answers} - {""}) == len(answers)
    stripped = all(each == each.strip() for each in answers)
    if not (least <= len(answers) <= most and distinct and stripped):
        raise UserError(f"{key}.answers={list(answers)}: {key}.reading={how} takes {needs}")


def votes_by(how: str, answers: Sequence[str]) -> Votes:
    """Return what reads the answer to a user's prompt, where that is not weighted."""
    preferences = dict(zip(answers, (1.0, 2.0, 1.5), strict=False))
    if how == NAMED:
        return _named
    if how == EXACT:
        return lambda reply: [preferences.get(reply.text.strip())]
    assert how == LAST
    either = "|".join(re.escape(each) for each in sorted(answers, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)")

    def last(reply: Reply) -> list[float | None]:
        found = pattern.findall(reply.text)
        is_cut = reply.finish_reason == "length"  # reasoning may name what it then rejects
        return [preferences[found[-1]] if found and not is_cut else None]

    return last


@cache
def shipped() -> Mapping[str, Path]:
    """Return the file of each of alpaca_eval's configs by name; the library is not loaded.

    Raises:
        UserError: it is not installed.
    """
    package = find_spec("alpaca_eval")
    if package is None or package.submodule_search_locations is None:
        raise UserError("alpaca_eval is not installed: install the project's requirements again")
    folder = Path(package.submodule_search_locations[0])
    return {path.parent.name: path for path in sorted(folder.glob(CONFIGS))}


def load_shipped(name: str) -> Annotator:
    """Return the annotator that alpaca_eval ships under ``name``, one of `shipped`.

    Raises:
        UserError: it asks for something that is not followed here.
    """
    path = shipped()[name]
    with undisturbed():
        from alpaca_eval import utils

        configs = utils.load_configs(path)
    members = [_configured(each, config, path.parents[1]) for each, config in configs.items()]
    if len(members) == 1:
        return replace(members[0], name=name)
    if any(member.extra != members[0].extra for member in members):
        raise UserError(f"the members of {name!r} need different requests, which is not supported")
    prompts = "\n".join(str(member.prompt_sha256) for member in members)
    return Annotator(
        name,
        prompt=(),
        votes=lambda reply: [],
        extra=members[0].extra,
        members=tuple(members),
        prompt_sha256=hashlib.sha256(prompts.encode()).hexdigest(),
    )


def _configured(name: str, config: Mapping[str, Any], folder: Path) -> Annotator:
    """Read one of the library's configs."""
    if unknown := config.keys() - UNDERSTOOD:
        raise UserError(
            f"the annotator {name!r} has settings that are not supported: "
            f"{', '.join(sorted(unknown))}"
        )
    prompt = (folder / config["prompt_template"]).read_bytes()
    sampling = config["completions_kwargs"]
    settings = config.get("completion_parser_kwargs", {})
    extra = {key: sampling[key] for key in SENT if key in sampling}
    parser = config.get("fn_completion_parser", "regex_parser")
    batch = config.get("batch_size", 1)
    votes: Votes
    if parser == "logprob_parser" and settings["is_binarize"] and "log_prob_index" not in settings:
        first, known = settings["numerator_token"], settings["denominator_tokens"]
        votes, extra = partial(_token, first=first, known=known), {}
    elif parser == "logprob_parser":
        votes = partial(_weighted, settings=settings)
    elif parser == "regex_parser" and _names_outputs(settings) and "tools" not in extra:
        votes = _named if batch == 1 else lambda reply: reading.chosen_in_turn(reply.text)
    else:
        votes = partial(_parsed, parser=parser, settings=settings)
    return Annotator(
        name,
        messages_of(prompt.decode()),
        votes,
        batch=batch,
        extra=extra,
        max_tokens=sampling.get("max_tokens", 0) if batch > 1 else 0,
        prompt_sha256=hashlib.sha256(prompt).hexdigest(),
    )


def _names_outputs(settings: Mapping[str, Any]) -> bool:
    """Whether a regular expression looks for ``(a)``, wherever it may stand."""
    patterns = {getattr(each, "pattern", each) for each in settings["outputs_to_match"].values()}
    return any(r"\(a\)" in pattern for pattern in patterns)


def _named(reply: Reply) -> list[float | None]:
    text = reply.text.strip()
    if reply.finish_reason == "length":  # what comes before a verdict may name what it then rejects
        text = text.partition("\n")[0]
    return [reading.chosen(text)]


def _token(reply: Reply, *, first: str, known: Sequence[str]) -> list[float | None]:
    answer = reply.text.strip()
    return [None if answer not in known else 1.0 if answer == first else 2.0]


def _weighted(reply: Reply, *, settings: Mapping[str, Any]) -> list[float | None]:
    """The verdict weighted with the probabilities that the model gave to both answers."""
    if not reply.logprobs:
        return []
    answer = {"logprobs": {"content": list(reply.logprobs)}}
    return _by_the_library("logprob_parser", answer, settings)


def _parsed(reply: Reply, *, parser: str, settings: Mapping[str, Any]) -> list[float | None]:
    return _by_the_library(parser, reply.text, settings)


def _by_the_library(parser: str, answer: object, settings: Mapping[str, Any]) -> list[float | None]:
    """Have a parser of alpaca_eval's give preferences from 1 to 2, or None; never raise or log.

    Its parsers write a tie as 0, which the library's own check then refuses with the whole run.
    """
    with undisturbed():
        from alpaca_eval import completion_parsers

        try:
            found = getattr(completion_parsers, parser)(answer, **settings)
            preferences = [1.5 if each == 0 else float(each) for each in found]
        except Exception:  # which errors a text can cause is up to each parser
            return []
    return [each if 1 <= each <= 2 else None for each in preferences]
