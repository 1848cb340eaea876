"""LoRA: low-rank additions are trained instead of the weights, and merged into them when saved.

What is saved is an ordinary model, so that generation needs nothing new (Hu et al. 2021, section
4.1: W + (alpha / r)·B·A). peft adds and merges; under ZeRO-3 every weight has to be gathered
first.
"""

from typing import Any

import torch

from mini_lima.errors import UserError


def added(network: Any, adapter: dict[str, Any], seed: int) -> Any:
    """Return ``network`` with trainable additions, all else frozen.

    Args:
        network: A causal language model; the additions are put into it.
        adapter: Fields of the adapter group.
        seed: What the additions' first factors are drawn from; the second ones are 0.

    Raises:
        UserError: the model has no layers of the names given.
    """
    from peft import LoraConfig, get_peft_model

    configuration = LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter["rank"],
        lora_alpha=adapter["alpha"],
        lora_dropout=adapter["dropout"],
        target_modules=list(adapter["target_modules"]),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return get_peft_model(network, configuration)
        except ValueError as error:
            names = ", ".join(adapter["target_modules"])
            raise UserError(
                f"adapter.target_modules=[{names}]: the model has no such linear layers"
            ) from error


def merge(model: Any) -> None:
    """Add the additions to the weights of ``model``, wherever these are."""
    from deepspeed.runtime.zero import GatheredParameters
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [each for each in model.modules() if isinstance(each, LoraLayer)]
    for layer in layers:
        parts = [each for each in layer.parameters() if hasattr(each, "ds_id")]
        with GatheredParameters(parts, modifier_rank=0, enabled=bool(parts)):
            if torch.distributed.get_rank() == 0:
                layer.merge()


def without_adapter(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return merged ``weights`` under the names that they have in the base model."""
    return {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in weights.items()
        if ".lora_" not in name
    }
