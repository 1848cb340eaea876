"""One contract between training and generation: how an instruction becomes the tokens of a chat.

The tokenizer's own chat template is used, with the assistant header before the answer. What the
model is trained on is exactly what it is asked with, followed by the answer and the end-of-turn
token. (The study's group asked without the header: 805 of 805 answers began with the word
"assistant".)

Text of the data stays text. Only the template writes control tokens, which are those that the
tokenizer marks as special: an instruction or output that spells out ``<|im_end|>`` is made of its
characters, and cannot end a turn or begin one.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from mini_lima.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER = "\N{OBJECT REPLACEMENT CHARACTER}"
CONTROL_TOKEN = re.compile(r"<\|[^<>|\s]+\|>")
"""How most templates spell their control tokens."""


@dataclass(frozen=True)
class Conversation:
    """Token ids of a prompt (with the assistant header) and of a response (with its terminator)."""

    prompt: list[int]
    response: list[int]

    @property
    def tokens(self) -> int:
        """How many there are, of both."""
        return len(self.prompt) + len(self.response)


class ChatTemplate:
    """Renders with a tokenizer's chat template, checked once for what training relies on."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Find the end-of-turn token.

        Raises:
            UserError: no template, one that fails or that does not begin a conversation with its
                own prompt, control tokens that the tokenizer does not have, or answers that no
                single token ends.
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
        try:
            prompt = self._text([question], with_header=True)
            whole = self._text([question, answer], with_header=False)
        except Exception as error:  # what a template can raise is up to its author
            raise UserError(f"{name}: its chat template fails on a question: {error}") from error
        header, found, ending = whole.partition(ANSWER)
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
        self._written_by_template = self._control_tokens(self._prompt("?"))

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
        content = f"{instruction}\n\n{given}" if given else instruction
        ids = self._prompt(content)
        if self._control_tokens(ids) == self._written_by_template:
            return ids
        # Not for every text: what surrounds a spelled-out token is then tokenised in pieces.
        ids = self._prompt(content, sanitize_control_tokens=True)
        if self._control_tokens(ids) != self._written_by_template:
            raise UserError(
                f"{self.tokenizer.name_or_path}: its chat template makes control tokens of the "
                f"instruction {content[:80]!r}; take that out of the data"
            )
        return ids

    def spells_control_tokens(self, instruction: str) -> bool:
        """Whether a renderer that does not look after it would make control tokens of the text."""
        return self._control_tokens(self._prompt(instruction)) != self._written_by_template

    def conversation(self, instruction: str, given: str, output: str) -> Conversation:
        """Return prompt and response; a special token spelled out in ``output`` stays text."""
        response = self.tokenizer(
            output.strip(), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return Conversation(self.prompt(instruction, given), [*response, self.end_of_turn])

    def _prompt(self, content: str, *, sanitize_control_tokens: bool = False) -> list[int]:
        ids = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            sanitize_control_tokens=sanitize_control_tokens,
            return_dict=False,
        )
        return cast("list[int]", ids)

    def _text(self, messages: list[dict[str, str]], *, with_header: bool) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=with_header
        )
        assert isinstance(text, str)
        return text

    def _unknown(self, text: str) -> list[str]:
        """What looks like a control token in ``text``, and is none."""
        spelled = dict.fromkeys(CONTROL_TOKEN.findall(text))
        ids = {each: self.tokenizer.encode(each, add_special_tokens=False) for each in spelled}
        return [
            each for each, found in ids.items() if len(found) > 1 or found[0] not in self._special
        ]

    def _control_tokens(self, ids: list[int]) -> list[int]:
        return [id for id in ids if id in self._special]
