"""Loading a causal language model and its tokenizer, the same way for SFT and for generation.

Remote code is never run: a model that needs it is refused by transformers with its own message.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(model: str | Path, revision: str | None) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of ``model``, a folder or a hub id with the commit ``revision``."""
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    pinned = {} if revision is None else {"revision": revision}
    tokenizer = AutoTokenizer.from_pretrained(model, **pinned)
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    return tokenizer


def load_model(
    model: str | Path, revision: str | None, init_seed: int | None, dtype: "torch.dtype"
) -> "PreTrainedModel":
    """Return the model in ``dtype``.

    Args:
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        init_seed: Draw the weights from this seed and read the configuration alone.
        dtype: Number format of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    pinned = {} if revision is None else {"revision": revision}
    if init_seed is None:
        return AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **pinned)
    config = AutoConfig.from_pretrained(model, **pinned)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init_seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype)
