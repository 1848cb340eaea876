"""The data-set card: what a person should have seen before training on a data set.

Everything that is counted comes from ``stats.json``; the card only lays it out, and adds ten
examples drawn at random, because figures have never yet shown what is wrong with a data set. Beside
it stands a histogram of the outputs' lengths. Its bins double in width, because lengths of texts
range from one word to pages.
"""

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mini_lima.data.examples import Example
from mini_lima.data.filters import MEANING
from mini_lima.errors import listed
from mini_lima.results import Shortfall
from mini_lima.text import as_block, as_code, as_markdown

SHOWN = 10
LONGEST_SHOWN = 1500
UNITS = ("characters", "words", "tokens")
COLUMNS = ("mean", "min", "quartile_1", "median", "quartile_3", "max")
LARGEST = 16
"""Bins of a histogram at most."""


def length_histogram(step: str, examples: Sequence[Example], before: Sequence[Example]) -> str:
    """Return a picture of how long the outputs are, beside those before the ``step``."""
    sets = {"before": before, step: examples} if before else {step: examples}
    lengths = {name: [len(each.output) for each in found] for name, found in sets.items()}
    return histogram(lengths, title="Length of the outputs", unit="characters")


def card(examples: Sequence[Example], stats: Mapping[str, Any]) -> str:
    """Return the card of a data set as Markdown.

    Args:
        examples: The data set.
        stats: Its figures, as stats.json has them.
    """
    return "\n".join([*_head(stats), *_funnel(stats), *_lengths(stats), *_balance(stats)]) + (
        "\n" + "\n".join(_examples(examples))
    )


def _head(stats: Mapping[str, Any]) -> Iterator[str]:
    by_source = [f"{count} from {source}" for source, count in stats["by_source"].items()]
    sources = ", ".join(listed(by_source))
    yield f"# Data set: {as_markdown(stats['step'])}\n"
    before = stats["before"]
    made_of = (
        ""
        if before["step"] is None
        else f" Made of {before['examples']} examples of the step {as_markdown(before['step'])}."
    )
    teacher = "" if stats["teacher"] is None else f" The teacher was {as_code(stats['teacher'])}."
    yield f"{stats['examples']} examples ({as_markdown(sources)}).{made_of}{teacher}\n"
    if stats["cost"] is not None:
        yield f"{_cost(stats['cost'])}\n"


def _cost(cost: Mapping[str, Any]) -> str:
    replies = cost["replies"]
    unpriced = cost["unpriced"]
    price = f"${cost['usd']:.4f}" if unpriced < replies else "a price that is not known"
    rest = f", without {unpriced} replies of unknown price" if 0 < unpriced < replies else ""
    tokens = f"{cost['input_tokens']} tokens in and {cost['output_tokens']} out"
    return f"The replies to its prompts: {replies}, with {tokens} as reported, for {price}{rest}."


def _funnel(stats: Mapping[str, Any]) -> Iterator[str]:
    yield "## What became of what was found\n"
    if "prompt 1" in stats["funnel"]:
        yield "Prompt 1 brings tasks, the other prompts instances.\n"
    yield "| | requests | asked for | found | used |\n|---|---:|---:|---:|---:|"
    for prompt, row in stats["funnel"].items():
        figures = (row[key] for key in ("requests", "asked_for", "found", "used"))
        yield f"| {as_markdown(prompt)} | {' | '.join(map(str, figures))} |"
    yield "\n| rejected by | reason | count | what it means |\n|---|---|---:|---|"
    for prompt, row in stats["funnel"].items():
        for reason, count in sorted(row["rejected"].items(), key=lambda each: (-each[1], each[0])):
            yield f"| {as_markdown(prompt)} | {as_markdown(reason)} | {count} | {MEANING.get(reason, '')} |"
    if shortfalls := [Shortfall(**each) for each in stats["shortfalls"]]:
        yield "\nLess than was asked for:\n"
        yield from (f"- {as_markdown(str(each))}" for each in shortfalls)
    notes = [(p, *each) for p, row in stats["funnel"].items() for each in row["notes"].items()]
    if notes:
        yield "\nOf whole replies, parts of which may be used:\n"
        yield from (
            f"- {as_markdown(prompt)}: {as_markdown(reason)}: {count}"
            for prompt, reason, count in notes
        )
    yield ""


def _lengths(stats: Mapping[str, Any]) -> Iterator[str]:
    yield "## Lengths of the outputs\n"
    yield "![Lengths of the outputs](lengths.svg)\n"
    yield f"| | {' | '.join(column.replace('_', ' ') for column in COLUMNS)} |"
    yield f"|---|{'---:|' * len(COLUMNS)}"
    sets = {"before": stats["before"]["output_lengths"], stats["step"]: stats["output_lengths"]}
    for unit in UNITS:
        for name, found in sets.items():
            if found:
                figures = " | ".join(f"{found[unit][column]:.4g}" for column in COLUMNS)
                yield f"| {unit}, {as_markdown(name)} | {figures} |"
    yield "\nTokens are those of the tokenizer that ships with Mini-LIMA.\n"


def _balance(stats: Mapping[str, Any]) -> Iterator[str]:
    found, kinds = stats["tasks"], stats["classification"]
    spread = ", ".join(listed([f"{n} × {size}" for size, n in found["examples_per_task"].items()]))
    yield "## Balance and diversity\n"
    yield f"- {found['tasks']} tasks; tasks × examples: {spread}"
    yield f"- {found['without_input']} examples have no input"
    told = ", ".join(f"{kind}: {count}" for kind, count in kinds["examples"].items())
    yield f"- examples of a classification task: {told}"
    for task, labels in kinds["labels"].items():
        counted = ", ".join(
            listed([f"{as_code(_shortened(e, 40))} {n}" for e, n in labels.items()])
        )
        yield f"  - {as_markdown(task)}: {counted}"
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
        yield f"### {as_markdown(example.id)}\n"
        fields = {
            "System": example.system,
            **{
                f"Turn {number}, {role}": text
                for number, turns in enumerate(example.history, start=1)
                for role, text in zip(("user", "assistant"), turns, strict=True)
            },
            "Instruction": example.instruction,
            "Input": example.input,
            **{f"Output by {each.source}": each.output for each in example.earlier},
            "Output": example.output,
        }
        for name, text in fields.items():
            if text:
                yield f"{as_markdown(name)}:\n\n{as_block(_shortened(text, LONGEST_SHOWN))}\n"


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text)} characters)"


def histogram(series: Mapping[str, Sequence[int]], *, title: str, unit: str) -> str:
    """Return an SVG document with a bar per bin and series; the same for the same numbers.

    The first bin is 0 to 7, and each further one begins at twice the number of the one before it.

    Args:
        series: Numbers from 0 on, by the name that the legend gives them.
        title: Stands above the bars.
        unit: Of the numbers, below the axis.
    """
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    largest = max((max(numbers, default=0) for numbers in series.values()), default=0)
    bins = min(LARGEST, max(1, largest.bit_length() - 2))
    edges = [0, *(8 * 2**at for at in range(bins - 1))]
    settings: dict[Any, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "text.parse_math": False,
    }
    written = io.StringIO()
    with matplotlib.rc_context(settings):
        figure = Figure((8, 3.5))
        axes = figure.add_axes((0.07, 0.2, 0.91, 0.7), title=title, xlabel=unit)
        width = 0.8 / max(len(series), 1)
        for number, (name, numbers) in enumerate(series.items()):
            counts, _ = np.histogram(numbers, [*edges, np.inf])
            places = np.arange(bins) + width * (number - (len(series) - 1) / 2)
            bars = axes.bar(places, counts, width, label=f"{len(numbers)} outputs, {name}")
            axes.bar_label(bars, [count or "" for count in counts], fontsize=8)
        axes.set_xticks(range(bins), [f"{edge}–" for edge in edges], rotation=30)
        axes.locator_params(axis="y", integer=True)
        axes.spines[["right", "top"]].set_visible(False)
        if series:
            axes.legend(frameon=False)
        figure.savefig(written, format="svg", metadata={"Date": None, "Title": title})
    return written.getvalue()
