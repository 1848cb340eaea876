"""Loading a causal language model and its tokenizer, the same way for SFT and for generation.

A model is a folder, an id on the hub with a commit, or a GGUF file.

Code that comes with a model is never run, and nobody is asked whether it may: transformers refuses
a model that needs it with a message of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(
    model: str | Path, revision: str | None, chat_template: str | Path | None = None
) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of ``model``.

    Args:
        model: Folder, GGUF file or hub id.
        revision: Commit on the hub; None for what is here.
        chat_template: File with the Jinja source of a template that takes the place of its own,
            and is saved with it.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    tokenizer = AutoTokenizer.from_pretrained(_folder(model), **_at(model, revision))
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if chat_template is not None:
        tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    return tokenizer


def load_model(
    model: str | Path, revision: str | None, init_seed: int | None, dtype: "torch.dtype"
) -> "PreTrainedModel":
    """Return the model in ``dtype``.

    Args:
        model: Folder, GGUF file or hub id.
        revision: Commit on the hub; None for what is here.
        init_seed: Draw the weights from this seed and read the configuration alone.
        dtype: Number format of the weights.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig, PreTrainedModel

    if init_seed is None:
        plain = {"quantization_config": GgufConfig(dequantize=True)} if is_gguf(model) else {}
        return AutoModelForCausalLM.from_pretrained(
            _folder(model), dtype=dtype, **plain, **_at(model, revision)
        )
    config = AutoConfig.from_pretrained(_folder(model), **_at(model, revision))
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

    config = AutoConfig.from_pretrained(_folder(model), **_at(model, revision))
    most = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    return most if isinstance(most, int) and most > 0 else None


def own_stops(model: str | Path, revision: str | None) -> int | list[int] | None:
    """Return the tokens that end what ``model`` writes, as its own files say."""
    from transformers import AutoConfig, GenerationConfig

    try:
        found = GenerationConfig.from_pretrained(
            _folder(model), **_at(model, revision)
        ).eos_token_id
    except OSError:  # it has no such file
        found = AutoConfig.from_pretrained(_folder(model), **_at(model, revision)).eos_token_id
    assert found is None or isinstance(found, int | list)
    return found


def is_gguf(model: str | Path) -> bool:
    """Whether ``model`` is one GGUF file."""
    return Path(model).suffix == ".gguf"


def _folder(model: str | Path) -> str | Path:
    return Path(model).parent if is_gguf(model) else model


def _at(model: str | Path, revision: str | None) -> dict[str, Any]:
    named = {"gguf_file": Path(model).name} if is_gguf(model) else {}
    pinned = {} if revision is None else {"revision": revision}
    return {"trust_remote_code": False, **named, **pinned}
