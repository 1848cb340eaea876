"""The loss of a flattened micro-batch, with logits where something is supervised and nowhere else.

The head is a large part of a small model's work (151,936 rows in Qwen1.5's), and in instruction
data many positions are prompts.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mini_lima.sft.batches import IGNORED

if TYPE_CHECKING:
    import torch


def summed_loss(model: Any, batch: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
    """Return −Σ ln p(token) over the supervised tokens: a scalar, in float32 whatever the model's.

    A sum, so that it can be divided by the number of supervised tokens in the *global* batch.

    Args:
        model: A causal language model of transformers, or DeepSpeed's engine around one.
        batch: As `flatten` makes it; a batch without a supervised token has the loss 0.
    """
    import torch

    labels = batch["labels"][0]
    supervised = torch.nonzero(labels != IGNORED).squeeze(1)
    outputs = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        logits_to_keep=supervised - 1,  # a position predicts the token that follows it
        use_cache=False,
    )
    logits = outputs.logits[0].float()
    return torch.nn.functional.cross_entropy(logits, labels[supervised], reduction="sum")
