"""One contract between training and generation: how an instruction becomes the tokens of a chat.

The tokenizer's own chat template is used, with the assistant header before the answer. What the
model is trained on is exactly what it is asked with, followed by the answer and the end-of-turn
token. (The study's group asked without the header: 805 of 805 answers began with the word
"assistant".) In a conversation of several turns this holds for every answer: up to it stand the
tokens that would ask for it.

Text of the data stays text. Only the template writes control tokens, which are those that the
tokenizer marks as special: an instruction or output that spells out ``<|im_end|>`` is made of its
characters, and cannot end a turn or begin one.

A template is a program of somebody else's. It may take neither for ever nor all memory, and what it
writes must follow from the conversation: today's date would be in the prompts, and in no identity.
"""

import json
import random
import re
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mini_lima.chat import opened_by, separate
from mini_lima.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER = "\N{OBJECT REPLACEMENT CHARACTER}"
CONTROL_TOKEN = re.compile(r"<\|[^<>|\s]+\|>")
"""How most templates spell their control tokens."""


SECONDS, BYTES = 10.0, 2**30
"""Processor time and memory that a template may take to write one conversation."""
DATES = (datetime(2001, 2, 3, 4, 5, 6), datetime(2034, 11, 28, 17, 49, 51))
"""Pretended to templates that ask for the date; they differ in whatever may be written of them."""
CLOCK = "strftime_now"
"""The function by which chat templates ask for the date."""
FORMAT = re.compile(r"""["']([^"']*%[^"']*)["']""")
ADDRESS = re.compile(r" at 0x[0-9a-f]{6}")
"""How Python writes out an object that has no text: by where it happens to be in memory."""

Message = dict[str, str]
"""Role and content, as chat templates take them."""
Turns = Literal["all", "last"]
"""Which answers of a conversation are supervised."""


@dataclass(frozen=True)
class Conversation:
    """A conversation as token ids.

    Attributes:
        prompt: All before the last answer, with the assistant header.
        response: The last answer with its end-of-turn token. It is supervised.
        earlier: Where in ``prompt`` the earlier answers are that are supervised too, each with its
            end-of-turn token: (first token, token after the last).
    """

    prompt: list[int]
    response: list[int]
    earlier: tuple[tuple[int, int], ...] = ()

    @property
    def tokens(self) -> int:
        """How many there are, of both."""
        return len(self.prompt) + len(self.response)

    @property
    def supervised(self) -> int:
        """How many of them the loss is taken of."""
        return len(self.response) + sum(end - start for start, end in self.earlier)


class ChatTemplate:
    """Renders with a tokenizer's chat template, checked once for what training relies on."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Find the end-of-turn token.

        Raises:
            UserError: no template, one that fails, writes today's date or something random, has the
                model think or does not begin a conversation with its own prompt, control tokens
                that the tokenizer does not have, or answers that no single token ends.
        """
        self.tokenizer = tokenizer
        # A tokenizer's list of named special tokens leaves out those that were merely added.
        added = tokenizer.added_tokens_decoder.items()
        self._special = {*tokenizer.all_special_ids, *(id for id, token in added if token.special)}
        name = tokenizer.name_or_path
        if not tokenizer.chat_template:
            raise UserError(
                f"{name}: its tokenizer has no chat template; give a file with one as"
                " model.chat_template"
            )
        question = {"role": "user", "content": "?"}
        answer = {"role": "assistant", "content": ANSWER}
        prompt = self._text([question], with_header=True)
        whole = self._text([question, answer], with_header=False)
        if place := ADDRESS.search(whole):
            raise UserError(
                f"{name}: its chat template writes an object{place[0]} …, which is a place in memory"
                " and another one each time: give another one as model.chat_template"
            )
        header, found, ending = whole.partition(ANSWER)
        adds_thought = (
            header != prompt and separate(header.removeprefix(prompt)).thought is not None
        )
        if opened_by(prompt) or (found and adds_thought):
            raise UserError(
                f"{name}: its chat template has the model think before it answers, and the thought"
                " would be trained on and judged as the answer: set"
                " model.template_kwargs={enable_thinking: false} if the template knows that, or"
                " give another one as model.chat_template"
            )
        if not found or header != prompt:
            raise UserError(
                f"{name}: its chat template does not begin a conversation with the prompt that "
                "asks for it, so training and generation would not match"
            )
        if unknown := self._unknown(whole):
            raise UserError(
                f"{name}: its chat template writes {', '.join(unknown)}, which its tokenizer does"
                " not have as special tokens: the model would read their letters; take the"
                " tokenizer of a chat model, or give another template as model.chat_template"
            )
        ids = tokenizer.encode(ending, add_special_tokens=False)
        if not ids or ids[0] not in self._special:
            raise UserError(
                f"{name}: its chat template ends an answer with {ending!r}, which does not begin "
                "with a special token: nothing would tell the model to stop"
            )
        self.end_of_turn: int = ids[0]
        self._ending = str(tokenizer.convert_ids_to_tokens(self.end_of_turn))
        self._written: dict[tuple[str, ...], list[int]] = {
            ("user",): self._control_tokens(self._tokens([question]))
        }

    def stops(self, own: int | list[int] | None) -> list[int]:
        """Return every token that ends an answer; ``own`` is what the model's own files name."""
        named = [self.end_of_turn, self.tokenizer.eos_token_id]
        named += own if isinstance(own, list) else [own]
        return sorted({token for token in named if token is not None})

    def prompt(self, instruction: str, given: str = "") -> list[int]:
        """Return the tokens that ask for an answer to ``instruction`` with the input ``given``.

        Raises:
            UserError: the text would become control tokens and cannot be kept from it.
        """
        return self._prompt([_message("user", user_text(instruction, given))])

    def spells_control_tokens(self, instruction: str) -> bool:
        """Whether a renderer that does not look after it would make control tokens of the text."""
        messages = [_message("user", instruction)]
        return self._control_tokens(self._tokens(messages)) != self._written_by_template(messages)

    def conversation(
        self,
        instruction: str,
        given: str,
        output: str,
        *,
        system: str = "",
        history: Sequence[tuple[str, str]] = (),
        turns: Turns = "all",
    ) -> Conversation:
        """Return prompt and response; a special token spelled out in a text stays text.

        Args:
            instruction: What the last user turn asks.
            given: Its input.
            output: The answer to it.
            system: The system message; empty for none.
            history: Earlier turns, oldest first: (user, assistant).
            turns: ``all`` answers are supervised, or the ``last`` alone.

        Raises:
            UserError: a text would become control tokens and cannot be kept from it, or the
                template takes no system message, leaves turns out, or changes what it wrote before
                when another turn follows.
        """
        messages = [_message("system", system)] if system else []
        before: list[int] = []
        text = ""
        earlier = []
        for user, answer in history:
            messages.append(_message("user", user))
            if turns == "all":
                prompt, text = self._going_on(messages, before, text)
                before = [*prompt, *self._response(answer)]
                earlier.append((len(prompt), len(before)))
                text += f"{answer.strip()}{self._ending}"
            messages.append(_message("assistant", answer.strip()))
        messages.append(_message("user", user_text(instruction, given)))
        if before:
            prompt, _ = self._going_on(messages, before, text)
        else:
            prompt = self._prompt(messages)
        return Conversation(prompt, self._response(output), tuple(earlier))

    def _response(self, output: str) -> list[int]:
        ids = self.tokenizer(output.strip(), add_special_tokens=False, split_special_tokens=True)
        return [*ids["input_ids"], self.end_of_turn]

    def _going_on(
        self, messages: Sequence[Message], before: list[int], text_before: str
    ) -> tuple[list[int], str]:
        """Return the prompt of ``messages`` and its text, which go on from ``before``.

        ``before`` is kept as it is, and the template's tokens are taken from there on: so every
        answer is tokenised by itself, as a model generates it.
        """
        prompt = self._prompt(messages)
        text = self._text(messages, with_header=True)
        passed = self._control_tokens(before)
        at = [index for index, id in enumerate(prompt) if id in self._special]
        if not text.startswith(text_before) or [prompt[i] for i in at[: len(passed)]] != passed:
            raise UserError(
                f"{self.tokenizer.name_or_path}: its chat template writes earlier turns otherwise"
                " once another one follows (without their thoughts, say), so not every answer can"
                " be trained on as it is asked for: set sft.turns=last, or give another"
                " template as model.chat_template"
            )
        start = at[len(passed) - 1] + 1 if passed else 0
        return [*before, *prompt[start:]], text

    def _prompt(self, messages: Sequence[Message]) -> list[int]:
        """Return the tokens of ``messages`` and of the header that asks for an answer.

        Raises:
            UserError: as `conversation`.
        """
        expected = self._written_by_template(messages)
        ids = self._tokens(messages)
        if self._control_tokens(ids) == expected:
            return ids
        # Not for every text: what surrounds a spelled-out token is then tokenised in pieces.
        ids = self._tokens(messages, sanitize_control_tokens=True)
        if self._control_tokens(ids) != expected:
            texts = "the instruction" if len(messages) == 1 else "the conversation that ends with"
            raise UserError(
                f"{self.tokenizer.name_or_path}: its chat template makes control tokens of {texts}"
                f" {messages[-1]['content'][:80]!r}; take that out of the data"
            )
        return ids

    def _written_by_template(self, messages: Sequence[Message]) -> list[int]:
        """Return the control tokens of a conversation of these roles, whatever is said in it."""
        roles = tuple(each["role"] for each in messages)
        if roles not in self._written:
            self._check_roles(roles)
            asked = [_message(role, _placeholder(n)) for n, role in enumerate(roles)]
            self._written[roles] = self._control_tokens(self._tokens(asked))
        return self._written[roles]

    def _check_roles(self, roles: Sequence[str]) -> None:
        """Raise UserError unless the template shows every turn of such a conversation, in order."""
        name = self.tokenizer.name_or_path
        if roles[0] == "system":
            fault = self._fault(["system", "user"])
            if fault:
                raise UserError(
                    f"{name}: its chat template takes no system message ({fault}), and the data has"
                    " some: give a template that does as model.chat_template, or leave them out"
                    " where the file is read (system=drop)"
                )
        if fault := self._fault(roles):
            raise UserError(
                f"{name}: its chat template cannot write a conversation of several turns ({fault}):"
                " give another one as model.chat_template, or take such examples out of the data"
            )

    def _fault(self, roles: Sequence[str]) -> str | None:
        asked = [_message(role, _placeholder(n)) for n, role in enumerate(roles)]
        try:
            text = self._text(asked, with_header=True)
        except UserError as error:
            if error.__cause__ is None:
                raise
            return f"it fails: {error.__cause__}"
        return None if all(each["content"] in text for each in asked) else "it leaves one out"

    def _tokens(
        self, messages: Sequence[Message], *, sanitize_control_tokens: bool = False
    ) -> list[int]:
        ids = self._render(
            messages,
            add_generation_prompt=True,
            sanitize_control_tokens=sanitize_control_tokens,
            return_dict=False,
        )
        return cast("list[int]", ids)

    def _text(self, messages: Sequence[Message], *, with_header: bool) -> str:
        text = self._render(messages, tokenize=False, add_generation_prompt=with_header)
        assert isinstance(text, str)
        return text

    def _render(self, messages: Sequence[Message], **how: Any) -> Any:
        """Apply the template.

        Raises:
            UserError: it fails, takes too much, or writes something else each time.
        """
        name, template = self.tokenizer.name_or_path, self.tokenizer.get_chat_template()

        def written(source: str) -> Any:
            try:
                with _bounds():
                    return self.tokenizer.apply_chat_template(
                        list(messages), chat_template=source, **how
                    )
            except Exception as error:  # what a template can raise is up to its author
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise UserError(f"{name}: its chat template fails: {reason}") from error

        found, others = written(template), {}
        if CLOCK in template:
            others["today's date"] = [written(_dated(template, date)) for date in DATES]
        if "random" in template or "lipsum" in template:
            state = random.getstate()
            others["something random"] = [written(template) for _ in range(8)]
            random.setstate(state)
        for what, several in others.items():
            if any(other != several[0] for other in several):
                raise UserError(
                    f"{name}: its chat template writes {what}, so the same experiment would have"
                    f" other prompts tomorrow: fix it, a date by model.template_kwargs={{{CLOCK}:"
                    " '26 Jul 2024'}, or give another template as model.chat_template"
                )
        return found

    def _unknown(self, text: str) -> list[str]:
        """What looks like a control token in ``text``, and is none."""
        spelled = dict.fromkeys(CONTROL_TOKEN.findall(text))
        ids = {each: self.tokenizer.encode(each, add_special_tokens=False) for each in spelled}
        return [
            each for each, found in ids.items() if len(found) > 1 or found[0] not in self._special
        ]

    def _control_tokens(self, ids: list[int]) -> list[int]:
        return [id for id in ids if id in self._special]


def _dated(template: str, date: datetime) -> str:
    """``template`` as it would be called at ``date``, whichever of its own formats it asks for."""
    known = {form: date.strftime(form) for form in FORMAT.findall(template)}
    told = f"{json.dumps(known)}.get(format, {json.dumps(date.isoformat())})"
    return f"{{% macro {CLOCK}(format) %}}{{{{ {told} }}}}{{% endmacro %}}{template}"


@contextmanager
def _bounds() -> Iterator[None]:
    """Raise TimeoutError or MemoryError in what takes more than `SECONDS` or `BYTES`.

    Outside the main thread Python gives signals to nobody, so there is no bound; nor is one of
    memory outside Linux.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TimeoutError(f"it takes more than {SECONDS:g} s of processor time for a conversation")

    before = signal.signal(signal.SIGPROF, stop)
    allowed = resource.getrlimit(resource.RLIMIT_AS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + BYTES
            limits = [each for each in (most, *allowed) if each != resource.RLIM_INFINITY]
            resource.setrlimit(resource.RLIMIT_AS, (min(limits), allowed[1]))
        yield
    except MemoryError as error:
        raise MemoryError(f"it takes more than {BYTES:g} bytes for a conversation") from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, allowed)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def user_text(instruction: str, given: str) -> str:
    """Return what the user says: the instruction and, if there is any, its input."""
    return f"{instruction}\n\n{given}" if given else instruction


def question(instruction: str, given: str | None) -> str:
    """Return the same of a row of an evaluation set, where a blank input is none."""
    return user_text(instruction, given) if given and given.strip() else instruction


def _placeholder(number: int) -> str:
    return f"{ANSWER}{number}{ANSWER}"
