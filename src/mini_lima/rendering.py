"""One contract between training and generation: how an instruction becomes the tokens of a chat.

The tokenizer's own chat template is used, with the assistant header before the answer. What the model
is trained on is exactly what it is asked with, followed by the answer and the end-of-turn token. (The
study's group asked without the header: 805 of 805 answers began with the word "assistant".)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mini_lima.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANSWER = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Conversation:
    """Token ids of a prompt (with the assistant header) and of a response (with its terminator)."""

    prompt: list[int]
    response: list[int]


class ChatTemplate:
    """Renders with a tokenizer's chat template, checked once for what training relies on."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        """Find the end-of-turn token.

        Raises:
            UserError: no template, a conversation that does not begin with its own prompt, or
                answers that no single token ends.
        """
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise UserError(f"{tokenizer.name_or_path}: its tokenizer has no chat template")
        prompt = self._text([{"role": "user", "content": "?"}])
        whole = self._text(
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": ANSWER}],
            with_header=False,
        )
        header, found, ending = whole.partition(ANSWER)
        if not found or header != prompt:
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template does not begin a conversation with the"
                " prompt that asks for it, so training and generation would not match"
            )
        ids = tokenizer.encode(ending, add_special_tokens=False)
        if not ids or ids[0] not in tokenizer.all_special_ids:
            raise UserError(
                f"{tokenizer.name_or_path}: its chat template ends an answer with {ending!r}, which"
                " does not begin with a special token: nothing would tell the model to stop"
            )
        self.end_of_turn: int = ids[0]

    def prompt(self, instruction: str, given: str = "") -> list[int]:
        """Return the tokens that ask for an answer to ``instruction`` with the input ``given``."""
        content = f"{instruction}\n\n{given}" if given else instruction
        text = self._text([{"role": "user", "content": content}])
        return self.tokenizer.encode(text, add_special_tokens=False)

    def conversation(self, instruction: str, given: str, output: str) -> Conversation:
        """Return prompt and response; a special token spelled out in ``output`` stays text."""
        response = self.tokenizer(
            output.strip(), add_special_tokens=False, split_special_tokens=True
        )["input_ids"]
        return Conversation(self.prompt(instruction, given), [*response, self.end_of_turn])

    def _text(self, messages: list[dict[str, str]], *, with_header: bool = True) -> str:
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=with_header
        )
        assert isinstance(text, str)
        return text
