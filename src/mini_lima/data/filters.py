"""The filters' switches: one for each thing that is not worth training on, by its reason code.

`screening` does the looking. All are on unless the configuration says otherwise.
"""

from dataclasses import dataclass

from mini_lima.data.rouge import ALIKE

MEANING = {
    "wrong_number": "more instances than were asked for",
    "echo": "repeats the worked example of the prompt, or an instance of a seed task",
    "near_duplicate": f"ROUGE-L above {ALIKE} with the instruction of an earlier task",
    "cut_off": "cut off by the length limit",
    "refusal": "the teacher declines, or speaks of itself as a language model",
    "needs_file": "cannot be answered without an image, a recording or a file that is not there",
    "wrong_language": "in another language than the seed tasks, without being asked for it",
    "scaffold": "holds labels such as Input: or Output: that belong to the format",
    "not_longer": "no longer than the output that it was to lengthen",
}
"""What each reason code says, for people."""


@dataclass(frozen=True)
class Filters:
    """Which filters look at new tasks and instances."""

    wrong_number: bool = True
    echo: bool = True
    near_duplicate: bool = True
    refusal: bool = True
    needs_file: bool = True
    wrong_language: bool = True
    scaffold: bool = True


@dataclass(frozen=True)
class RewritingFilters:
    """Which filters look at rewritten outputs."""

    echo: bool = True
    cut_off: bool = True
    refusal: bool = True
    wrong_language: bool = True
    scaffold: bool = True
    not_longer: bool = True
