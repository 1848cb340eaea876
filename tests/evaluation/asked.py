"""The study's questions about cells that are given by their verdicts."""

from mini_lima.evaluation import contrasts as compared
from mini_lima.evaluation.declared_contrasts import parse

PAIRS = [("improved", "naive")]


def found(measures, cells, *, pairs=PAIRS, declared=(), **drawn):
    asked = compared.questions(list(cells), pairs, [parse(text) for text in declared])
    return compared.contrasts(measures, asked, **drawn)


def contrasts(cells, **about):
    """Rows of annotations.json for each seed, by (row, arm), as one judge's."""
    return found([compared.of_verdicts("judge", cells)], cells, **about).contrasts
