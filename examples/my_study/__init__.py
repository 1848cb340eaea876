"""A study of one's own: an arm's step, a metric and a judge that Mini-LIMA knows by name alone.

`docs/extending.md` walks through it.
"""

from my_study.judges import prefer_plain
from my_study.metrics import exclamation_marks
from my_study.steps import halve

__all__ = ["exclamation_marks", "halve", "prefer_plain"]
