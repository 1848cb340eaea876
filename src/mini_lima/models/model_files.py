"""A model's folder, looked into without torch: files that are no such thing, or name others.

What loading would find after minutes, or not find at all, is said beforehand.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mini_lima.files import is_lfs_pointer

HEADER = 100_000_000
"""Bytes of the header of a safetensors file, at most, as the format has it."""
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
DOCUMENTS = (
    *(CONFIG, INDEX, "pytorch_model.bin.index.json", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def faults(folder: Path, *, with_weights: bool) -> Iterator[str]:
    """Yield, one line each, what is wrong with the model in ``folder``.

    Args:
        folder: Of a model that is to be loaded.
        with_weights: Whether its weights are to be read too.
    """
    for file in sorted(folder.iterdir()):
        if is_lfs_pointer(file):
            yield f"{file}: it is a Git LFS pointer and not the file itself: run git lfs pull there"
    documents = {name: _read(folder / name) for name in DOCUMENTS if (folder / name).exists()}
    for name, document in documents.items():
        if document is None and not is_lfs_pointer(folder / name):
            yield f"{folder / name}: it cannot be read as a JSON object"
    if (folder / "adapter_config.json").exists():
        yield (
            f"{folder}: it holds an adapter (adapter_config.json), which counts with a model that"
            " is elsewhere: merge it into that model, and give the folder of the result"
        )
    yield from (f"{folder / CONFIG}: {each}" for each in config_faults(documents.get(CONFIG)))
    if (documents.get(CONFIG) or {}).get("quantization_config"):
        yield (
            f"{folder / CONFIG}: its weights are quantised (quantization_config), and cannot be trained"
            " and saved as they are: take the checkpoint that they were made from"
        )
    if with_weights:
        yield from _weights(folder, documents)


def config_faults(config: Any) -> Iterator[str]:
    """Yield what in a model's configuration would have code of somebody else loaded."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if key.lstrip("_").startswith("attn_implementation"):
            named = [value, *value.values()] if isinstance(value, dict) else [value]
            if any(isinstance(each, str) and not each.isidentifier() for each in named):
                yield (
                    f"{key}={value!r} names a repository of kernels, whose code would be run:"
                    " take it out"
                )
        else:
            yield from config_faults(value)


def _weights(folder: Path, documents: dict[str, Any]) -> Iterator[str]:
    found = [name for name in WEIGHTS if (folder / name).is_file()]
    for index in [name for name in documents if name.endswith(".index.json")]:
        shards = (documents[index] or {}).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
            yield f"{folder / index}: it has no weight_map of file names"
            continue
        for name in sorted(set(shards.values())):
            if Path(name).name != name:
                yield f"{folder / index}: it names {name}, which is outside of the model's folder"
            elif not (folder / name).is_file():
                yield f"{folder / name}: it is missing, and {index} names it"
            else:
                found.append(name)
    if not found:
        yield f"{folder}: there are no weights in it ({' or '.join(WEIGHTS)})"
    for name in found:
        if name.endswith(".safetensors") and not is_lfs_pointer(folder / name):
            yield from _safetensors(folder / name)


def _safetensors(file: Path) -> Iterator[str]:
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = opened.read(length) if length <= min(HEADER, size) else b""
    try:
        tensors = json.loads(header)
        ends = [each["data_offsets"][1] for key, each in tensors.items() if key != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, LookupError, AttributeError):
        yield f"{file}: it is no safetensors file, or damaged"
        return
    if whole != size:
        yield f"{file}: it has {size} bytes, and its header speaks of {whole}: it was cut off"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_bytes()) if file.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
