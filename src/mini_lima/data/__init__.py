"""Steps: where examples come from, and what is made of them.

The steps are the names to configure; the rest is what a step of one's own is written with.
"""

from mini_lima.data.bootstrapping import self_instruct
from mini_lima.data.examples import (
    Earlier,
    Example,
    Reject,
    StepReport,
    read_examples,
    write_examples,
)
from mini_lima.data.file_source import from_file
from mini_lima.data.mixing import mix
from mini_lima.data.overlap import contamination, decontaminate
from mini_lima.data.rewriting import rewrite
from mini_lima.data.shortening import truncate
from mini_lima.data.steps import Forecast, forecast_by, run_step
from mini_lima.data.subsets import match, select

__all__ = [
    "Earlier",
    "Example",
    "Forecast",
    "Reject",
    "StepReport",
    "contamination",
    "decontaminate",
    "forecast_by",
    "from_file",
    "match",
    "mix",
    "read_examples",
    "rewrite",
    "run_step",
    "select",
    "self_instruct",
    "truncate",
    "write_examples",
]
