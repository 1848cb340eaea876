"""What the settings of an attempt mean, in PyTorch (and peft) alone."""

import math
from collections.abc import Callable
from typing import Any

import torch

from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.models.rendering import ChatTemplate
from mini_lima.sft import lora
from mini_lima.sft.attention import attend_per_sequence
from mini_lima.sft.batches import flatten, render
from mini_lima.sft.loss import summed_loss
from mini_lima.sft.memory import replace_norms
from mini_lima.sft.order import Order
from tests.sft.attempts import ADAMW, EXAMPLES, SETTINGS, TINY, WARMUP

Trained = tuple[list[float], dict[str, torch.Tensor]]


def rate(update: int) -> float:
    """DeepSpeed's logarithmic warm-up: none in the first two updates, then ln(k−1)/ln(n)."""
    part = math.log(max(update - 1, 1)) / math.log(WARMUP["warmup_num_steps"])
    return ADAMW["lr"] * min(part, 1.0)


def adamw(parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        betas=tuple(ADAMW["betas"]),
        eps=ADAMW["eps"],
        weight_decay=ADAMW["weight_decay"],
    )


def plain_loop(
    dtype: torch.dtype = torch.float32,
    added_up_in: torch.dtype = torch.float32,
    adapter: dict[str, Any] | None = None,
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer] | None = None,
    rate: Callable[[int], float] = rate,
) -> Trained:
    """The losses, and the weights at the end.

    Forward and backward passes are in ``dtype``, one example at a time; the gradients are added up
    in another format; the weights that are updated, by AdamW or what ``make`` makes, in float32.
    """
    template = ChatTemplate(load_tokenizer(TINY, None))
    examples = render(EXAMPLES, template, max_length=256, overlong="refuse").conversations
    model: Any = load_model(TINY, None, 0, dtype)
    if dtype is torch.bfloat16:  # or each would pass through roundings of its own
        attend_per_sequence(model, torch.device("cpu"))
        replace_norms(model)
    if adapter:
        model = lora.added(model, adapter, SETTINGS["seed"])
    parameters = [each for each in model.parameters() if each.requires_grad]
    master = [each.detach().float().clone() for each in parameters]
    optimizer = (make or adamw)(master)
    order = Order(len(examples), SETTINGS["global_batch_size"], SETTINGS["seed"])
    losses = []
    for epoch in range(SETTINGS["epochs"]):
        for members in order.global_batches(epoch):
            supervised = sum(len(examples[i].response) for i in members)
            sums = [torch.zeros_like(each, dtype=added_up_in) for each in master]
            total = 0.0
            for member in members:
                loss = summed_loss(model, flatten([examples[member]])) / supervised
                loss.backward()
                total += loss.item()
                for held, each in zip(sums, parameters, strict=True):
                    held += each.grad.to(added_up_in)
                model.zero_grad()
            losses.append(total)
            optimizer.param_groups[0]["lr"] = rate(len(losses))
            for held, each in zip(sums, master, strict=True):
                each.grad = held.float()
            torch.nn.utils.clip_grad_norm_(master, SETTINGS["gradient_clipping"])
            optimizer.step()
            for each, parameter in zip(master, parameters, strict=True):
                parameter.data.copy_(each)
    if adapter:
        model = model.merge_and_unload()
    return losses, {name: each.detach() for name, each in model.named_parameters()}


def mean_distance(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The mean difference of a weight."""
    assert some.keys() == others.keys()
    apart = [(some[key].float() - others[key].float()).abs().flatten() for key in some]
    return float(torch.cat(apart).mean())


def furthest(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """The largest difference of a weight."""
    assert some.keys() == others.keys()
    return max(float((some[key].float() - others[key].float()).abs().max()) for key in some)
