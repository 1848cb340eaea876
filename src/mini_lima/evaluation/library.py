"""alpaca_eval, called so that it changes nothing but its return values.

Two of its results are worth having from the library itself, because published numbers were made
with it: how a completion becomes a preference (`PairwiseAnnotator`) and how preferences become a
win rate (`get_winrate`). Around these it does much that a run cannot use: it loads a ``.env`` file
into the environment, makes the root logger talkative and gives it a handler, warns, draws bars,
keeps verdicts in a file beside its own code, skips models whose name it knows and downloads data
for a length-controlled win rate. `undisturbed` undoes the first half; the second never starts,
because only the annotator and the metric are called, with no cache, leaderboard or output path.
"""

import io
import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_lima.errors import UserError

NO_DOTENV = "PYTHON_DOTENV_DISABLED"


@dataclass(frozen=True)
class Shown:
    """What an annotator sees: two outputs for one instruction, in the order they are shown in."""

    instruction: str
    first: str
    second: str


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


def preferences(asked: Sequence[Shown], verdicts: Sequence[float | None]) -> list[float | None]:
    """Return what alpaca_eval makes of the verdict beside each of ``asked``.

    The library is shown a row number in place of a prompt, so no text of a model or user can act
    on it; duplicated rows stay apart, and the order of the outputs stays as it was asked.

    Returns:
        Per row a float from 1 (the first output) to 2, None where there is no verdict. Rows of
        equal outputs are ties, whatever their verdict.
    """
    if not asked:
        return []
    rows = [
        {"row": str(k), "instruction": s.instruction, "output_1": s.first, "output_2": s.second}
        for k, s in enumerate(asked)
    ]
    with undisturbed(), tempfile.TemporaryDirectory() as folder:
        from alpaca_eval.annotators import PairwiseAnnotator

        config = Path(folder) / "annotator"
        config.mkdir()
        (config / "prompt.txt").write_text("{row}", encoding="utf-8")
        (config / "configs.yaml").write_text(
            json.dumps({"annotator": {"prompt_template": "annotator/prompt.txt"}}),
            encoding="utf-8",
        )
        annotator = PairwiseAnnotator(
            annotators_config=config,
            input_keys=("row", "instruction"),
            fn_completions=lambda prompts: {"completions": list(prompts)},
            fn_completion_parser=lambda row: [verdicts[int(row)]],
            is_randomize_output_order=False,
            is_avoid_reannotations=False,
            caching_path=None,
        )
        annotated = annotator.annotate_pairs(rows, chunksize=None)
    found = {row["row"]: row["preference"] for row in annotated}
    assert len(annotated) == len(found) == len(rows), "alpaca_eval lost or doubled a verdict"
    return [_known(found[row["row"]]) for row in rows]


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
