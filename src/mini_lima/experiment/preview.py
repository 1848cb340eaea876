"""``mini-lima preview``: what SFT would see of a data set, before anything is trained.

It renders with the same functions as the training run and shows the labels that the run computes:
where the loss is taken, and how much of the data set is too long. Faults of a tokenizer and its
chat template show here in a second instead of in the answers of a trained model.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mini_lima.config import sources
from mini_lima.data.examples import read_examples, row_of
from mini_lima.errors import UserError
from mini_lima.files import parse
from mini_lima.models.language_model import load_tokenizer
from mini_lima.models.rendering import ChatTemplate, Conversation, Turns
from mini_lima.sft import batches
from mini_lima.store import contents
from mini_lima.text import as_line, say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BRACKETS = ("⟦", "⟧")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "preview",
        help="show examples as SFT sees them, with the supervised tokens marked",
        description="Render examples of a data set for a model as training would. The tokens that"
        " the loss is taken of are green on a terminal, and in ⟦brackets⟧ elsewhere.",
    )
    parser.add_argument(
        "--model", required=True, help="hub id, folder or embedded:<folder>, as model.source"
    )
    parser.add_argument("--revision", default="main", help="of a model on the hub")
    parser.add_argument("--chat-template", help="file to use as model.chat_template")
    parser.add_argument(
        "--template-kwargs", type=_json_object, help="as model.template_kwargs, in JSON"
    )
    parser.add_argument(
        "--data", type=Path, help="folder of the data set (default: the newest in the store)"
    )
    parser.add_argument(
        "--store", type=Path, default=Path("outputs/store"), help="default: outputs/store"
    )
    parser.add_argument("--max-length", type=int, default=1024, help="as sft.max_length (1024)")
    parser.add_argument(
        "--turns", choices=("all", "last"), default="all", help="as sft.turns (all)"
    )
    parser.add_argument("--id", action="append", help="show this example; may be repeated")
    parser.add_argument("-n", "--number", type=int, default=3, help="else the first so many (3)")
    parser.set_defaults(run=_run)


def _json_object(text: str) -> dict[str, Any]:
    found = parse(text)
    if not isinstance(found, dict):
        raise ValueError("an object was expected")
    return found


def _run(options: argparse.Namespace) -> None:
    found = sources.model(options.model, options.revision)
    template = options.chat_template and sources.local_file(options.chat_template)
    if isinstance(found, sources.HubModel):
        tokenizer = load_tokenizer(found.id, found.commit, template, options.template_kwargs)
    else:
        tokenizer = load_tokenizer(found, None, template, options.template_kwargs)
    lines = preview(
        options.data or _newest(options.store),
        ChatTemplate(tokenizer),
        max_length=options.max_length,
        turns=options.turns,
        ids=options.id,
        number=options.number,
    )
    say("\n".join(lines), green=BRACKETS if sys.stdout.isatty() else None)


def preview(
    data: Path,
    template: ChatTemplate,
    *,
    max_length: int,
    turns: Turns,
    ids: Sequence[str] | None,
    number: int,
) -> Iterator[str]:
    """Yield the lines: some examples, and what is true of all.

    Args:
        data: Folder of a finished data set.
        template: Renders.
        max_length: Tokens of prompt and response together.
        turns: Which answers of a conversation are supervised.
        ids: Examples to show; None for the first ones.
        number: How many of those.

    Raises:
        UserError: there is no such data set or example.
    """
    file = data / "examples.jsonl"
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if (data / contents.STAGE).exists():
        contents.check(data)
    rows = [row_of(example) for example in read_examples(data)]
    if missing := set(ids or ()) - {row["id"] for row in rows}:
        raise UserError(f"{data}: no example {min(missing)!r}")
    rendered = {row["id"]: batches.conversation(row, template, turns) for row in rows}
    for name in ids or list(rendered)[:number]:
        each = rendered[name]
        too_long = f", more than {max_length}" if each.tokens > max_length else ""
        counts = f"{each.tokens} tokens{too_long}, {each.supervised} of them supervised"
        yield as_line(f"example {name}: {counts}")
        yield marked(each, template.tokenizer, BRACKETS)
        yield ""
    yield from _summary(list(rendered.values()), max_length)


def marked(
    conversation: Conversation, tokenizer: "PreTrainedTokenizerBase", marks: tuple[str, str]
) -> str:
    """Return the text of ``conversation`` with ``marks`` around what its labels supervise."""
    batch = batches.flatten([conversation])
    pairs = zip(batch["input_ids"][0].tolist(), batch["labels"][0].tolist(), strict=True)
    text = ""
    for supervised, run in groupby(pairs, key=lambda pair: pair[1] != batches.IGNORED):
        decoded = str(tokenizer.decode([token for token, _ in run], skip_special_tokens=False))
        text += f"{marks[0]}{decoded}{marks[1]}" if supervised else decoded
    return text


def _summary(conversations: Sequence[Conversation], max_length: int) -> Iterator[str]:
    tokens = sum(each.tokens for each in conversations)
    supervised = sum(each.supervised for each in conversations)
    too_long = sum(each.tokens > max_length for each in conversations)
    longest = max((each.tokens for each in conversations), default=0)
    yield (
        f"{len(conversations)} examples, {tokens} tokens, {supervised} of them supervised; the"
        f" longest has {longest}, and {too_long} have more than sft.max_length={max_length}"
    )
    if too_long:
        yield (
            "examples are never cut, since an answer without its end teaches not to stop: raise"
            " sft.max_length, or leave these out with sft.overlong=drop"
        )


def _newest(store: Path) -> Path:
    finished = [file for file in store.glob("data/*/examples.jsonl") if file.is_file()]
    if not finished:
        raise UserError(f"{store}: no finished data set there; give its folder with --data")
    return max(finished, key=lambda file: file.stat().st_mtime_ns).parent
