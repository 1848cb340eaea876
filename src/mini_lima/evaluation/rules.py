"""Judges that are functions: no model, no key, no money.

A rule is given what it names in its signature: ``instruction``, ``output_1``, ``output_2``, and
``occasion``, a text that differs between the times a pair is shown, for rules that draw. It returns
a preference from 1 (the first output) to 2 (the second), 1.5 for a tie, None where it has none:

    def prefer_shorter(output_1: str, output_2: str) -> float: ...
"""

import math
import random
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation.prompts import Shown
from mini_lima.store.targets import TARGET, Target, load

PROVIDED = ("instruction", "output_1", "output_2", "occasion")
"""The keywords that a rule is given; its others are configured."""
CONTROLS = ("longest", "coin")
"""The rules of this module, each an option of its name."""


def longest(output_1: str, output_2: str) -> float:
    """Prefer the output with more characters; equal lengths are a tie.

    AlpacaEval lists this control among its annotators but ships no config for it. Its own analysis
    gives equal lengths to the second output, which would favour whichever model stands there.
    """
    first, second = len(output_1), len(output_2)
    return 1.5 if first == second else 1.0 if first > second else 2.0


def coin(instruction: str, occasion: str) -> float:
    """Toss a coin on each ``occasion``: what a judge without any opinion looks like."""
    return random.Random(f"{occasion} {instruction}").choice([1.0, 2.0])


Decide = Callable[[Shown, str], float | None]
"""A preference on what is shown, given the name of the occasion."""


def load_rule(name: str, function: str, keywords: Mapping[str, Any]) -> Decide:
    """Return what decides for the rule ``function``, which tables call ``name``.

    Raises:
        UserError: it has changed since it was configured; later, see `decider`.
    """
    return decider(load(f"judge {name}", {TARGET: function, **keywords}, provided=PROVIDED))


def decider(rule: Target) -> Decide:
    """Return what decides for ``rule``.

    Raises:
        UserError: the function takes none of what a rule is given; later, it returned something
            else than a preference.
    """
    wanted = [keyword for keyword in PROVIDED if keyword in rule.wants]
    if not wanted:
        raise UserError(
            f"{rule.where}: {rule.name} takes none of {', '.join(PROVIDED)}: name what it compares"
        )

    def decide(shown: Shown, occasion: str) -> float | None:
        texts = (shown.instruction, shown.first, shown.second, occasion)
        given = dict(zip(PROVIDED, texts, strict=True))
        found = rule.function(**{key: given[key] for key in wanted}, **rule.keywords)
        is_number = isinstance(found, Real) and not isinstance(found, bool)
        if found is None or (is_number and math.isnan(found)):
            return None
        if not is_number or not 1 <= found <= 2:
            raise UserError(
                f"{rule.where}: {rule.name} returned {found!r}: a preference is a number from 1"
                " (the first output) to 2 (the second), 1.5 for a tie, or None if there is none"
            )
        return float(found)

    return decide
