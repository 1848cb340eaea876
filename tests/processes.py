"""Processes that are there in a moment, because all of a test's modules are loaded already.

There is one fork server for the whole test run, so it loads what any test module asks for.
"""

import multiprocessing

_wanted: list[str] = []


def preloaded(*modules: str) -> multiprocessing.context.ForkServerContext:
    """A context whose processes begin with ``modules`` loaded; to be called at import."""
    _wanted.extend(modules)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_wanted)
    return context
