"""Whether the examples of a micro-batch may be laid end to end: tried on the model, not looked up.

Flattened examples are kept apart by attention and by positions that begin again. A layer that mixes
positions in another way (a recurrent or convolutional one, say) lets an example see the one before
it, and nothing would show it: the loss is a little different, and so are the gradients.

So two short examples are computed together and, as transformers does it, each alone, before the
first step. Of the loss of either no token of the other may have a gradient, not even a tiny one,
and its own tokens must have the gradients that they have alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mini_lima.errors import UserError
from mini_lima.models.rendering import Conversation
from mini_lima.sft.attention import attend_per_sequence, attention_of
from mini_lima.sft.batches import IGNORED, Layout
from mini_lima.sft.loss import summed_loss
from mini_lima.workers.progress import warn

LENGTH = 32
"""Tokens of prompt, and of response, that are tried."""
IN_FLOAT32, ROUGH = 1e-3, 0.2
"""How far gradients may be from those of an example alone, as a share of their norm. Rounding makes
up to 3e-6 in float32 and 0.1 in bf16; absolute positions that do not begin again make 0.5 and more.
"""

Loss = Callable[[Any, dict[str, Any]], Tensor]


def choose_layout(
    network: Any, conversations: Sequence[Conversation], device: torch.device, *, micro: int
) -> Layout:
    """Return how micro-batches are laid out, and set the attention that goes with it.

    Args:
        network: The causal language model that will be trained, in evaluation mode.
        conversations: Those to train on; the two shortest are tried.
        device: Where the network is.
        micro: How many make a micro-batch, at most.

    Raises:
        UserError: no layout gives what each example gives alone, or that is not finite.
    """
    shortest = sorted(conversations, key=lambda each: each.tokens)
    pair = [_shortened(each) for each in (shortest[0], shortest[:2][-1])]
    groups = [pair] if micro > 1 else [[each] for each in pair]
    alone = {id(each): _gradients(network, [each], 0, Layout.flattened, _plain) for each in pair}
    name = network.config.name_or_path or type(network).__name__
    if not all(each.isfinite().all() for each in alone.values()):
        raise UserError(
            f"{name}: its gradients are infinite or NaN before any training: its files are damaged,"
            " or its numbers need a wider format (sft.precision=fp32)"
        )

    def differs(layout: Layout) -> str | None:
        for group in groups:
            for at, each in enumerate(group):
                if fault := _difference(network, group, at, layout, alone[id(each)]):
                    return fault
        return None

    own = attention_of(network)
    if attend_per_sequence(network, device):
        if not differs(Layout.flattened):
            return Layout.flattened
        network.set_attn_implementation(own)
    fault = differs(Layout.flattened)
    if fault is None:
        return Layout.flattened
    if (padded := differs(Layout.padded)) is None:
        warn(
            f"{name}: examples of a flattened micro-batch would not be computed as each alone"
            f" ({fault}), so micro-batches are padded: slower, and with the same result"
        )
        return Layout.padded
    instead = (
        "choose model.micro_batch_size_per_gpu=1" if micro > 1 else "this model cannot be trained"
    )
    raise UserError(
        f"{name}: examples of a micro-batch are not computed as each alone, neither flattened"
        f" ({fault}) nor padded ({padded}): {instead}"
    )


def _difference(
    network: Any, group: Sequence[Conversation], at: int, layout: Layout, alone: Tensor
) -> str | None:
    """What makes the example ``at`` of ``group`` another one than ``alone``; None if nothing."""
    try:
        found = _gradients(network, group, at, layout, summed_loss)
    except (torch.OutOfMemoryError, UserError):
        raise
    except Exception as error:  # what an architecture does with a batch is up to its author
        return f"it fails: {(str(error).strip() or repr(error)).splitlines()[0]}"
    own = _tokens_of(group, at, layout)
    if found[~own].any():
        return "one sees another"
    distance, size = (found[own] - alone).norm().item(), alone.norm().item()
    most = IN_FLOAT32 if network.dtype is torch.float32 else ROUGH
    return None if distance <= most * size else f"gradients differ by {distance / size:.1%}"


def _gradients(
    network: Any, group: Sequence[Conversation], at: int, layout: Layout, loss: Loss
) -> Tensor:
    """The gradient by the token embeddings of the example ``at``'s loss, as (tokens, width)."""
    unsupervised = [Conversation(each.prompt + each.response, []) for each in group]
    batch = layout.batch([*unsupervised[:at], group[at], *unsupervised[at + 1 :]])
    batch = {k: v.to(network.device) if torch.is_tensor(v) else v for k, v in batch.items()}
    with _embedded(network) as embedded:
        found = loss(network, batch)
    # The loss may take two passes, to learn whether the head can score: one of them counts.
    gradients = torch.autograd.grad(found, embedded, materialize_grads=True)
    return torch.stack(gradients).sum(0).flatten(0, -2).float()


def _tokens_of(group: Sequence[Conversation], at: int, layout: Layout) -> Tensor:
    """Which tokens of the batch are those of the example ``at``: of shape (tokens,)."""
    marked = [
        Conversation([], [0] * each.tokens) if k == at else Conversation([0] * each.tokens, [])
        for k, each in enumerate(group)
    ]
    labels: Tensor = layout.batch(marked)["labels"]
    return (labels != IGNORED).flatten()


def _plain(network: Any, batch: dict[str, Any]) -> Tensor:
    """The summed loss as transformers computes it of a single sequence."""
    logits = network(input_ids=batch["input_ids"], use_cache=False).logits[0].float()
    loss: Tensor = torch.nn.functional.cross_entropy(
        logits[:-1], batch["labels"][0, 1:], ignore_index=IGNORED, reduction="sum"
    )
    return loss


@contextmanager
def _embedded(network: Any) -> Iterator[list[Tensor]]:
    """Put the embeddings of the tokens into the list that is yielded; gradients end there."""
    found: list[Tensor] = []

    def watch(module: Any, given: Any, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[-1].clone()  # which may be changed in place

    hook = network.get_input_embeddings().register_forward_hook(watch)
    try:
        yield found
    finally:
        hook.remove()


def _shortened(conversation: Conversation) -> Conversation:
    return Conversation(conversation.prompt[-LENGTH:], conversation.response[:LENGTH])
