"""Which judge it is: what is configured, what it is called, and how it is recorded.

A judge is a prompt that is put to a model, sampled in some way; or a rule, a function. Each of
these changes its verdicts, so two judges are one only if all of it is the same. A table has room
for a name: ``gpt-4.1 (chatgpt)`` is that model with that prompt; a rule has its function's name.
The model is named by the run, for the models that AlpacaEval's configs name are mostly gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError
from mini_lima.evaluation import prompts, rules
from mini_lima.store.targets import load

if TYPE_CHECKING:
    from mini_lima.chat import Chat


@dataclass(frozen=True)
class ShippedPrompt:
    """One of AlpacaEval's annotator configs, by its name: prompt and reading."""

    name: str


@dataclass(frozen=True)
class OwnPrompt:
    """A user's prompt file, which is given beside it; see `prompts.load_own`."""

    name: str
    reading: str = prompts.NAMED
    answers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A function that judges.

    Attributes:
        name: What it is called.
        function: Its dotted name.
        keywords: As they are configured.
        code: See `mini_lima.store.targets.Target`.
    """

    name: str
    function: str
    keywords: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None


JudgeChoice = ShippedPrompt | OwnPrompt | Rule
"""What judges, but for the model that it may ask."""


@dataclass(frozen=True)
class Judge:
    """All that makes a judge's verdicts, as leaderboard.json records it; JSON types.

    Attributes:
        name: For tables. Judges that differ may share it.
        prompt: Name of the prompt; None for a rule.
        prompt_sha256: Of its file.
        reading: How answers to a user's prompt are read; None for AlpacaEval's.
        answers: What they may be.
        model: As its endpoint calls it.
        endpoint: Name of the service.
        sampling: What is sent besides model and messages: temperature, max_tokens …
        rule: Dotted name of the function; None for a prompt.
        keywords: The rule's.
        code: Of a rule that is not ours, the sha256 of the file that it is in.
    """

    name: str
    prompt: str | None = None
    prompt_sha256: str | None = None
    reading: str | None = None
    answers: Sequence[str] = ()
    model: str | None = None
    endpoint: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    rule: str | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None


def choose(
    key: str,
    *,
    name: str | None,
    prompt: Path | None,
    reading: str,
    answers: Sequence[str],
    rule: Mapping[str, Any],
) -> JudgeChoice:
    """Return the judge that is configured under ``key``, once all that names it has been checked.

    Args:
        key: For what is said about it.
        name: Of one of AlpacaEval's annotators. With a prompt or a rule, what that is called;
            unless it is one of AlpacaEval's names, which then stems from the option that was begun
            with.
        prompt: A user's prompt file.
        reading: How answers to it are read.
        answers: What they may be.
        rule: ``_target_`` and keywords of a function; empty for a prompt.

    Raises:
        UserError: there is no such judge, or it could judge nothing.
    """
    own_name = None if name in prompts.shipped() else name
    if prompt is None and (answers or reading != prompts.NAMED):
        raise UserError(f"{key}.reading and {key}.answers are for {key}.prompt, which is not given")
    if rule and prompt:
        raise UserError(f"{key} has a prompt and a rule: it is judged by one or the other")
    if rule:
        target = load(f"{key}.rule", rule, provided=rules.PROVIDED)
        rules.decider(target)
        given = {each: value for each, value in rule.items() if not each.startswith("_")}
        return Rule(own_name or target.function.__name__, target.name, given, target.code)
    if prompt is not None:
        prompts.check_answers(key, reading, answers)
        own_name = own_name or prompt.stem
        prompts.load_own(own_name, prompt, reading, answers)
        return OwnPrompt(own_name, reading, tuple(answers))
    if name is None:
        raise UserError(
            f"{key} has no judge: give {key}.name (an annotator of AlpacaEval's), {key}.prompt (a"
            f" file of yours) or {key}.rule (a function)"
        )
    if name not in prompts.shipped():
        if near := get_close_matches(name, prompts.shipped(), 1):
            perhaps = f"did you mean {near[0]}?"
        elif name in rules.CONTROLS:
            perhaps = f"{name} is a rule: choose the option annotator={name}"
        else:
            perhaps = f"it has {', '.join(prompts.shipped())}"
        raise UserError(f"{key}.name={name}: AlpacaEval has no such annotator; {perhaps}")
    return ShippedPrompt(name)


def load_annotator(judge: ShippedPrompt | OwnPrompt, prompt: Path | None) -> prompts.Annotator:
    """Return what puts the questions of ``judge`` and reads their answers.

    Args:
        judge: As `choose` gives it.
        prompt: The file of an `OwnPrompt`.

    Raises:
        UserError: a file that has changed since, or a config that is not followed here.
    """
    if isinstance(judge, ShippedPrompt):
        return prompts.load_shipped(judge.name)
    assert prompt is not None
    return prompts.load_own(judge.name, prompt, judge.reading, judge.answers)


def of_rule(rule: Rule) -> Judge:
    """Return the record of ``rule``."""
    return Judge(rule.name, rule=rule.function, keywords=dict(rule.keywords), code=rule.code)


def of_prompt(
    judge: ShippedPrompt | OwnPrompt, annotator: prompts.Annotator, chat: "Chat"
) -> Judge:
    """Return the record of ``judge``, which asks ``chat``."""
    own = judge if isinstance(judge, OwnPrompt) else None
    sampling = {**annotator.extra, **chat.model.identity}
    model = sampling.pop("model")
    return Judge(
        f"{model} ({judge.name})",
        prompt=judge.name,
        prompt_sha256=annotator.prompt_sha256,
        reading=own.reading if own else None,
        answers=own.answers if own else (),
        model=model,
        endpoint=chat.endpoint.name,
        sampling=sampling,
    )
