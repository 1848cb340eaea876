"""Examples that hold an instruction of the evaluation set: `contamination` and `decontaminate`.

Two signs, each of which is enough:

- **ROUGE-L** above 0.7 between an instruction of the evaluation set and the example's instruction,
  its instruction with its input, an earlier user turn or its output: the measure and threshold by
  which Self-Instruct (Wang et al. 2022, section 2.2) tells a new instruction from a known one.
- **13 words in a row** that both have, wherever in the example, as GPT-3's authors looked for
  benchmarks in their training data (Brown et al. 2020, section 4 and appendix C). Like theirs, a
  text shorter than that is looked for as a whole, and 8 words are the least: "Write a poem about
  spring" is in many data sets that have never seen the evaluation set.

A word is what `likeness.words` takes for one: a character of a script without spaces is one too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Interval

from mini_lima.contamination import Contamination, Hit, write_contamination
from mini_lima.data.examples import Example, Reject, StepReport, read_examples, write_examples
from mini_lima.data.rouge import words
from mini_lima.errors import UserError

LEAST_IN_A_ROW = 8
"""Words that a short instruction needs for being found as a whole."""
AT_ONCE = 1024
"""Texts whose scores against all instructions are in memory together."""
UNKNOWN = "\0"
"""Stands for every word that no instruction has."""

Threshold = Annotated[float, Interval(gt=0, lt=1)] | None
Words = Annotated[int, Ge(1)] | None


def decontaminate(
    output_dir: Path,
    *,
    data: Path,
    evaluation_set: Path,
    rouge_l: Threshold = 0.7,
    ngram: Words = 13,
) -> StepReport:
    """Leave out the examples that hold an instruction of the evaluation set, as rejects.

    Args:
        output_dir: Receives the data set.
        data: What is checked.
        evaluation_set: File with the instructions.
        rouge_l: ROUGE-L (F1) above which two texts are alike; None to look at words in a row alone.
        ngram: Words in a row that are enough; None to look at ROUGE-L alone.

    Raises:
        UserError: both are None, or the evaluation set cannot be read.
    """
    examples = read_examples(data)
    found = overlap(examples, read_instructions(evaluation_set), rouge_l=rouge_l, ngram=ngram)
    first: dict[str, Hit] = {}
    for hit in found.hits:
        first.setdefault(hit.example, hit)
    rejects = [_reject(each, first[each.id]) for each in examples if each.id in first]
    write_examples(output_dir, [each for each in examples if each.id not in first])
    figures = {
        "checked": found.checked,
        "removed": len(rejects),
        "instructions_found": len(found.instructions_hit),
    }
    return StepReport(rejects=rejects, figures=figures)


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

    `mini_lima.contamination.read_contamination` reads it.

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
    spelling = _Spelling(asked)
    found: dict[tuple[int, int], tuple[str, str]] = {}
    if ngram is not None:
        for pair in _in_a_row(examples, spelling, ngram):
            found[pair[:2]] = ("text", f"{pair[2]}-gram")
    if rouge_l is not None:
        best: dict[tuple[int, int], float] = {}
        for at, which, part, score in _alike(examples, spelling, rouge_l):
            if score > best.get((at, which), 0.0):
                best[at, which] = score
                found[at, which] = (part, f"rouge_l {score:.2f}")
    hits = (
        Hit(instruction=asked[which], example=examples[at].id, part=part, reason=reason)
        for (at, which), (part, reason) in sorted(found.items())
    )
    return Contamination(len(examples), len(asked), rouge_l, ngram, tuple(hits))


class _Spelling:
    """Writes texts with one character per word, so that they are compared as fast as strings.

    A word that no instruction has cannot be shared with one, so all of those are `UNKNOWN`: neither
    longest common subsequences nor words in a row are changed by it.
    """

    def __init__(self, instructions: Sequence[str]) -> None:
        told = [words(each) for each in instructions]
        known = dict.fromkeys(word for each in told for word in each)
        self._codes = {word: chr(code) for code, word in enumerate(known, start=1)}
        self.instructions = ["".join(self._codes[word] for word in each) for each in told]

    def __call__(self, text: str) -> str:
        return "".join(self._codes.get(word, UNKNOWN) for word in words(text))


def _in_a_row(
    examples: Sequence[Example], spelling: _Spelling, size: int
) -> Iterator[tuple[int, int, int]]:
    """Yield (example, instruction, words that they share in a row), each pair at least once."""
    grams: dict[str, set[int]] = {}
    for which, instruction in enumerate(spelling.instructions):
        length = min(size, len(instruction))
        if length >= min(size, LEAST_IN_A_ROW):
            for gram in _grams(instruction, length):
                grams.setdefault(gram, set()).add(which)
    sizes = sorted({len(gram) for gram in grams})
    for at, example in enumerate(examples):
        texts = [text for turn in example.history for text in turn]
        whole = "\n".join([*texts, example.instruction, example.input, example.output])
        # A word that no instruction has is in no gram either: what is between such words is enough.
        for run in spelling(whole).split(UNKNOWN):
            for length in sizes:
                for gram in _grams(run, length):
                    for which in grams.get(gram, ()):
                        yield at, which, length


def _grams(text: str, length: int) -> Iterator[str]:
    return (text[at : at + length] for at in range(len(text) - length + 1))


def _alike(
    examples: Sequence[Example], spelling: _Spelling, threshold: float
) -> Iterator[tuple[int, int, str, float]]:
    """Yield (example, instruction, part of the example, ROUGE-L), each pair at least once."""
    import numpy as np
    from rapidfuzz import process
    from rapidfuzz.distance import Indel

    users: dict[str, list[tuple[int, str]]] = {}
    for at, example in enumerate(examples):
        for part, text in _parts(example).items():
            if spelled := spelling(text):
                users.setdefault(spelled, []).append((at, part))
    texts = list(users)
    # Of no words: it is like nothing, and the library would call two such texts the same.
    which = [number for number, text in enumerate(spelling.instructions) if text]
    asked = [spelling.instructions[number] for number in which]
    for start in range(0, len(texts), AT_ONCE) if asked else ():
        some = texts[start : start + AT_ONCE]
        scores = process.cdist(
            some,
            asked,
            scorer=Indel.normalized_similarity,
            score_cutoff=threshold,
            dtype=np.float64,
            workers=-1,
        )
        # The cutoff lets the threshold itself pass, and floating point a little below it.
        for row, column in np.argwhere(scores.round(9) > threshold):
            for at, part in users[some[row]]:
                yield at, which[column], part, float(scores[row, column])


def _parts(example: Example) -> Mapping[str, str]:
    """What of ``example`` may be an instruction of the evaluation set."""
    parts = {"instruction": example.instruction}
    if example.input:
        parts["instruction and input"] = f"{example.instruction}\n{example.input}"
    parts |= {f"turn {number}": user for number, (user, _) in enumerate(example.history, start=1)}
    return {**parts, "output": example.output}


def read_instructions(evaluation_set: Path) -> list[str]:
    """Return the instructions of an evaluation set: JSON or JSON Lines.

    Each row names its text ``instruction``, as AlpacaEval does, or ``prompt``, as IFEval does.

    Raises:
        UserError: it cannot be read, or a row has neither.
    """
    try:
        text = evaluation_set.read_text(encoding="utf-8")
        rows = _rows(text)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{evaluation_set}: cannot be read as JSON or JSON Lines ({error})"
        ) from error
    if not rows:
        raise UserError(f"{evaluation_set}: holds no instruction")
    return [_instruction(row, f"{evaluation_set}, row {k}") for k, row in enumerate(rows, start=1)]


def _rows(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _instruction(row: Any, place: str) -> str:
    for name in ("instruction", "prompt"):
        if isinstance(row, dict) and isinstance(row.get(name), str):
            return str(row[name])
    raise UserError(f"{place}: an object with the text 'instruction' or 'prompt' was expected")
