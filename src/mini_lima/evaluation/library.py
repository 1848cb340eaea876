"""alpaca_eval, called so that it changes nothing but its return values.

Published numbers were made with the library, so what a completion says is read by its own parsers
(see `prompts`), and every win rate is held to its own metric. Around these it does much that a run
cannot use: it loads a ``.env`` file into the environment, makes the root logger talkative and gives
it a handler, warns, draws bars, keeps verdicts in a file beside its own code, skips models whose
name it knows and downloads data for a length-controlled win rate. `undisturbed` undoes the first
half; the second never starts, because only the parsers and the metric are called, with no cache,
leaderboard or output path.
"""

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

from mini_lima.errors import UserError

NO_DOTENV = "PYTHON_DOTENV_DISABLED"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Import and call alpaca_eval inside this, and the process is as it was afterwards.

    The library logs through the root logger itself, so a filter there silences it and nobody else.

    Raises:
        UserError: the library, or ``pkg_resources`` which it needs, is not installed.
    """
    root = logging.getLogger()
    level, handlers, dotenv = root.level, list(root.handlers), os.environ.get(NO_DOTENV)
    os.environ[NO_DOTENV] = "1"
    root.addFilter(_nothing)
    root.addHandler(logging.NullHandler())
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"alpaca_eval cannot be used, module {error.name!r} is missing: install the project's "
            "requirements again (pkg_resources comes with 'setuptools<82')"
        ) from error
    finally:
        root.removeFilter(_nothing)
        root.setLevel(level)
        root.handlers[:] = handlers
        os.environ.pop(NO_DOTENV)
        if dotenv is not None:
            os.environ[NO_DOTENV] = dotenv


def metric(verdicts: Sequence[float]) -> dict[str, float | int | None]:
    """Return alpaca_eval's own win_rate, standard_error (both percent) and n_total.

    Failed verdicts must be left out: the library cannot read a column without a single number.
    """
    if not verdicts:
        return {"win_rate": None, "standard_error": None, "n_total": 0}
    with undisturbed():
        from alpaca_eval.metrics import get_winrate

        found = get_winrate([{"preference": preference} for preference in verdicts])
    return {
        "win_rate": _known(found["win_rate"]),
        "standard_error": _known(found["standard_error"]),
        "n_total": int(found["n_total"]),
    }


def _nothing(record: logging.LogRecord) -> bool:
    return False


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
