"""A GGUF file as a folder that everything else reads: llama.cpp's format, one file for a model.

The file holds weights (mostly quantised), configuration, tokenizer and chat template. transformers
reads it; the weights become floating-point numbers again, which are not the ones that were quantised.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mini_lima.errors import UserError
from mini_lima.files import typed, write_json
from mini_lima.models.language_model import load_model, load_tokenizer
from mini_lima.store.fingerprint import content_hash
from mini_lima.workers import launch

ORIGIN = "origin.json"
EXACT = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Origin:
    """Where the weights of a model's folder come from: ``origin.json`` in it.

    Attributes:
        file: Name of the GGUF file.
        sha256: Of its contents, in hex.
        quantisation: The type of most of its quantised values, such as ``Q4_1``; None if it has none.
        name: What the file calls its model.
        licence: As the file says, an SPDX identifier in lower case; None if it says nothing.
    """

    file: str
    sha256: str
    quantisation: str | None
    name: str | None
    licence: str | None


def unpack(output_dir: Path, *, gguf: Path) -> None:
    """Write the model in ``gguf`` as safetensors in float32, with its tokenizer and its `Origin`.

    Raises:
        UserError: it is no GGUF file, or not one of a model that transformers reads.
    """
    origin = _origin(gguf)
    try:
        tokenizer = load_tokenizer(gguf, None)
        network = load_model(gguf, None, None, torch.float32)
    except (ValueError, NotImplementedError, KeyError) as error:
        raise UserError(f"{gguf}: transformers cannot read this GGUF file: {error}") from error
    network.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)
    write_json(output_dir / ORIGIN, asdict(origin))


def origin_of(model: str | Path) -> Origin | None:
    """Return where the weights in a model's folder come from, if they were unpacked."""
    file = Path(model, ORIGIN)
    return typed(file, Origin) if file.is_file() else None


def _origin(file: Path) -> Origin:
    from gguf import GGUFReader

    try:
        read = GGUFReader(file)
    except (ValueError, IndexError, KeyError) as error:
        raise UserError(f"{file}: no GGUF file that can be read: {error}") from error
    values = Counter[str]()
    for tensor in read.tensors:
        values[tensor.tensor_type.name] += int(tensor.n_elements)
    quantised = [kind for kind, _ in values.most_common() if kind not in EXACT]

    def text(key: str) -> str | None:
        field = read.get_field(key)
        return None if field is None else str(field.contents())

    return Origin(
        file=file.name,
        sha256=content_hash(file),
        quantisation=quantised[0] if quantised else None,
        name=text("general.name"),
        licence=text("general.license"),
    )


if __name__ == "__main__":
    launch.work(unpack)
