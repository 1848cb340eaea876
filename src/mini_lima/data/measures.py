"""Figures about a data set: how long, how balanced, how varied. Pure functions.

Lengths in tokens are those of the tokenizer that ships with the package, so that they can be
compared between data sets whatever model is trained; the model's own tokenizer counts differently.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any

from mini_lima.data.examples import Example, StepReport
from mini_lima.data.rouge import rouge_l_of_all, words

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = Path(__file__).parents[1] / "assets" / "qwen-tiny" / "tokenizer.json"
SAMPLE = 200
"""Texts between which self-similarity is measured, and labels that are counted."""
AT_ONCE = 1000
"""Texts that are tokenized together: what the tokenizer says of a text is large."""


def counts(
    step: str, examples: Sequence[Example], before: Sequence[Example], report: StepReport
) -> dict[str, Any]:
    """Return the figures of a step's data set as JSON types.

    Args:
        step: What the arm calls it.
        examples: What it wrote.
        before: What it changed; empty for a step that made them.
        report: What it said about its work.
    """
    outputs = [example.output for example in examples]
    texts = list({each.task: each.instruction for each in examples}.values())
    return {
        "step": step,
        "teacher": report.teacher,
        "endpoint": report.endpoint,
        "examples": len(examples),
        "by_source": dict(Counter(example.source for example in examples)),
        "rejected": dict(Counter(f"{each.prompt}: {each.reason}" for each in report.rejects)),
        "funnel": funnel(step, examples, before, report),
        "cost": None if report.cost is None else asdict(report.cost),
        "mean_output_characters": fmean(map(len, outputs)),
        "output_lengths": lengths(outputs),
        "tasks": tasks(examples),
        "classification": classification(examples),
        "diversity": {"instructions": diversity(texts), "outputs": diversity(outputs)},
        **report.figures,
    }


def funnel(
    step: str, examples: Sequence[Example], before: Sequence[Example], report: StepReport
) -> dict[str, dict[str, Any]]:
    """Return per prompt what came in and where it went: ``found`` = ``used`` + all ``rejected``.

    A step that asks nobody finds the examples before it. What prompt 1 finds is tasks. Notes are
    about whole replies, and no part of the sum.
    """
    used = Counter(example.source for example in examples) | Counter(report.used)
    table: dict[str, dict[str, Any]] = {}
    for prompt in report.requests or (step,):
        of_prompt = [each for each in report.rejects if each.prompt == prompt]
        rejected, notes = (
            dict(Counter(each.reason for each in of_prompt if each.is_note is kind))
            for kind in (False, True)
        )
        kept = used[prompt] if report.requests else len(examples)
        if before and not report.requests:
            said = sum(rejected.values())
            if left_out := len({each.id for each in before} - {e.id for e in examples}) - said:
                rejected["left out"] = left_out
        requests = report.requests.get(prompt, 0)
        table[prompt] = {
            "requests": requests,
            "asked_for": report.asked_for.get(prompt, requests),
            "found": kept + sum(rejected.values()),
            "rejected": rejected,
            "used": kept,
            "notes": notes,
        }
    return table


def lengths(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return mean, quartiles and extremes of ``texts`` in characters, words and tokens."""
    return {
        "characters": _spread([len(text) for text in texts]),
        "words": _spread([len(text.split()) for text in texts]),
        "tokens": _spread(list(tokens(texts))),
    }


def tokens(texts: Iterable[str]) -> Iterator[int]:
    """Yield the number of tokens of each of ``texts``, without special ones."""
    tokenizer, rest = _tokenizer(), iter(texts)
    while some := list(islice(rest, AT_ONCE)):
        for each in tokenizer.encode_batch_fast(some, add_special_tokens=False):
            yield len(each.ids)


def tasks(examples: Sequence[Example]) -> dict[str, Any]:
    """Return how examples are spread over tasks, and how many of them stand alone."""
    per_task = Counter(example.task for example in examples)
    return {
        "tasks": len(per_task),
        "examples_per_task": dict(sorted(Counter(per_task.values()).items())),
        "without_input": sum(not example.input for example in examples),
    }


def classification(examples: Sequence[Example]) -> dict[str, Any]:
    """Return the examples of classification tasks, and the labels of each of those tasks.

    Only seed tasks say whether they are one.
    """
    kinds = {True: "yes", False: "no", None: "not known"}
    labels: dict[str, Counter[str]] = {}
    for each in examples:
        if each.is_classification:
            label = each.earlier[0].output if each.earlier else each.output
            labels.setdefault(each.task, Counter())[label[:SAMPLE].strip()] += 1
    return {
        "examples": dict(Counter(kinds[each.is_classification] for each in examples)),
        "labels": {task: dict(found) for task, found in labels.items()},
    }


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """Return distinct-1, distinct-2 and self-similarity.

    Distinct-n is the share of n-grams that are different from all earlier ones (Li et al. 2016,
    *A Diversity-Promoting Objective Function*); it falls with the amount of text. Self-similarity
    is the mean, over a random sample of 200 texts, of the highest ROUGE-L with another of them.
    """
    singles: set[str] = set()
    doubles: set[tuple[str, str]] = set()
    single_count = double_count = 0
    for text in texts:
        told = words(text)
        singles.update(told)
        doubles.update(pairwise(told))
        single_count += len(told)
        double_count += max(len(told) - 1, 0)
    return {
        "distinct_1": len(singles) / single_count if single_count else 0.0,
        "distinct_2": len(doubles) / double_count if double_count else 0.0,
        "self_similarity": _self_similarity(texts),
    }


def _self_similarity(texts: Sequence[str]) -> float:
    drawn = random.Random(0).sample(list(texts), min(SAMPLE, len(texts)))
    told = [each for text in drawn if (each := words(text))]
    if len(told) < 2:
        return 0.0
    scores = rouge_l_of_all(told, told)
    for own in range(len(told)):
        scores[own, own] = 0.0
    return float(scores.max(axis=1).sum()) / len(drawn)


def _spread(numbers: Sequence[int]) -> dict[str, float]:
    low, median, high = (
        quantiles(numbers, method="inclusive") if len(numbers) > 1 else [*numbers] * 3
    )
    return {
        "mean": fmean(numbers),
        "min": min(numbers),
        "quartile_1": low,
        "median": median,
        "quartile_3": high,
        "max": max(numbers),
    }


@cache
def _tokenizer() -> "Tokenizer":
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(TOKENIZER))
