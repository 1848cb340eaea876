"""Reasoning told from the answer, wherever a model or its server puts it.

Models that think aloud write their thought in front of the answer, between tags of their own, and
servers pass it on as it is, or in a field or part of its own. A verdict that a judge weighs in its
thought is no verdict, and a teacher's thought is no training data.

Only what stands at the beginning of a text is a thought: an answer may speak of ``<think>``, quote
it or show it in an example. Where the prompt has opened the thought, its end alone tells of it. A
thought that does not end has no answer behind it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

NAME = r"(?:\w+[:_])?(?:ant)?(?:think(?:ing)?|thoughts?|reasoning)"
OPENING = re.compile(
    rf"<\|?(?!end_){NAME}(?:\s+\w+=[^<>]*|\s*)\|?>|\[THINK\]|◁think▷|<\|channel>thought\b"
    r"|<unused94>(?:thought\b)?",
    re.IGNORECASE,
)
CLOSING = re.compile(
    rf"<\|?\s*(?:/\s*|end_){NAME}\s*\|?>|\[/THINK\]|◁/think▷|<channel\|>|<unused95>",
    re.IGNORECASE,
)
"""DeepSeek's and Qwen's, and those of Mistral, Cohere, Seed, Kimi, Gemma and others."""
BEFORE = re.compile(
    r"(?:[\s\ufeff\u200b-\u200d\u2060]|<s>|<bos>|<\|\w+\|>(?:assistant\b)?)*?(?="
    + OPENING.pattern
    + ")",
    re.IGNORECASE,
)
"""Servers leave marks of a beginning in front of the text, which nobody sees."""
IN_A_SENTENCE = re.compile(r"[^\s.!?…:;>)\]*\"”'’`。！？：][ \t]*$")
GOES_ON = re.compile(r"[ \t]+[^\W\dA-Z_]|[.,;:!?)]")
"""What stands before and after a tag that a sentence speaks of."""
QUOTES = "`\"'“”‘’"
CHANNEL = re.compile(r"\s*(?:<\|start\|>assistant)?\s*<\|channel\|>")
FINAL = re.compile(r".*<\|channel\|>final\b.*?<\|message\|>", re.DOTALL)
END_OF_MESSAGE = re.compile(r"<\|(?:end|return|call)\|>")
"""OpenAI's gpt-oss writes several messages in one, the answer into the channel final."""
BARE_CHANNEL = re.compile(r"analysis(?=[A-Z]|\s.*assistantfinal)", re.DOTALL)
BARE_FINAL = re.compile(r".*?assistantfinal", re.DOTALL)
"""The same where a server has dropped the control tokens."""
PROCESS = re.compile(
    r"\s*Here(?: is|'s) my thought process:(.*?)Here(?: is|'s) my response:", re.DOTALL
)
"""IBM's Granite."""
WRAPPED = re.compile(
    r"<\|?(?:begin_of_|start_)?(answer|response|solution)\|?>(.*?)(?:<\|?(?:/|end_of_|end_)\1\|?>\s*)?",
    re.DOTALL | re.IGNORECASE,
)
"""An answer behind a thought that has tags of its own."""
OF_REASONING = re.compile(r"think|thought|reason", re.IGNORECASE)
"""In the name of a message's field, or the type of its part: servers do not agree on one."""


@dataclass(frozen=True)
class Separated:
    """What a model wrote.

    Attributes:
        answer: Empty where it has not come to one.
        thought: None if there was none; empty tags are an empty one.
        opened_by_prompt: Whether the thought has an end alone.
    """

    answer: str
    thought: str | None = None
    opened_by_prompt: bool = False


def separate(text: str) -> Separated:
    """Tell the thought at the beginning of ``text``, if there is one, from the answer."""
    if CHANNEL.match(text):
        return _behind(FINAL.match(text), text)
    if BARE_CHANNEL.match(text):
        return _behind(BARE_FINAL.match(text), text)
    if process := PROCESS.match(text):
        return _behind(process, text)
    thoughts: list[str] = []
    rest = text
    while before := BEFORE.match(rest):
        opening = OPENING.match(rest, before.end())
        assert opening is not None
        rest = rest[opening.end() :]
        if (closing := _end(rest)) is None:
            return Separated("", "\n\n".join([*thoughts, rest.strip()]))
        thoughts.append(rest[: closing.start()].strip())
        rest = rest[closing.end() :].lstrip()
    unopened = _end_of_unopened(rest)
    opened_by_prompt = unopened is not None and not thoughts
    if unopened is not None:
        thoughts.append(rest[: unopened.start()].strip())
        rest = rest[unopened.end() :].lstrip()
    if not thoughts:
        return Separated(text)
    if wrapped := WRAPPED.fullmatch(rest):
        rest = wrapped[2].strip()
    return Separated(rest, "\n\n".join(filter(None, thoughts)), opened_by_prompt)


def opened_by(prompt: str) -> str | None:
    """The tag with which ``prompt`` opens a thought for the model to go on with, if it does."""
    tags = list(_tags(prompt.rstrip()))
    is_last = bool(tags) and tags[-1].end() == len(prompt.rstrip())
    return tags[-1][0] if is_last and OPENING.fullmatch(tags[-1][0]) else None


def of_message(message: Any) -> Separated | None:
    """What a message of a chat completion says; None if it has another shape.

    Where it has no text, its refusal is the answer, or the arguments of the function that it calls.
    """
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    parts = content if isinstance(content, list) else [content or ""]
    # The same reasoning may stand in two fields.
    fields = (_flat(message[name]) for name in message if OF_REASONING.search(name))
    thoughts = list(dict.fromkeys(filter(None, fields)))
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
        elif not isinstance(part, dict) or part is content:
            return None
        elif part.get("thought") is True or OF_REASONING.search(str(part.get("type"))):
            thoughts.append(_flat(part))
        elif isinstance(said := part.get("text", part.get("refusal", "")), str):
            text += said
        else:
            return None
    refusal = message.get("refusal")
    found = separate(text or (refusal if isinstance(refusal, str) else ""))
    thoughts += [] if found.thought is None else [found.thought]
    thought = "\n\n".join(filter(None, thoughts)) if thoughts else None
    match message:
        case {"tool_calls": [{"function": {"arguments": str(arguments)}}, *_]} | {
            "function_call": {"arguments": str(arguments)}
        }:
            return Separated(found.answer if found.answer.strip() else arguments, thought)
    return replace(found, thought=thought)


def tokens_of(answer: str, tokens: Sequence[Any]) -> list[Any] | None:
    """Those of ``tokens``, log probabilities of a whole reply, that are of its ``answer``.

    None if it is not found in them.
    """
    texts = [str(token.get("token")) if isinstance(token, dict) else "" for token in tokens]
    start, passed = "".join(texts).rfind(answer), 0
    for number, text in enumerate(texts):
        if passed >= start >= 0:
            return list(tokens[number:])
        passed += len(text)
    return None


def _behind(before: re.Match[str] | None, text: str) -> Separated:
    """The answer behind ``before``, up to the end of that message."""
    if before is None:
        return Separated("", text.strip())
    answer = END_OF_MESSAGE.split(text[before.end() :], maxsplit=1)[0]
    return Separated(answer.strip(), before[0].strip())


def _end(text: str) -> re.Match[str] | None:
    """The tag that ends the thought with which ``text`` begins."""
    found = [tag for tag in CLOSING.finditer(text) if not _is_quoted(tag)]
    return next((tag for tag in found if not _is_mentioned(tag)), next(iter(found), None))


def _end_of_unopened(text: str) -> re.Match[str] | None:
    """The tag that ends a thought which the prompt has opened."""
    open_tags = 0
    for tag in _tags(text):
        if _is_mentioned(tag) or _is_quoted(tag) or text[: tag.start()].count("```") % 2:
            continue
        if CLOSING.fullmatch(tag[0]) is None:
            open_tags += 1
        elif open_tags:
            open_tags -= 1
        else:
            return tag
    return None


def _tags(text: str) -> Iterator[re.Match[str]]:
    found = [*OPENING.finditer(text), *CLOSING.finditer(text)]
    yield from sorted(found, key=lambda tag: tag.start())


def _is_quoted(tag: re.Match[str]) -> bool:
    """Whether ``tag`` stands in quotation marks or code within a line."""
    text = tag.string
    around = text[: tag.start()][-1:], text[tag.end() :][:1]
    if all(around) and all(each in QUOTES for each in around):
        return True
    line = text[: tag.start()].rpartition("\n")[2]
    rest = text[tag.end() :].partition("\n")[0]
    return any(line.count(mark) % 2 and mark in rest for mark in '`"')


def _is_mentioned(tag: re.Match[str]) -> bool:
    """Whether ``tag`` is a word of a sentence."""
    line = tag.string[: tag.start()].rpartition("\n")[2]
    return bool(IN_A_SENTENCE.search(line) and GOES_ON.match(tag.string, tag.end()))


def _flat(value: Any) -> str:
    """The text in ``value``, in whatever lists and objects it is."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        value = [
            value.get(name) for name in ("text", "thinking", "reasoning", "summary", "content")
        ]
    if isinstance(value, list):
        return "\n\n".join(filter(None, map(_flat, value)))
    return ""
