"""Examples as token ids, and the batches that the model sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mini_lima.errors import UserError
from mini_lima.models.rendering import ChatTemplate, Conversation, Turns

IGNORED = -100
"""Label of a position that is not supervised, as PyTorch's cross entropy spells it."""
NOTHING = Conversation([0], [])
"""What stands in for no conversation at all."""


@dataclass(frozen=True)
class Rendered:
    """The conversations to train on, in the order of the data set, and how many did not fit."""

    ids: list[str]
    conversations: list[Conversation]
    dropped: int


def render(
    rows: Sequence[Mapping[str, Any]],
    template: ChatTemplate,
    *,
    max_length: int,
    overlong: str,
    turns: Turns = "all",
    context: int | None = None,
) -> Rendered:
    """Render the data set's rows, whole: an answer that is cut off would teach not to stop.

    Args:
        rows: Of examples.jsonl.
        template: Renders.
        max_length: Tokens of prompt and response together.
        overlong: ``refuse`` or ``drop`` longer examples.
        turns: Which answers of a conversation are supervised.
        context: Tokens that the model can look at together; None: it sets itself no limit.

    Raises:
        UserError: an example is longer than ``max_length`` tokens and ``overlong`` is ``refuse``,
            one that is not is longer than ``context``, none is left, an answer does not end in a supervised end-of-turn token, or the template
            cannot render one (see `ChatTemplate.conversation`).
    """
    rendered = [conversation(row, template, turns) for row in rows]
    for row, each in zip(rows, rendered, strict=True):
        if each.response[-1:] != [template.end_of_turn]:
            raise UserError(f"example {row['id']}: its end-of-turn token is not supervised")
    lengths = [each.tokens for each in rendered]
    fitting = [i for i, length in enumerate(lengths) if length <= max_length]
    dropped = len(rendered) - len(fitting)
    if dropped and overlong == "refuse":
        raise UserError(
            f"{dropped} of {len(rendered)} examples are longer than sft.max_length={max_length}"
            f" tokens (the longest has {max(lengths)}): raise it, or set sft.overlong=drop"
        )
    longest = max((lengths[i] for i in fitting), default=0)
    if context is not None and longest > context:
        raise UserError(
            f"an example has {longest} tokens, and the model can look at {context} together: set"
            f" sft.max_length={context}, with sft.overlong=drop to leave longer ones out"
        )
    if not fitting:
        raise UserError(f"no example fits into sft.max_length={max_length} tokens")
    return Rendered([rows[i]["id"] for i in fitting], [rendered[i] for i in fitting], dropped)


def conversation(row: Mapping[str, Any], template: ChatTemplate, turns: Turns) -> Conversation:
    """Render a row of examples.jsonl; one without system message and history may lack them.

    Raises:
        UserError: as `ChatTemplate.conversation`, with the example's id.
    """
    try:
        return template.conversation(
            row["instruction"],
            row.get("input", ""),
            row["output"],
            system=row.get("system", ""),
            history=row.get("history", ()),
            turns=turns,
        )
    except UserError as error:
        raise UserError(f"example {row['id']}: {error}") from error


class Layout(StrEnum):
    """How the conversations of a micro-batch lie in its tensors."""

    flattened = "flattened"
    """End to end, in one row."""
    padded = "padded"
    """In a row each, filled up behind it."""

    def batch(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        """Lay out ``conversations``, as `flatten` or `pad` does.

        None at all become a single token without a label: a process that has nothing to do still
        takes part in the forward and backward passes of the others.
        """
        return flatten(conversations) if self is Layout.flattened else pad(conversations)


def flatten(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Lay conversations end to end.

    Returns:
        ``input_ids``, ``position_ids`` (starting again at 0 with each conversation) and ``labels``,
        tensors of shape (1, tokens), and ``sequence_lengths``, the tokens of each conversation. A
        label is the position's own token if it belongs to a supervised answer, else `IGNORED`.
    """
    import torch

    conversations = conversations or [NOTHING]
    lengths = [each.tokens for each in conversations]
    return {
        "input_ids": torch.tensor([[id for each in conversations for id in _ids(each)]]),
        "position_ids": torch.tensor([[at for length in lengths for at in range(length)]]),
        "labels": torch.tensor([[label for each in conversations for label in _labels(each)]]),
        "sequence_lengths": lengths,
    }


def pad(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Lay conversations one below the other.

    Returns:
        ``input_ids``, ``attention_mask`` (0 behind the end of a conversation) and ``labels``,
        tensors of shape (conversations, tokens of the longest).
    """
    import torch

    conversations = conversations or [NOTHING]
    longest = max(each.tokens for each in conversations)
    rest = [longest - each.tokens for each in conversations]
    rows = list(zip(conversations, rest, strict=True))
    return {
        "input_ids": torch.tensor([_ids(each) + [0] * more for each, more in rows]),
        "attention_mask": torch.tensor([[1] * each.tokens + [0] * more for each, more in rows]),
        "labels": torch.tensor([_labels(each) + [IGNORED] * more for each, more in rows]),
    }


def _ids(conversation: Conversation) -> list[int]:
    return conversation.prompt + conversation.response


def _labels(conversation: Conversation) -> list[int]:
    labels = [IGNORED] * len(conversation.prompt) + conversation.response
    for first, end in conversation.earlier:
        labels[first:end] = conversation.prompt[first:end]
    return labels
