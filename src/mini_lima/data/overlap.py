"""Examples that hold an instruction of the evaluation set: `contamination` and `decontaminate`.

Two signs, each of which is enough:

- **ROUGE-L** above 0.7 between an instruction of the evaluation set and the example's instruction,
  its instruction with its input, an earlier user turn or its output: the measure and threshold by
  which Self-Instruct (Wang et al. 2022, section 2.2) tells a new instruction from a known one.
- **13 words in a row** that both have, wherever in the example, as GPT-3's authors looked for
  benchmarks in their training data (Brown et al. 2020, section 4 and appendix C). Like theirs, a
  text shorter than that is looked for as a whole, and 8 words are the least: "Write a poem about
  spring" is in many data sets that have never seen the evaluation set.

A word is what `rouge.words` takes for one: a character of a script without spaces is one too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Interval

from mini_lima.data.examples import Example, Reject, StepReport, read_examples
from mini_lima.data.rouge import rouge_l_of_all, words
from mini_lima.errors import UserError
from mini_lima.files.tables import read_json_rows
from mini_lima.models.rendering import question
from mini_lima.results.contamination import Contamination, Hit, write_contamination

LEAST_IN_A_ROW = 8
"""Words that a short instruction needs for being found as a whole."""
AT_ONCE = 1024
"""Texts whose scores against all instructions are in memory together."""

Threshold = Annotated[float, Interval(gt=0, lt=1)] | None
Words = Annotated[int, Ge(1)] | None


def decontaminate(
    data: Sequence[Example],
    *,
    evaluation_set: Path,
    rouge_l: Threshold = 0.7,
    ngram: Words = 13,
) -> StepReport:
    """Leave out the examples that hold an instruction of the evaluation set, as rejects.

    Args:
        data: What is checked.
        evaluation_set: File with the instructions.
        rouge_l: ROUGE-L (F1) above which two texts are alike; None to look at words in a row alone.
        ngram: Words in a row that are enough; None to look at ROUGE-L alone.

    Raises:
        UserError: both are None, or the evaluation set cannot be read.
    """
    found = overlap(data, read_instructions(evaluation_set), rouge_l=rouge_l, ngram=ngram)
    first: dict[str, Hit] = {}
    for hit in found.hits:
        first.setdefault(hit.example, hit)
    rejects = [_reject(each, first[each.id]) for each in data if each.id in first]
    figures = {
        "checked": found.checked,
        "removed": len(rejects),
        "instructions_found": len(found.instructions_hit),
    }
    after = [each for each in data if each.id not in first]
    return StepReport(after, rejects=rejects, figures=figures)


def _reject(example: Example, hit: Hit) -> Reject:
    texts = {key: getattr(example, key) for key in ("instruction", "input", "output")}
    return Reject(
        reason="in the evaluation set",
        asked_for=example.id,
        request=example.request,
        text=json.dumps(texts, ensure_ascii=False),
        detail=f"{hit.reason} of its {hit.part} with {hit.instruction!r}",
    )


def contamination(
    output_dir: Path,
    *,
    data: Path,
    evaluation_set: Path,
    rouge_l: Threshold = 0.7,
    ngram: Words = 13,
) -> None:
    """Write which instructions of the evaluation set are in the data set, and change nothing.

    `mini_lima.results.contamination.read_contamination` reads it.

    Args:
        output_dir: Receives contamination.json.
        data: What is checked.
        evaluation_set: File with the instructions.
        rouge_l: As in `decontaminate`.
        ngram: As in `decontaminate`.

    Raises:
        UserError: both are None, or the evaluation set cannot be read.
    """
    found = overlap(
        read_examples(data), read_instructions(evaluation_set), rouge_l=rouge_l, ngram=ngram
    )
    write_contamination(output_dir, found)


def overlap(
    examples: Sequence[Example],
    instructions: Sequence[str],
    *,
    rouge_l: float | None = 0.7,
    ngram: int | None = 13,
) -> Contamination:
    """Return which of ``instructions`` are in which of ``examples``.

    Raises:
        UserError: neither sign is to be looked at.
    """
    if rouge_l is None and ngram is None:
        raise UserError("rouge_l and ngram are both null: nothing is left to look at")
    asked = list(dict.fromkeys(instructions))
    told = [words(each) for each in asked]
    found: dict[tuple[int, int], tuple[str, str]] = {}
    if ngram is not None:
        for at, which, length in _in_a_row(examples, told, ngram):
            found[at, which] = ("text", f"{length}-gram")
    if rouge_l is not None:
        best: dict[tuple[int, int], float] = {}
        for at, which, part, score in _alike(examples, told, rouge_l):
            if score > best.get((at, which), 0.0):
                best[at, which] = score
                found[at, which] = (part, f"rouge_l {score:.2f}")
    hits = (
        Hit(instruction=asked[which], example=examples[at].id, part=part, reason=reason)
        for (at, which), (part, reason) in sorted(found.items())
    )
    return Contamination(len(examples), len(asked), rouge_l, ngram, tuple(hits))


def _in_a_row(
    examples: Sequence[Example], asked: Sequence[Sequence[str]], size: int
) -> Iterator[tuple[int, int, int]]:
    """Yield (example, instruction, words that they share in a row), each pair at least once."""
    grams: dict[tuple[str, ...], set[int]] = {}
    for which, instruction in enumerate(asked):
        length = min(size, len(instruction))
        if length >= min(size, LEAST_IN_A_ROW):
            for gram in _grams(instruction, length):
                grams.setdefault(gram, set()).add(which)
    sizes = sorted({len(gram) for gram in grams})
    vocabulary = {word for gram in grams for word in gram}
    for at, example in enumerate(examples):
        texts = [text for turn in example.history for text in turn]
        whole = "\n".join([*texts, example.instruction, example.input, example.output])
        # A word that no instruction has is in no gram: the words between two such are enough.
        for is_known, run in groupby(words(whole), vocabulary.__contains__):
            told = list(run) if is_known else []
            for length in sizes:
                for gram in _grams(told, length):
                    for which in grams.get(gram, ()):
                        yield at, which, length


def _grams(told: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return (tuple(told[at : at + length]) for at in range(len(told) - length + 1))


def _alike(
    examples: Sequence[Example], asked: Sequence[Sequence[str]], threshold: float
) -> Iterator[tuple[int, int, str, float]]:
    """Yield (example, instruction, part of the example, ROUGE-L), each pair at least once."""
    import numpy as np

    # Of no words: it is like nothing, and the library would call two such texts the same.
    which = [number for number, told in enumerate(asked) if told]
    parts = (
        (at, part, told)
        for at, example in enumerate(examples)
        for part, text in _parts(example).items()
        if (told := words(text))
    )
    while which and (some := list(islice(parts, AT_ONCE))):
        texts = [each for _, _, each in some]
        scores = rouge_l_of_all(texts, [asked[number] for number in which], at_least=threshold)
        # The cutoff lets the threshold itself pass, and floating point a little below it.
        for row, column in np.argwhere(scores.round(9) > threshold):
            at, part, _ = some[row]
            yield at, which[column], part, float(scores[row, column])


def _parts(example: Example) -> Mapping[str, str]:
    """What of ``example`` may be an instruction of the evaluation set."""
    parts = {"instruction": example.instruction}
    if example.input:
        parts["instruction and input"] = f"{example.instruction}\n{example.input}"
    parts |= {f"turn {number}": user for number, (user, _) in enumerate(example.history, start=1)}
    return {**parts, "output": example.output}


def read_instructions(evaluation_set: Path) -> list[str]:
    """Return the instructions of an evaluation set, each with its input: JSON or JSON Lines.

    Each row names its text ``instruction``, as AlpacaEval does, or ``prompt``, as IFEval does.

    Raises:
        UserError: it cannot be read, or a row has neither.
    """
    found: list[str] = []
    for row in read_json_rows(evaluation_set):
        texts = row.value if isinstance(row.value, Mapping) else {}
        text, given = texts.get("instruction", texts.get("prompt")), texts.get("input") or ""
        if not isinstance(text, str) or not isinstance(given, str):
            raise UserError(
                f"{evaluation_set}: {row.place}: an object with the text 'instruction' or 'prompt'"
                " was expected"
            )
        found.append(question(text, given))
    if not found:
        raise UserError(f"{evaluation_set}: holds no instruction")
    return found
