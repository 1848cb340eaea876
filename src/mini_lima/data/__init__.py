"""Steps: where examples come from, and what is made of them. These are the names to configure."""

from mini_lima.data.bootstrapping import self_instruct
from mini_lima.data.rewriting import rewrite
from mini_lima.data.steps import run_step

__all__ = ["rewrite", "run_step", "self_instruct"]
