"""Steps: where examples come from, and what is made of them. These are the names to configure."""

from mini_lima.data.bootstrapping import self_instruct
from mini_lima.data.file_source import from_file
from mini_lima.data.mixing import mix
from mini_lima.data.overlap import contamination, decontaminate
from mini_lima.data.rewriting import rewrite
from mini_lima.data.shortening import truncate
from mini_lima.data.steps import run_step
from mini_lima.data.subsets import match, select

__all__ = [
    "contamination",
    "decontaminate",
    "from_file",
    "match",
    "mix",
    "rewrite",
    "run_step",
    "select",
    "self_instruct",
    "truncate",
]
