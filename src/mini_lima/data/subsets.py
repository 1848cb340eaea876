"""Steps that keep a part of a data set: `select` and `match`.

Which examples a random choice takes is drawn from the seed and each example's id alone. So 100
examples are among the 300 of the same seed, and two arms whose examples have the same ids keep the
same ones: what then differs between the arms is not the luck of the draw.

Lengths are those of the outputs, in characters. Tokens are counted over all texts of an example,
with the tokenizer that ships with the package (`measures.tokens`), so that a budget means the same
whatever model is trained.
"""

import hashlib
import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, islice
from statistics import quantiles
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from mini_lima.data.examples import Example, StepReport
from mini_lima.data.steps import Forecast, forecast_by
from mini_lima.errors import UserError, listed

By = Literal["random", "longest", "shortest", "field"]
Order = Literal["highest", "lowest"]
Size = Literal["examples", "tokens", "length_quantiles"]
BINS = 10


def _expect_selected(
    data: Sequence[Example], *, tokens: int | None = None, by: By = "random", **how: Any
) -> Forecast:
    """Expect as many examples; what they say in a field, and their tokens, may not be known yet."""
    _check(tokens=tokens, by=by, **how)
    how |= {"by": "random", "field": None} if by == "field" else {"by": by}
    try:
        return Forecast(examples=select(data, tokens=tokens, **how).examples or ())
    except UserError:
        if tokens is None:
            raise
        return Forecast(examples=data)


@forecast_by(_expect_selected)
def select(
    data: Sequence[Example],
    *,
    n: Annotated[int, Ge(1)] | None = None,
    tokens: Annotated[int, Ge(1)] | None = None,
    share: Annotated[float, Interval(gt=0, le=1)] | None = None,
    by: By = "random",
    field: str | None = None,
    order: Order = "highest",
    seed: int = 0,
) -> StepReport:
    """Keep some of the examples, in their order; exactly one of n, tokens and share says how many.

    Args:
        data: What to choose from.
        n: So many examples.
        tokens: As many as fit, taken in the order that ``by`` says until the first that does not.
        share: This share of the examples, rounded.
        by: ``random``; ``longest`` or ``shortest`` output first; or by a ``field``.
        field: One of the `Example.fields`, a number in each example.
        order: Whether the ``highest`` or the ``lowest`` of that number comes first.
        seed: Decides what is random, and between examples that are equal.

    Raises:
        UserError: not exactly one size, more than there is, or a field that is no number.
    """
    _check(n=n, tokens=tokens, share=share, by=by, field=field)
    ranked = _ranked(data, by, field, order, seed)
    figures = {}
    if n is not None:
        if n > len(data):
            raise UserError(f"select: n={n}, and there are only {len(data)} examples")
        count = n
    elif share is not None:
        count = max(1, math.floor(share * len(data) + 0.5))
    else:
        assert tokens is not None
        counted = list(accumulate(token_counts([data[at] for at in ranked])))
        if tokens > counted[-1]:
            raise UserError(
                f"select: tokens={tokens}, and the {len(data)} examples have only {counted[-1]}"
            )
        count = bisect_right(counted, tokens)
        if not count:
            raise UserError(f"select: tokens={tokens}, and the first example has {counted[0]}")
        figures["tokens"] = counted[count - 1]
    after = in_place(data, ranked[:count])
    return StepReport(after, figures={"selected": len(after), "of": len(data), **figures})


def _check(
    *,
    n: int | None = None,
    tokens: int | None = None,
    share: float | None = None,
    by: By = "random",
    field: str | None = None,
    **_: Any,
) -> None:
    sizes = {"n": n, "tokens": tokens, "share": share}
    given = [name for name, size in sizes.items() if size is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UserError(f"select takes exactly one of n, tokens and share; found {found}")
    if (by == "field") is (field is None):
        raise UserError("select: by=field needs the name of the field in field=…, and only it does")


def _ranked(
    examples: Sequence[Example], by: By, field: str | None, order: Order, seed: int
) -> list[int]:
    """Return the places of ``examples`` in the order in which they are taken.

    The longest first is the shortest first from behind, also where some are equally long: two
    halves have no example in common.
    """
    places = random_order(examples, seed)
    if by == "random":
        return places
    if field is None:
        numbers = [float(len(example.output)) for example in examples]
    else:
        numbers = [_number(example, field) for example in examples]
    places.sort(key=numbers.__getitem__)
    largest_first = by == "longest" or (by == "field" and order == "highest")
    return places[::-1] if largest_first else places


def _number(example: Example, field: str) -> float:
    if field not in example.fields:
        there = ", ".join(listed(sorted(example.fields))) or "none"
        raise UserError(
            f"select: example {example.id} has no field {field!r} to choose by; it has {there}"
        )
    value = example.fields[field]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise UserError(
            f"select: field {field!r} of example {example.id} must be a number to choose by,"
            f" found {value!r}"
        )
    return number


@dataclass(frozen=True)
class Bin:
    """Outputs of one range of lengths.

    Attributes:
        at_least: Characters of an output.
        at_most: Characters of an output.
        wanted: Examples of this range for the other data set's distribution.
        taken: Examples that there were for it.
    """

    at_least: int
    at_most: int
    wanted: int
    taken: int


def _expect_matched(
    data: Sequence[Example], *, other: Sequence[Example], by: Size = "examples", **how: Any
) -> Forecast:
    """Expect as many examples at the most; tokens and lengths may not be known yet."""
    try:
        return Forecast(examples=match(data, other=other, by=by, **how).examples or ())
    except UserError:
        if by == "examples":
            raise
        return Forecast(examples=data)


@forecast_by(_expect_matched)
def match(
    data: Sequence[Example],
    *,
    other: Sequence[Example],
    by: Size = "examples",
    most_unmatched: Annotated[float, Interval(ge=0, lt=1)] = 0.1,
    seed: int = 0,
) -> StepReport:
    """Keep, at random, what makes a data set as large as another; none is ever repeated.

    With ``length_quantiles`` the outputs are as long as those of the other data set: its lengths
    are divided at their deciles, and of each range as many examples are taken as the other has in
    it. Where a range has too few of them, all of it is taken; where that would leave out more than
    ``most_unmatched``, the whole is made smaller until it does not. Outputs shorter or longer than
    all of the other's are not used.

    Args:
        data: What to choose from.
        other: The data set whose size, or lengths, it is to have.
        by: As many ``examples``; as many ``tokens``, or as few less as examples in a random order
            come to; or ``length_quantiles``.
        most_unmatched: Share of the examples that may be missing from ranges of lengths.
        seed: Decides which ones are kept.

    Raises:
        UserError: there is not enough to match the other data set.
    """
    figures: dict[str, Any] = {}
    if by == "examples":
        if len(data) < len(other):
            raise UserError(
                f"match: the other data set has {len(other)} examples, this one only {len(data)};"
                " match the other one to this one"
            )
        places = random_order(data, seed)[: len(other)]
    elif by == "tokens":
        places, figures = _as_many_tokens(data, other, seed)
    else:
        places, bins = _same_lengths(data, other, most_unmatched, seed)
        figures["unmatched"] = sum(each.wanted - each.taken for each in bins)
        figures["lengths"] = [asdict(each) for each in bins]
    sizes = {"matched": len(places), "of": len(data), "other": len(other)}
    return StepReport(in_place(data, places), figures={**sizes, **figures})


def _as_many_tokens(
    examples: Sequence[Example], other: Sequence[Example], seed: int
) -> tuple[list[int], dict[str, int]]:
    """Return places of examples that have as many tokens as ``other`` or a little less, and both.

    In a random order, each that still fits is taken: after the first that does not there is room
    for a few shorter ones, less than the longest example in all.
    """
    counted, wanted = token_counts(examples), sum(token_counts(other))
    if sum(counted) < wanted:
        raise UserError(
            f"match: the other data set has {wanted} tokens, this one only {sum(counted)}; match"
            " the other one to this one"
        )
    taken: list[int] = []
    room = wanted
    for at in random_order(examples, seed):
        if counted[at] <= room:
            taken.append(at)
            room -= counted[at]
    if not taken:
        raise UserError(f"match: none of the examples fits into the other data set's {room} tokens")
    return taken, {"tokens": wanted - room, "tokens_of_other": wanted}


def _same_lengths(
    examples: Sequence[Example], other: Sequence[Example], most_unmatched: float, seed: int
) -> tuple[list[int], list[Bin]]:
    """Return places of examples with outputs as long as those of ``other``, and how well it went."""
    lengths = sorted(len(each.output) for each in other)
    deciles = quantiles(lengths, n=BINS, method="inclusive") if len(lengths) > 1 else []
    cuts = sorted({math.ceil(decile) for decile in deciles})
    shares = Counter(bisect_right(cuts, length) for length in lengths)
    there: defaultdict[int, list[int]] = defaultdict(list)
    for at in random_order(examples, seed):
        if lengths[0] <= (length := len(examples[at].output)) <= lengths[-1]:
            there[bisect_right(cuts, length)].append(at)

    def missing(size: int) -> float:
        parts = ((size * shares[b] / len(lengths), len(there[b])) for b in shares)
        return sum(max(0.0, wanted - found) for wanted, found in parts)

    fits = (n for n in range(len(lengths), 0, -1) if missing(n) <= most_unmatched * n + 1e-9)
    size = next(fits, None)
    if size is None:
        here = sorted(len(each.output) for each in examples)
        raise UserError(
            f"match: outputs of {here[0]} to {here[-1]} characters cannot be matched to the other"
            f" data set's {lengths[0]} to {lengths[-1]}: more than"
            f" most_unmatched={most_unmatched} would be missing at any size; truncate first"
        )
    wanted = _apportioned(size, shares)
    taken = {b: there[b][: wanted[b]] for b in shares}
    starts, stops = [lengths[0], *cuts], [*(cut - 1 for cut in cuts), lengths[-1]]
    bins = [Bin(starts[b], stops[b], wanted[b], len(taken[b])) for b in sorted(shares)]
    return [at for places in taken.values() for at in places], bins


def _apportioned(size: int, shares: Counter[int]) -> dict[int, int]:
    """Divide ``size`` as ``shares`` are, by largest remainders, into whole numbers."""
    exact = {key: size * share / shares.total() for key, share in shares.items()}
    whole = {key: math.floor(part + 1e-9) for key, part in exact.items()}
    by_remainder = sorted(exact, key=lambda key: (whole[key] - exact[key], key))
    for key in by_remainder[: size - sum(whole.values())]:
        whole[key] += 1
    return whole


def random_order(examples: Sequence[Example], seed: int) -> list[int]:
    """Return the places of ``examples`` in an order that depends on seed and ids alone."""

    def drawn(at: int) -> bytes:
        return hashlib.sha256(f"{seed} {examples[at].id}".encode()).digest()

    return sorted(range(len(examples)), key=drawn)


def in_place(examples: Sequence[Example], places: Collection[int]) -> list[Example]:
    """Return the examples at ``places``, in the order of ``examples``."""
    return [examples[at] for at in sorted(places)]


def token_counts(examples: Sequence[Example]) -> list[int]:
    """Return the tokens of each example: of system message, all turns, input and output."""
    from mini_lima.data.measures import tokens

    counted = tokens(text for example in examples for text in _texts(example))
    return [sum(islice(counted, len(_texts(example)))) for example in examples]


def _texts(example: Example) -> list[str]:
    turns = [text for turn in example.history for text in turn]
    texts = [example.system, *turns, example.instruction, example.input, example.output]
    return [text for text in texts if text]
