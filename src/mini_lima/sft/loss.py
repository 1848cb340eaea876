"""The loss of a micro-batch: logits where something is supervised, and none that are kept.

The head is a large part of a small model's work (151,936 rows in Qwen1.5's), and in instruction
data many positions are prompts: only those are scored that a supervised token follows.

Logits are by far the largest tensors of a small model. What the backward pass needs of them is
known as soon as they are, since the gradient of the cross entropy by the logits is softmax −
one-hot. So head and cross entropy are one operation (`CrossEntropy`): each chunk of positions
computes its loss and its share of the gradients at once, in the memory of its own logits, and only
the gradients stay: no logits are kept, and none are computed twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mini_lima.sft.attention import sequence_arguments
from mini_lima.sft.batches import IGNORED

CHUNK = 2**27
"""Logits at a time: 512 MB of float32; less would make the matrix products too thin to be fast."""
IN_CACHE = 2**20
"""Logits at a time of whose passes none goes to memory: 4 MB of float32."""

_ends_with_head: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
"""Whether a model's logits are what its head returns; learnt from the first loss."""


def summed_loss(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return −Σ ln p(token) over the supervised tokens: a scalar, in float32 whatever the model's.

    A sum, so that it can be divided by the number of supervised tokens in the *global* batch.

    The head scores chunk by chunk (`scoring`). A model that goes on computing with its
    logits (Gemma 2 bends them, Granite divides them) or whose head is no plain linear layer (that
    of a LoRA adapter, say) is left to compute all of its supervised logits itself.

    Args:
        model: A causal language model of transformers, or DeepSpeed's engine around one.
        batch: As `Layout.batch` makes it; a batch without a supervised token has the loss 0.
    """
    network = getattr(model, "module", model)
    labels = batch["labels"].flatten()
    supervised = torch.nonzero(labels != IGNORED).squeeze(1)
    targets, before = labels[supervised], supervised - 1  # a position predicts the one after it
    given = {key: batch[key] for key in ("input_ids", "attention_mask") if key in batch}
    if "sequence_lengths" in batch:
        lengths = sequence_arguments(network, batch["sequence_lengths"], labels.device)
        given |= {"position_ids": batch["position_ids"], "logits_to_keep": before, **lengths}

    def logits() -> torch.Tensor:
        outputs = model(**given, use_cache=False)
        assert isinstance(outputs.logits, torch.Tensor)
        return outputs.logits

    head = network.get_output_embeddings()
    if type(head) is torch.nn.Linear and _ends_with_head.get(network, True):
        with scoring(head, targets, before) as returned:
            loss = logits()
        if network not in _ends_with_head and len(targets):
            _ends_with_head[network] = torch.equal(loss.detach().flatten(), returned[0].flatten())
        if _ends_with_head.get(network, True):
            return loss.squeeze()
    found = _rows(logits(), before)
    return torch.nn.functional.cross_entropy(found.float(), targets, reduction="sum")


def _rows(found: Tensor, wanted: Tensor) -> Tensor:
    """The ``wanted`` positions of what was computed for them alone, or for all."""
    rows = found.flatten(0, 1)
    return rows if len(rows) == len(wanted) else rows[wanted]


class CrossEntropy(torch.autograd.Function):
    """−Σ ln softmax(hidden · weightᵀ + bias)[target], with its gradients computed on the way."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk: int
    ) -> Tensor:
        """Return the summed loss, a scalar in float32.

        Args:
            ctx: Keeps the gradients.
            hidden: Of shape (positions, width).
            weight: Of shape (vocabulary, width).
            bias: Of shape (vocabulary,), or None.
            targets: Token ids, of shape (positions,).
            chunk: Most logits at a time.
        """
        wanted = ctx.needs_input_grad
        of_hidden = torch.empty_like(hidden) if wanted[0] else None
        of_weight = torch.empty_like(weight) if wanted[1] else None
        of_bias = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        loss = hidden.new_zeros((), dtype=torch.float32)
        size = _even(len(hidden), max(chunk // len(weight), 1))
        products = hidden.new_empty(size, len(weight))  # the pages of new memory are slow
        for start in range(0, len(hidden), size):
            part = hidden[start : start + size]
            product = torch.mm(part, weight.T, out=products[: len(part)])
            if bias is not None:
                product += bias
            loss += _to_gradient(product, targets[start : start + size, None])
            if of_hidden is not None:
                torch.mm(product, weight, out=of_hidden[start : start + size])
            if of_weight is not None:
                torch.addmm(of_weight, product.T, part, beta=float(start > 0), out=of_weight)
            if of_bias is not None:
                of_bias += product.sum(0)
        if of_weight is not None and not len(hidden):
            of_weight.zero_()
        ctx.gradients = (of_hidden, of_weight, of_bias)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients times ``scale``; they are scaled in place, so only once."""
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "this loss was differentiated already"
        return (*(None if each is None else each.mul_(scale) for each in gradients), None, None)


def _to_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """Turn ``logits`` into the gradient by them, in place, and return the summed loss.

    A few rows at a time: a processor then finds them in its cache at each of the passes over them.
    """
    rows = max(IN_CACHE // logits.shape[1], 1) if logits.is_cpu else len(logits)
    loss = logits.new_zeros((), dtype=torch.float32)
    for some, those in zip(torch.split(logits, rows), torch.split(targets, rows), strict=True):
        highest, of_targets = some.amax(1, keepdim=True).float(), some.gather(1, those).float()
        shares = torch.softmax(some, 1, dtype=torch.float32)
        # The share of the highest logit is exp(highest) / Σ exp(logits): no other pass is needed.
        loss += (highest - shares.amax(1, keepdim=True).log() - of_targets).sum()
        some.copy_(shares.scatter_add_(1, those, torch.full_like(of_targets, -1.0)))
    return loss


def _even(positions: int, most: int) -> int:
    """The size of a chunk that is at most ``most``, such that all are of about equal size."""
    chunks = max(-(-positions // most), 1)
    return max(-(-positions // chunks), 1)


@contextmanager
def scoring(
    head: torch.nn.Linear, targets: Tensor, before: Tensor, chunk: int = CHUNK
) -> Iterator[list[Tensor]]:
    """Let ``head`` return the summed loss in place of logits, as a tensor of shape (1, 1, 1).

    It is that of ``targets`` at the positions ``before``, whether the head is given these or all.

    The model around it stays as it is, and hands out as its logits what its head returns, unless it
    changes them: hence what the head has returned is also put into the list that is yielded.
    """
    returned: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        loss: Tensor = CrossEntropy.apply(  # type: ignore[no-untyped-call]
            _rows(hidden, before), head.weight, head.bias, targets, chunk
        )
        returned.append(loss.detach())
        return loss.reshape(1, 1, 1)

    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield returned
    finally:
        del head.forward
