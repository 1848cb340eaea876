"""The loss of a flattened micro-batch, with logits where something is supervised and nowhere else.

The head is a large part of a small model's work (151,936 rows in Qwen1.5's), and in instruction
data many positions are prompts.
"""

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch

from mini_lima.sft.attention import sequence_arguments
from mini_lima.sft.batches import IGNORED
from mini_lima.sft.head import scoring

_ends_with_head: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
"""Whether a model's logits are what its head returns; learnt from the first loss."""


def summed_loss(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return −Σ ln p(token) over the supervised tokens: a scalar, in float32 whatever the model's.

    A sum, so that it can be divided by the number of supervised tokens in the *global* batch.

    The head scores chunk by chunk (`mini_lima.sft.head`). A model that goes on computing with its
    logits (Gemma 2 bends them, Granite divides them) or whose head is no plain linear layer (that
    of a LoRA adapter, say) is left to compute all of its supervised logits itself.

    Args:
        model: A causal language model of transformers, or DeepSpeed's engine around one.
        batch: As `flatten` makes it; a batch without a supervised token has the loss 0.
    """
    network = getattr(model, "module", model)
    labels = batch["labels"][0]
    supervised = torch.nonzero(labels != IGNORED).squeeze(1)
    targets = labels[supervised]

    def logits() -> torch.Tensor:
        outputs = model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            logits_to_keep=supervised - 1,  # a position predicts the token that follows it
            use_cache=False,
            **sequence_arguments(network, batch["sequence_lengths"], labels.device),
        )
        assert isinstance(outputs.logits, torch.Tensor)
        return outputs.logits

    head = network.get_output_embeddings()
    if type(head) is torch.nn.Linear and _ends_with_head.get(network, True):
        with scoring(head, targets) as returned:
            loss = logits()
        if network not in _ends_with_head and len(targets):
            _ends_with_head[network] = torch.equal(loss.detach().flatten(), returned[0].flatten())
        if _ends_with_head.get(network, True):
            return loss.squeeze()
    return torch.nn.functional.cross_entropy(logits()[0].float(), targets, reduction="sum")
