"""Which judge it is: what tells it from others, and what it is called.

A judge is a prompt that is put to a model, sampled in some way; or a rule, a function. Each of
these changes its verdicts, so two judges are one only if all of it is the same. A table has room
for a name: ``gpt-4.1 (chatgpt)`` is that model with that prompt; a rule has its function's name.

A win rate can be compared with published ones only if the prompt is AlpacaEval's own, so that is
taken from the installed library by the name of its annotator config (see `shipped`). The model is
named by the run, for the models that these configs name are mostly gone.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError
from mini_lima.evaluation import prompts, rules, shipped
from mini_lima.evaluation.annotators import Annotator, Completion
from mini_lima.targets import TARGET, load

if TYPE_CHECKING:
    from mini_lima.chat import Chat


@dataclass(frozen=True)
class ShippedPrompt:
    """One of AlpacaEval's annotator configs, by its name: prompt and reading."""

    name: str


@dataclass(frozen=True)
class OwnPrompt:
    """A prompt file of one's own, which goes beside it.

    Attributes:
        name: What it is called.
        reading: How its answers are read; one of `prompts.READINGS`.
        answers: See `prompts.read_own`.
    """

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
        code: See `mini_lima.targets.Target`.
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
        prompt: Name of the prompt; None for a rule.
        prompt_sha256: Of its file.
        reading: How answers to a prompt of one's own are read; None for AlpacaEval's.
        answers: What they may be.
        model: As its endpoint calls it.
        endpoint: Name of the service.
        sampling: What is sent besides model and messages: temperature, max_tokens …
        rule: Dotted name of the function; None for a prompt.
        keywords: The rule's.
        code: Of a rule that is not ours, the sha256 of the file that it is in.
        name: For tables. Judges that differ may share it: see `distinct_names`.
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
        prompt: A prompt file of one's own.
        reading: How answers to it are read.
        answers: What they may be.
        rule: ``_target_`` and keywords of a function; empty for a prompt.

    Raises:
        UserError: there is no such judge, or it could judge nothing.
    """
    own_name = None if name in shipped.names() else name
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
        prompts.read_own(prompt, reading, answers)
        return OwnPrompt(own_name or prompt.stem, reading, tuple(answers))
    if name is None:
        raise UserError(
            f"{key} has no judge: give {key}.name (an annotator of AlpacaEval's), {key}.prompt (a"
            f" file of yours) or {key}.rule (a function)"
        )
    if name not in shipped.names():
        raise UserError(f"{key}.name={name}: AlpacaEval has no such annotator; {_meant(name)}")
    return ShippedPrompt(name)


def _meant(name: str) -> str:
    if near := get_close_matches(name, shipped.names(), 1):
        return f"did you mean {near[0]}?"
    if name in rules.CONTROLS:
        return f"{name} is a rule: choose the option annotator={name}"
    return f"it has {', '.join(shipped.names())}"


def load_annotator(judge: JudgeChoice, prompt: Path | None = None) -> Annotator:
    """Return what puts the questions of ``judge`` and reads their answers.

    Args:
        judge: As `choose` gives it.
        prompt: The file of an `OwnPrompt`.

    Raises:
        UserError: a file or function that has changed since, or a config that is not followed here.
    """
    if isinstance(judge, Rule):
        given = {TARGET: judge.function, **judge.keywords}
        target = load(f"judge {judge.name}", given, provided=rules.PROVIDED)
        return Annotator(judge.name, prompt=(), votes=_nothing, decide=rules.decider(target))
    if isinstance(judge, ShippedPrompt):
        return shipped.load_shipped(judge.name)
    assert prompt is not None
    messages = prompts.read_own(prompt, judge.reading, judge.answers)
    extra: Mapping[str, Any] = {}
    if judge.reading == prompts.WEIGHTED:
        votes, extra = shipped.weighted(*judge.answers)
    else:
        votes = prompts.votes_by(judge.reading, judge.answers)
    sha256 = hashlib.sha256(prompt.read_bytes()).hexdigest()
    return Annotator(judge.name, messages, votes, extra=extra, prompt_sha256=sha256)


def describe(judge: JudgeChoice, annotator: Annotator, chat: "Chat | None") -> Judge:
    """Return the record of ``judge``, which asks ``chat`` unless it is a rule."""
    if isinstance(judge, Rule):
        return Judge(
            judge.name, rule=judge.function, keywords=dict(judge.keywords), code=judge.code
        )
    assert chat is not None
    sampling = {**annotator.extra, **chat.model.identity}
    model = sampling.pop("model")
    return Judge(
        f"{model} ({judge.name})",
        prompt=judge.name,
        prompt_sha256=annotator.prompt_sha256,
        reading=judge.reading if isinstance(judge, OwnPrompt) else None,
        answers=judge.answers if isinstance(judge, OwnPrompt) else (),
        model=model,
        endpoint=chat.endpoint.name,
        sampling=sampling,
    )


def distinct_names(judges: Sequence[Judge]) -> list[str]:
    """Return a name for each of ``judges``, in which those of one name say what they differ in.

    Sampling, endpoint or keywords are written behind it: ``gpt-4.1 (chatgpt), temperature=1``; of
    a prompt or a function with the same name the beginning of its sha256. Equal judges keep equal
    names.
    """
    alike: defaultdict[str, list[Judge]] = defaultdict(list)
    for each in judges:
        alike[each.name].append(each)
    return [", ".join([each.name, *_differences(each, alike[each.name])]) for each in judges]


def _differences(judge: Judge, others: Sequence[Judge]) -> list[str]:
    traits = [_traits(each) for each in others]
    own = _traits(judge)
    return [
        f"{trait}={own.get(trait, 'default')}"
        for trait in dict.fromkeys(trait for each in traits for trait in each)
        if any(each.get(trait) != own.get(trait) for each in traits)
    ]


def _traits(judge: Judge) -> dict[str, Any]:
    found = {**judge.sampling, **judge.keywords}
    found |= {each: getattr(judge, each) for each in ("endpoint", "rule", "reading")}
    found["answers"] = "/".join(judge.answers) or None
    for trait, digest in (("prompt", judge.prompt_sha256), ("code", judge.code)):
        found[trait] = digest and digest[:8]
    return {trait: value for trait, value in found.items() if value is not None}


def _nothing(completion: Completion) -> list[float | None]:
    return []
