"""Processes that are there in a moment, because all of a test's modules are loaded already.

There is one fork server for the whole test run, so it loads what any test module asks for.
"""

import multiprocessing
import os
from multiprocessing import forkserver
from unittest.mock import patch

_wanted: list[str] = []


def preloaded(*modules: str) -> multiprocessing.context.ForkServerContext:
    """A context whose processes begin with ``modules`` loaded; to be called at import."""
    _wanted.extend(modules)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_wanted)
    return context


def restarted(
    modules: list[str], surroundings: dict[str, str]
) -> multiprocessing.context.ForkServerContext:
    """As `preloaded`, in an environment of their own: the server that runs by now has another."""
    forkserver._forkserver._stop()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(modules)
    with patch.dict(os.environ, surroundings):
        forkserver.ensure_running()
    return context
