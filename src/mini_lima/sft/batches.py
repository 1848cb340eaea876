"""Examples as token ids, and the flattened batches that the model sees: no padding anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mini_lima.errors import UserError
from mini_lima.models.rendering import ChatTemplate, Conversation, Turns

IGNORED = -100
"""Label of a position that is not supervised, as PyTorch's cross entropy spells it."""


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
) -> Rendered:
    """Render the data set's rows, whole: an answer that is cut off would teach not to stop.

    Raises:
        UserError: an example is longer than ``max_length`` tokens and ``overlong`` is ``refuse``,
            none is left, an answer does not end in a supervised end-of-turn token, or the template
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


def flatten(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Lay the conversations of a micro-batch end to end.

    No conversation at all becomes a single token without a label: a process that has nothing to do
    still takes part in the forward and backward passes of the others.

    Returns:
        ``input_ids``, ``position_ids`` (starting again at 0 with each conversation) and ``labels``,
        tensors of shape (1, tokens), and ``sequence_lengths``, the tokens of each conversation. A
        label is the position's own token if it belongs to a supervised answer, else `IGNORED`.
    """
    import torch

    conversations = conversations or [Conversation([0], [])]
    ids: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    for each in conversations:
        tokens = each.prompt + each.response
        ids += tokens
        positions += range(len(tokens))
        start = len(labels)
        labels += [IGNORED] * len(each.prompt) + each.response
        for first, end in each.earlier:
            labels[start + first : start + end] = each.prompt[first:end]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "labels": torch.tensor([labels]),
        "sequence_lengths": [each.tokens for each in conversations],
    }
