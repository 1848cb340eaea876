"""What the check of a data set against the evaluation set found, on its way to the result."""

from dataclasses import asdict, dataclass
from pathlib import Path

from mini_lima.files import typed, write_json

CONTAMINATION = "contamination.json"


@dataclass(frozen=True)
class Hit:
    """An instruction of the evaluation set that is, or nearly is, in an example.

    Attributes:
        instruction: As the evaluation set has it.
        example: Id of the example.
        part: Where in the example: ``instruction``, ``instruction and input``, ``turn 1`` or
            ``output``; ``text`` for words in a row.
        reason: Why it counts, for people: ``rouge_l 0.83``, ``13-gram``.
    """

    instruction: str
    example: str
    part: str
    reason: str


@dataclass(frozen=True)
class Contamination:
    """The whole check.

    Attributes:
        checked: Examples of the data set.
        instructions: Distinct instructions of the evaluation set.
        rouge_l: ROUGE-L (F1) above which texts were alike; None where it was not looked at.
        ngram: Words in a row that were enough; None where they were not looked at.
        hits: One for each pair of instruction and example, in the order of the examples.
    """

    checked: int
    instructions: int
    rouge_l: float | None
    ngram: int | None
    hits: tuple[Hit, ...]

    @property
    def instructions_hit(self) -> frozenset[str]:
        """The instructions of the evaluation set that are not new to the trained model."""
        return frozenset(hit.instruction for hit in self.hits)


def write_contamination(folder: Path, found: Contamination) -> None:
    """Write what `read_contamination` reads."""
    write_json(folder / CONTAMINATION, asdict(found))


def read_contamination(folder: Path) -> Contamination:
    """Return what a finished check has found.

    Raises:
        UserError: the file is not what `write_contamination` writes.
    """
    return typed(folder / CONTAMINATION, Contamination)
