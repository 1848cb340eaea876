"""The data-set card: what a person should have seen before training on a data set.

Everything that is counted comes from ``stats.json``; the card only lays it out, and adds ten
examples drawn at random, because figures have never yet shown what is wrong with a data set.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mini_lima.data.examples import DataSet, Example
from mini_lima.data.filters import MEANING
from mini_lima.data.histogram import histogram

SHOWN = 10
LONGEST_SHOWN = 1500
UNITS = ("characters", "words", "tokens")
COLUMNS = ("mean", "min", "quartile_1", "median", "quartile_3", "max")


def length_histogram(made: DataSet) -> str:
    """Return a picture of how long the outputs are, beside those that they replace."""
    series = {
        "naive": _naive_outputs(made.examples),
        made.method: [e.output for e in made.examples],
    }
    lengths = {name: [len(text) for text in texts] for name, texts in series.items()}
    return histogram(lengths, title="Length of the outputs", unit="characters")


def card(made: DataSet, stats: Mapping[str, Any]) -> str:
    """Return the card of ``made`` as Markdown."""
    return "\n".join([*_head(stats), *_funnel(stats), *_lengths(stats), *_balance(stats)]) + (
        "\n" + "\n".join(_examples(made.examples))
    )


def _naive_outputs(examples: Sequence[Example]) -> list[str]:
    return [e.output if e.naive_output is None else e.naive_output for e in examples]


def _head(stats: Mapping[str, Any]) -> Iterator[str]:
    sources = ", ".join(f"{count} from {source}" for source, count in stats["by_source"].items())
    yield f"# Data set: {stats['method']}\n"
    yield f"{stats['examples']} examples ({sources}), written by {_code(stats['teacher'])}.\n"
    yield f"{_cost(stats['cost'])}\n"


def _cost(cost: Mapping[str, Any]) -> str:
    replies = cost["replies"]
    unpriced = cost["unpriced"]
    price = f"${cost['usd']:.4f}" if unpriced < replies else "a price that is not known"
    rest = f", without {unpriced} replies of unknown price" if 0 < unpriced < replies else ""
    tokens = f"{cost['input_tokens']} tokens in and {cost['output_tokens']} out"
    return f"The replies to its prompts: {replies}, with {tokens} as reported, for {price}{rest}."


def _funnel(stats: Mapping[str, Any]) -> Iterator[str]:
    yield "## What became of the replies\n"
    yield "Prompt 1 brings tasks, the other prompts instances or outputs.\n"
    yield "| | requests | found | used |\n|---|---:|---:|---:|"
    for prompt, row in stats["funnel"].items():
        yield f"| {prompt} | {row['requests']} | {row['found']} | {row['used']} |"
    yield "\n| rejected by | reason | count | what it means |\n|---|---|---:|---|"
    for prompt, row in stats["funnel"].items():
        for reason, count in sorted(row["rejected"].items(), key=lambda each: (-each[1], each[0])):
            yield f"| {prompt} | {_cell(reason)} | {count} | {MEANING.get(reason, '')} |"
    notes = [(p, *each) for p, row in stats["funnel"].items() for each in row["notes"].items()]
    if notes:
        yield "\nOf whole replies, parts of which may be used:\n"
        yield from (f"- {prompt}: {_cell(reason)}: {count}" for prompt, reason, count in notes)
    yield ""


def _lengths(stats: Mapping[str, Any]) -> Iterator[str]:
    yield "## Lengths of the outputs\n"
    yield "![Lengths of the outputs](lengths.svg)\n"
    yield f"| | {' | '.join(column.replace('_', ' ') for column in COLUMNS)} |"
    yield f"|---|{'---:|' * len(COLUMNS)}"
    sets = {"naive": stats.get("naive_output_lengths"), stats["method"]: stats["output_lengths"]}
    for unit in UNITS:
        for name, found in sets.items():
            if found:
                figures = " | ".join(f"{found[unit][column]:.4g}" for column in COLUMNS)
                yield f"| {unit}, {name} | {figures} |"
    yield "\nTokens are those of the tokenizer that ships with Mini-LIMA.\n"


def _balance(stats: Mapping[str, Any]) -> Iterator[str]:
    found, kinds = stats["tasks"], stats["classification"]
    spread = ", ".join(f"{n} × {size}" for size, n in found["examples_per_task"].items())
    yield "## Balance and diversity\n"
    yield f"- {found['tasks']} tasks; tasks × examples: {spread}"
    yield f"- {found['without_input']} examples have no input"
    told = ", ".join(f"{kind}: {count}" for kind, count in kinds["examples"].items())
    yield f"- examples of a classification task: {told}"
    for task, labels in kinds["labels"].items():
        counted = ", ".join(f"{_code(_shortened(each, 40))} {n}" for each, n in labels.items())
        yield f"  - {_cell(task)}: {counted}"
    for what, figures in stats["diversity"].items():
        yield (
            f"- {what}: distinct-1 {figures['distinct_1']:.3f}, distinct-2"
            f" {figures['distinct_2']:.3f}, self-similarity {figures['self_similarity']:.3f} (mean"
            " of the highest ROUGE-L with another one)"
        )
    yield ""


def _examples(examples: Sequence[Example]) -> Iterator[str]:
    drawn = random.Random(0).sample(list(examples), min(SHOWN, len(examples)))
    yield f"## {len(drawn)} examples, drawn at random\n"
    for example in drawn:
        yield f"### {_cell(example.id)}\n"
        fields = {
            "Instruction": example.instruction,
            "Input": example.input,
            "Naive output": example.naive_output,
            "Output": example.output,
        }
        for name, text in fields.items():
            if text:
                yield f"{name}:\n\n{_block(_shortened(text, LONGEST_SHOWN))}\n"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)"


def _block(text: str) -> str:
    """A code block whose fence is longer than any in ``text``: nothing in it becomes Markdown."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _code(text: str) -> str:
    plain = _cell(text).replace("`", "'")
    return f"`{plain or ' '}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
