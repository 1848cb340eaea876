"""The data-set card: what a person should have seen before training on a data set.

Everything that is counted comes from ``stats.json``; the card only lays it out, and adds ten
examples drawn at random, because figures have never yet shown what is wrong with a data set. Beside
it stands a histogram of the outputs' lengths, an SVG picture made without a drawing library: it can
stand in a page as it is. Its bins double in width, because lengths of texts range from one word to
pages.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from mini_lima.data.examples import Example
from mini_lima.data.filters import MEANING

SHOWN = 10
LONGEST_SHOWN = 1500
UNITS = ("characters", "words", "tokens")
COLUMNS = ("mean", "min", "quartile_1", "median", "quartile_3", "max")
COLOURS = ("#9db4c0", "#c2410c", "#3f6212")
WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 40, 44
LARGEST = 16


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
    sources = ", ".join(f"{count} from {source}" for source, count in stats["by_source"].items())
    yield f"# Data set: {_cell(stats['step'])}\n"
    before = stats["before"]
    made_of = (
        ""
        if before["step"] is None
        else f" Made of {before['examples']} examples of the step {_cell(before['step'])}."
    )
    teacher = "" if stats["teacher"] is None else f" The teacher was {_code(stats['teacher'])}."
    yield f"{stats['examples']} examples ({_cell(sources)}).{made_of}{teacher}\n"
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
    sets = {"before": stats["before"]["output_lengths"], stats["step"]: stats["output_lengths"]}
    for unit in UNITS:
        for name, found in sets.items():
            if found:
                figures = " | ".join(f"{found[unit][column]:.4g}" for column in COLUMNS)
                yield f"| {unit}, {_cell(name)} | {figures} |"
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
                yield f"{_cell(name)}:\n\n{_block(_shortened(text, LONGEST_SHOWN))}\n"


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


def histogram(series: Mapping[str, Sequence[int]], *, title: str, unit: str) -> str:
    """Return an SVG document with a bar per bin and series.

    Args:
        series: Numbers from 0 on, by the name that the legend gives them; at most three.
        title: Stands above, and is what a screen reader says.
        unit: Of the numbers, below the axis.
    """
    edges = _edges(max((max(numbers, default=0) for numbers in series.values()), default=0))
    heights = {name: _binned(numbers, edges) for name, numbers in series.items()}
    tallest = max((max(bins) for bins in heights.values()), default=0) or 1
    slot = (WIDTH - LEFT - RIGHT) / len(edges)
    bar = slot * 0.8 / max(len(series), 1)
    floor = HEIGHT - BOTTOM
    shapes = [
        _text(LEFT, 16, title, size=13),
        _text(WIDTH / 2, HEIGHT - 6, unit, anchor="middle"),
        f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}" stroke="#444"/>',
        _text(LEFT - 6, TOP + 4, str(tallest), anchor="end"),
        _text(LEFT - 6, floor + 4, "0", anchor="end"),
    ]
    for at, edge in enumerate(edges):
        shapes.append(_text(LEFT + slot * (at + 0.5), floor + 14, f"{edge}–", anchor="middle"))
    for number, (name, bins) in enumerate(heights.items()):
        colour = COLOURS[number]
        legend = LEFT + 150 * number
        shapes.append(f'<rect x="{legend}" y="23" width="10" height="10" fill="{colour}"/>')
        shapes.append(_text(legend + 14, 32, f"{name} ({len(series[name])})"))
        for at, count in enumerate(bins):
            x, tall = LEFT + slot * (at + 0.1) + bar * number, (floor - TOP) * count / tallest
            shapes.append(
                f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{bar:.1f}" height="{tall:.1f}"'
                f' fill="{colour}"><title>{count}</title></rect>'
            )
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _edges(largest: int) -> list[int]:
    """The lower ends of the bins: 0, 8, 16, 32 and so on."""
    edges = [0, 8]
    while 2 * edges[-1] <= largest and len(edges) < LARGEST:
        edges.append(2 * edges[-1])
    return edges


def _binned(numbers: Sequence[int], edges: Sequence[int]) -> list[int]:
    bins = [0] * len(edges)
    for number in numbers:
        bins[sum(edge <= number for edge in edges) - 1] += 1
    return bins


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="#222" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
