"""Attention inside each sequence of a flattened batch, and no work between sequences.

transformers keeps flattened sequences apart by a mask over the whole batch, and PyTorch's attention
computes every masked score all the same: quadratic in the tokens of the batch, in memory too. Here
each sequence is attended to on its own, by transformers' own function for a sequence that stands
alone; on a GPU, FlashAttention's kernel for several sequences at once takes over where its package
is installed.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.utils.import_utils import is_flash_attn_2_available

PER_SEQUENCE = "per_sequence"
FLASH = "flash_attention_2"
MASKABLE = {"full_attention", "sliding_attention"}
"""Kinds of layers whose mask follows from positions inside the sequence alone."""

Attend = Callable[..., torch.Tensor]
"""Makes the attended values of a sequence's queries, keys and values."""


def attend_per_sequence(network: PreTrainedModel, device: torch.device) -> bool:
    """Let ``network``, to be trained on ``device``, attend per sequence.

    Returns:
        Whether it can: a model with attention of its own keeps it.
    """
    kinds = set(getattr(network.config.get_text_config(), "layer_types", None) or MASKABLE)
    if attention_of(network) != "sdpa" or not kinds <= MASKABLE:
        return False
    AttentionInterface.register(PER_SEQUENCE, per_sequence)
    half = device.type == "cuda" and network.dtype in (torch.bfloat16, torch.float16)
    network.set_attn_implementation(FLASH if half and is_flash_attn_2_available() else PER_SEQUENCE)
    return attention_of(network) != "sdpa"


def attention_of(network: PreTrainedModel) -> str:
    """Return what transformers calls the attention that ``network`` computes with."""
    name: str = network.config.get_text_config()._attn_implementation
    return name


def sequence_arguments(
    network: PreTrainedModel, lengths: Sequence[int], device: torch.device
) -> dict[str, Any]:
    """Return the keywords by which the attention of ``network`` learns where sequences begin."""
    attention = attention_of(network)
    if attention == PER_SEQUENCE:
        return {"sequence_lengths": lengths}
    if attention != FLASH:
        return {}
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    longest = max(lengths)
    return {
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def per_sequence(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    sequence_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally inside each sequence: a function of transformers' attention interface.

    Args:
        module: The attention layer.
        query: Of shape (1, heads, tokens, head size).
        key: Of shape (1, key-value heads, tokens, head size).
        value: Like ``key``.
        attention_mask: None; transformers makes no mask for a function that it does not know.
        sequence_lengths: Tokens of each sequence, in order. None, from a layer that does not pass
            it on: one sequence, which `mini_lima.sft.layout` finds out.
        sliding_window: How many tokens a position sees at most, itself included.
        **given: What transformers gives to any such function.

    Returns:
        The attended values, of shape (1, tokens, heads, head size), and no weights.
    """
    assert attention_mask is None
    # By `split`, whose gradient is one concatenation; that of a slice is as large as the batch.
    sizes = list(sequence_lengths or [query.shape[2]])
    queries, keys, values = (torch.split(each, sizes, dim=2) for each in (query, key, value))

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        mask = _band(q, sliding_window)
        found: torch.Tensor = sdpa_attention_forward(module, q, k, v, mask, **given)[0]
        return found

    def in_float32(*each: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _InFloat32.apply(attend, *each)  # type: ignore[no-untyped-call]
        return found

    slow = query.is_cpu and query.dtype is torch.bfloat16
    by_chance = bool(given.get("dropout"))
    attended = map(in_float32 if slow and not by_chance else attend, queries, keys, values)
    return torch.cat(list(attended), dim=1), None


class _InFloat32(torch.autograd.Function):
    """Attention of bf16 in float32, without keeping anything in float32.

    PyTorch's attention on a processor takes twice as long in bf16, and is less precise.
    It is computed again in the backward pass, so it must not draw anything by chance.
    """

    @staticmethod
    def forward(ctx: Any, attend: Attend, *given: torch.Tensor) -> torch.Tensor:
        """Return what ``attend`` returns of ``given``: queries, keys and values in bf16."""
        ctx.attend = attend
        ctx.save_for_backward(*given)
        return attend(*(each.float() for each in given)).to(given[0].dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients, in bf16."""
        with torch.enable_grad():
            given = [each.float().requires_grad_() for each in ctx.saved_tensors]
            attended = ctx.attend(*given)
        found = torch.autograd.grad(attended, given, gradient.float())
        return None, *(each.to(gradient.dtype) for each in found)


def _band(query: torch.Tensor, sliding_window: int | None) -> torch.Tensor | None:
    """The mask of a sequence that is longer than the window; None where causality is all."""
    length = query.shape[2]
    if sliding_window is None or length <= sliding_window:
        return None
    seen = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return seen.tril().triu(1 - sliding_window)[None, None]
