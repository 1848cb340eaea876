"""What the flattened loss is measured against: a padded batch, a mask, and logits everywhere."""

from collections.abc import Sequence
from typing import Any

import torch

from mini_lima.models.rendering import Conversation
from mini_lima.sft.batches import IGNORED


def padded_loss(model: Any, conversations: Sequence[Conversation]) -> torch.Tensor:
    """The summed loss."""
    width = max(each.tokens for each in conversations)
    ids, mask, labels = [], [], []
    for each in conversations:
        rest = width - each.tokens
        ids.append(each.prompt + each.response + [0] * rest)
        mask.append([1] * each.tokens + [0] * rest)
        labels.append([IGNORED] * len(each.prompt) + each.response + [IGNORED] * rest)
    logits = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), torch.tensor(labels)[:, 1:].flatten(), reduction="sum"
    )


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_to_1e_5(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, wanted in expected.items():
        assert (found[name] - wanted).norm() <= 1e-5 * wanted.norm(), name
