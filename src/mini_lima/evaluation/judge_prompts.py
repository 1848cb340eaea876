"""Which pairs are put to an annotator together, by which of a pool's members, and who said what.

Most annotators are asked about one pair at a time. AlpacaFarm's are asked about four or five in one
prompt, and then the neighbours may matter; so they are the ones that alpaca_eval would put
together: within 128 rows, shuffled by its seed, the last prompt filled up with its example. In both
orders the neighbours stay, and each of them changes places: the order that the library draws comes
first, its reverse second. Repeats ask the same prompt again.

One answer to several pairs is shared out: each verdict keeps all its words and an equal part of its
tokens and cost.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mini_lima.evaluation.annotators import Annotator, Completion
from mini_lima.evaluation.library import Shown
from mini_lima.evaluation.presentation_order import Presentation, model_stands_first

TOGETHER = 128
"""Rows that alpaca_eval takes at a time by default."""
FILLING = Shown("1+1=", "2", "3")
"""alpaca_eval's example for the places that are left over in a prompt."""


@dataclass(frozen=True)
class Call:
    """One prompt.

    Attributes:
        judge: Who is asked: never a pool, but a member of it.
        asked: Numbers of the presentations in the prompt's order; None is the filling.
        shown: What the prompt shows, in the same order.
        repeat: For the how manieth time the same is asked.
    """

    judge: Annotator
    asked: tuple[int | None, ...]
    shown: tuple[Shown, ...]
    repeat: int

    @property
    def messages(self) -> tuple[tuple[str, str], ...]:
        """The (role, content) pairs to send."""
        return self.judge.messages(*self.shown)

    def share(self, completion: Completion) -> dict[int, tuple[Completion, float | None]]:
        """Return, by presentation, its part of ``completion`` and the preference that was read."""
        parts = sum(number is not None for number in self.asked)
        if parts > 1:
            completion = replace(
                completion,
                usage=_divided(completion.usage, parts),
                usd=None if completion.usd is None else completion.usd / parts,
            )
        votes = self.judge.read_all(completion)
        return {
            number: (completion, vote)
            for number, vote in zip(self.asked, votes, strict=True)
            if number is not None
        }


def calls(presentations: Sequence[Presentation], judge: Annotator, *, seed: int) -> list[Call]:
    """Lay out the prompts for all of ``presentations`` whose outputs differ.

    Args:
        presentations: As `verdicts.present` gives them.
        judge: An annotator that asks a model, or a pool of such.
        seed: Draws the members and the neighbours, as alpaca_eval does.
    """
    both = len({p.model_first for p in presentations if p.row == 0}) == 2
    found: list[Call] = []
    together: defaultdict[tuple[str, int, bool, int], list[int]] = defaultdict(list)
    members = {}
    for number, each in enumerate(presentations):
        if not each.pair.differs:
            continue
        instruction = each.pair.reference.instruction
        member = judge.member(instruction, seed)
        if member.batch == 1:
            found.append(Call(member, (number,), (each.shown,), each.repeat))
            continue
        members[member.name] = member
        turned = both and each.model_first != model_stands_first(instruction, seed)
        together[member.name, each.row // TOGETHER, turned, each.repeat].append(number)
    for (name, _, _, repeat), numbers in together.items():
        found += _filled(members[name], numbers, presentations, repeat=repeat, seed=seed)
    return found


def _filled(
    judge: Annotator,
    numbers: Sequence[int],
    presentations: Sequence[Presentation],
    *,
    repeat: int,
    seed: int,
) -> Iterator[Call]:
    """Fill ``numbers`` up to whole prompts and shuffle them, with pandas' generator."""
    import numpy as np

    filled = [*numbers, *[None] * (-len(numbers) % judge.batch)]
    generator = np.random.RandomState(seed % 2**32)
    shuffled = [filled[k] for k in generator.permutation(len(filled))]
    for start in range(0, len(shuffled), judge.batch):
        asked = tuple(shuffled[start : start + judge.batch])
        shown = tuple(FILLING if k is None else presentations[k].shown for k in asked)
        yield Call(judge, asked, shown, repeat)


def _divided(usage: Any, parts: int) -> Any:
    """Divide every number in ``usage``, which may be nested."""
    if isinstance(usage, Mapping):
        return {name: _divided(value, parts) for name, value in usage.items()}
    is_number = isinstance(usage, int | float) and not isinstance(usage, bool)
    return usage / parts if is_number else usage
