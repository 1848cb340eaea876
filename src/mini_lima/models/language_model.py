"""Loading a causal language model and its tokenizer, the same way for SFT and for generation.

Code that comes with a model is never run, and nobody is asked whether it may: transformers refuses
a model that needs it with a message of its own.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError
from mini_lima.files import read_given_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(
    model: str | Path,
    revision: str | None,
    chat_template: str | Path | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of ``model``.

    Args:
        model: Folder or hub id.
        revision: Commit on the hub; None for a folder.
        chat_template: File with the Jinja source of a template that takes the place of its own,
            and is saved with it.
        template_kwargs: What the template is called with, such as ``enable_thinking``. They become
            part of it and are saved with it: whoever asks the model later asks it so.

    Raises:
        UserError: the template knows none of that name.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    tokenizer = AutoTokenizer.from_pretrained(model, **_at(revision))
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if chat_template is not None:
        tokenizer.chat_template = read_given_text(Path(chat_template))
    for name, value in (template_kwargs or {}).items():
        if not re.search(rf"\b{re.escape(name)}\b", str(tokenizer.chat_template)):
            raise UserError(
                f"model.template_kwargs.{name}: the chat template of {model} knows no such word"
            )
        setting = f"{{%- set {name} = {_in_jinja(value)} %}}"
        tokenizer.chat_template = f"{setting}{tokenizer.chat_template}"
    return tokenizer


def _in_jinja(value: Any) -> str:
    """``value``, of JSON's types, as Jinja spells it: as JSON does, but for null."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_in_jinja(k)}: {_in_jinja(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_in_jinja, value))}]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


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
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

    if init_seed is None:
        return AutoModelForCausalLM.from_pretrained(model, dtype=dtype, **_at(revision))
    config = AutoConfig.from_pretrained(model, **_at(revision))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(init_seed)
        network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype, trust_remote_code=False
        )
    assert isinstance(network, PreTrainedModel)
    return network


def context_length(model: str | Path, revision: str | None) -> int | None:
    """Return how many tokens ``model`` can look at together; None if it sets itself no limit."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, **_at(revision))
    most = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else None


def own_stops(model: str | Path, revision: str | None) -> int | list[int] | None:
    """Return the tokens that end what ``model`` writes, as its own files say."""
    from transformers import AutoConfig, GenerationConfig

    try:
        found = GenerationConfig.from_pretrained(model, **_at(revision)).eos_token_id
    except OSError:  # it has no such file
        found = AutoConfig.from_pretrained(model, **_at(revision)).eos_token_id
    assert found is None or isinstance(found, int | list)
    return found


def _at(revision: str | None) -> dict[str, Any]:
    pinned = {} if revision is None else {"revision": revision}
    return {"trust_remote_code": False, **pinned}
