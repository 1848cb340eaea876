"""Loading a causal language model and its tokenizer, the same way for SFT and for generation.

A model is a folder, an id on the hub with a commit, or a GGUF file.

Code that comes with a model is never run, and nobody is asked whether it may: transformers refuses
a model that needs it with a message of its own. Weights that a checkpoint lacks would be drawn at
random, and those that the model has no place for left out, with a warning: here both are refused.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.errors import UserError, listed
from mini_lima.files import read_given_text
from mini_lima.models import model_files
from mini_lima.models.rendering import CLOCK
from mini_lima.workers.progress import warn

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
        model: Folder, GGUF file or hub id.
        revision: Commit on the hub; None for what is here.
        chat_template: File with the Jinja source of a template that takes the place of its own,
            and is saved with it.
        template_kwargs: What the template is called with, such as ``enable_thinking``. They become
            part of it and are saved with it: whoever asks the model later asks it so. A text as
            ``strftime_now`` is what the function of that name returns: a date for all time.

    Raises:
        UserError: the template knows none of that name.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerBase

    tokenizer = AutoTokenizer.from_pretrained(_folder(model), **_at(model, revision))
    assert isinstance(tokenizer, PreTrainedTokenizerBase)
    if chat_template is not None:
        tokenizer.chat_template = read_given_text(Path(chat_template))
    for name, value in (template_kwargs or {}).items():
        if not re.search(rf"\b{re.escape(name)}\b", str(tokenizer.chat_template)):
            raise UserError(
                f"model.template_kwargs.{name}: the chat template of {model} knows no such word"
            )
        setting = f"{{%- set {name} = {_in_jinja(value)} +%}}"
        if name == CLOCK:
            setting = f"{{% macro {name}(format) %}}{{{{ {_in_jinja(value)} }}}}{{% endmacro +%}}"
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
    model: str | Path,
    revision: str | None,
    init_seed: int | None,
    dtype: "torch.dtype",
    *,
    empty: bool = False,
) -> "PreTrainedModel":
    """Return the model in ``dtype``, with generation settings that can be saved.

    Args:
        model: Folder, GGUF file or hub id.
        revision: Commit on the hub; None for what is here.
        init_seed: Draw the weights from this seed and read the configuration alone.
        dtype: Number format of the weights.
        empty: Read their names and shapes alone, to see in moments whether it can be loaded.

    Raises:
        UserError: its files are not what they must be, or its weights not those of its
            architecture.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GgufConfig, PreTrainedModel

    _check_files(model, revision, with_weights=init_seed is None)
    network: Any
    if init_seed is None:
        options: dict[str, Any] = {"device_map": "meta"} if empty else {}
        if is_gguf(model):
            options["quantization_config"] = GgufConfig(dequantize=True)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            _folder(model),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, in one line
            **options,
            **_at(model, revision),
        )
        network, found = loaded
        _check_weights(model, found)
    else:
        config = AutoConfig.from_pretrained(_folder(model), **_at(model, revision))
        with torch.random.fork_rng(devices=[]), torch.device("meta" if empty else "cpu"):
            torch.manual_seed(init_seed)
            network = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, trust_remote_code=False
            )
    assert isinstance(network, PreTrainedModel)
    _repair_generation(model, network)
    return network


def _check_files(model: str | Path, revision: str | None, *, with_weights: bool) -> None:
    from transformers import PretrainedConfig

    if is_gguf(model):
        return
    if revision is None:
        found = list(model_files.faults(Path(model), with_weights=with_weights))
    else:
        config, _ = PretrainedConfig.get_config_dict(_folder(model), **_at(model, revision))
        found = [f"{model}, config.json: {each}" for each in model_files.config_faults(config)]
    if found:
        raise UserError("; ".join(listed(found)))


def _check_weights(model: str | Path, found: Mapping[str, Collection[Any]]) -> None:
    """Raise UserError unless all weights were there; tied ones the library leaves out itself."""
    told = {
        "missing": found["missing_keys"],
        "of another shape": [each[0] for each in found["mismatched_keys"]],
        "of no use to it": found["unexpected_keys"],
    }
    faults = [
        f"{len(names)} {what} (such as {min(map(str, names))})"
        for what, names in told.items()
        if names
    ]
    faults += [str(each).splitlines()[0] for each in found["error_msgs"]]
    if faults:
        raise UserError(
            f"{model}: its weights are not those of its architecture: {', '.join(faults)}; what is"
            " missing would be drawn at random, so take a checkpoint that is whole and of this kind"
        )


def _repair_generation(model: str | Path, network: "PreTrainedModel") -> None:
    """Have the ``network`` keep its tokens alone if the settings beside them are contradictory."""
    from transformers import GenerationConfig

    own = network.generation_config
    tokens = {key: getattr(own, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for key, value in tokens.items():
        ids = value if isinstance(value, list) and key == "eos_token_id" else [value]
        if not all(each is None or (type(each) is int and 0 <= each < 2**31) for each in ids):
            raise UserError(f"{model}, generation_config.json: {key}={value!r} is no token")
    try:
        own.validate(strict=True)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        warn(f"{model}: its generation_config.json cannot stay as it is, its tokens do ({reason})")
        network.generation_config = GenerationConfig(**tokens)  # type: ignore[no-untyped-call]


def context_length(model: str | Path, revision: str | None) -> int | None:
    """Return how many tokens ``model`` can look at together; None if it sets itself no limit."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(_folder(model), **_at(model, revision))
    text = config.get_text_config(decoder=True)
    given = (getattr(text, name, None) for name in ("max_position_embeddings", "max_seq_len"))
    return next((most for most in given if isinstance(most, int) and most > 0), None)


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
