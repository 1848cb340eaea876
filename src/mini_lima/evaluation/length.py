"""How much of a win rate is length: what must be known before a data set is called better.

Annotators prefer longer answers, and an arm that lengthens outputs wins with them whether it
teaches anything or not. Three views: the win rate among pairs of about the same length; the
verdicts of an annotator that looks at length alone (`under_longest`, for the statistics that the
real verdicts go through); and AlpacaEval's length-controlled win rate, where it is defined.

For that one the library fits a logistic regression of the verdicts on the length difference, on the
model and on how hard each instruction is, and predicts the win rate of answers as long as the
reference's (Dubois et al., Length-controlled AlpacaEval, 2024). The difficulties come from a file
on the hub and are looked up by row number: for any other instructions than AlpacaEval's 805, or for
these in another order, the library returns a number all the same, and it means nothing. Here it is
computed for the canonical list alone, which is recognised by its hash, and by the library's code.

Its ``lc_standard_error`` is the spread of predictions and no sampling error. The interval here is a
bootstrap over instructions, in which the regularisation stays as the library chose it for the data.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from mini_lima.errors import UserError
from mini_lima.evaluation.library import undisturbed
from mini_lima.evaluation.pairs import Annotation
from mini_lima.evaluation.rules import longest
from mini_lima.files import check_is_text
from mini_lima.results import LONGEST, LengthControlled, WinRate
from mini_lima.statistics import tabulate, win_rate

SAME_LENGTH = 1.25
"""Ratio of two lengths up to which they are about the same: a quarter more is not yet longer."""

CANONICAL_SHA256 = "e4356cd997a280afd66c7dd3f9d44a151d2e94a3d4c2b67ab5d364a14404ae26"
"""Of AlpacaEval's 805 instructions in their order, as a JSON list (UTF-8, no escapes)."""
DIFFICULTIES = "df_gamed.csv"
"""The library's file, in the dataset tatsu-lab/alpaca_eval on the hub."""
REVISIONS = ("2edc6fad8be6b14ea7230aabfd08188da6b8b814", "main")
"""The commit that conf/ takes it from, and what the library itself downloads."""
NOT_CANONICAL = "not defined for this set: it needs AlpacaEval's 805 instructions, in their order"
MODEL = "length_controlled_v1"


@dataclass(frozen=True)
class Lengths:
    """Lengths in characters, and the win rate where they hardly differ.

    ``n_matched`` of the ``n`` pairs have lengths within the factor ``ratio`` of each other.
    """

    average: float
    median: float
    average_reference: float
    median_reference: float
    n: int
    ratio: float
    n_matched: int
    win_rate_matched: WinRate


def lengths(
    rows: Sequence[Annotation],
    *,
    seed: int,
    ratio: float = SAME_LENGTH,
    confidence: float = 0.95,
    samples: int = 10_000,
) -> Lengths:
    """Describe the lengths of the pairs behind ``rows``, verdicts with ``output_1`` and ``_2``.

    Raises:
        ValueError: no rows, or a ratio below 1.
    """
    if not rows or ratio < 1:
        raise ValueError(f"no lengths to compare in {len(rows)} verdicts within a factor {ratio}")
    pairs = {_pair(row) for row in rows}
    model = [len(output) for _, _, output in pairs]
    reference = [len(output) for _, output, _ in pairs]
    matched = {pair for pair in pairs if _same_length(pair, ratio)}
    verdicts = tabulate([row for row in rows if _pair(row) in matched])
    return Lengths(
        average=fmean(model),
        median=median(model),
        average_reference=fmean(reference),
        median_reference=median(reference),
        n=len(pairs),
        ratio=ratio,
        n_matched=len(matched),
        win_rate_matched=win_rate(verdicts, seed=seed, confidence=confidence, samples=samples),
    )


def under_longest(rows: Sequence[Annotation]) -> list[Annotation]:
    """Return the verdicts of an annotator that prefers the output with more characters.

    One per pair of outputs, for it knows no order and no moods; equal lengths are a tie.
    """
    return [
        Annotation(
            instruction=instruction,
            output_1=reference,
            output_2=model,
            annotator=LONGEST,
            preference=longest(reference, model),
        )
        for instruction, reference, model in dict.fromkeys(map(_pair, rows))
    ]


def _pair(row: Annotation) -> tuple[str, str, str]:
    assert row.output_1 is not None
    assert row.output_2 is not None
    return row.instruction, row.output_1, row.output_2


def _same_length(pair: tuple[str, str, str], ratio: float) -> bool:
    _, reference, model = pair
    short, long = sorted((len(reference), len(model)))
    return long <= ratio * short


def is_canonical(instructions: Sequence[str]) -> bool:
    """Whether these are AlpacaEval's 805 instructions in their order."""
    listed = json.dumps(list(instructions), ensure_ascii=False)
    return hashlib.sha256(listed.encode(errors="surrogatepass")).hexdigest() == CANONICAL_SHA256


def difficulties_in_hub_cache() -> Path | None:
    """Return the library's file if this machine has downloaded it before; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    named = ("tatsu-lab/alpaca_eval", DIFFICULTIES)
    for revision in REVISIONS:
        found = try_to_load_from_cache(*named, repo_type="dataset", revision=revision)
        if isinstance(found, str):
            return Path(found)
    return None


def length_controlled(
    rows: Sequence[Annotation],
    difficulties: Path | None,
    *,
    seed: int,
    confidence: float = 0.95,
    samples: int = 200,
) -> LengthControlled:
    """Return the length-controlled win rate of ``rows``, which hold one model's verdicts.

    Args:
        rows: Rows of annotations.json. Several verdicts on an instruction are averaged, as the
            library takes weighted verdicts too.
        difficulties: The library's ``df_gamed.csv``; None leaves the win rate undefined.
        seed: Of the bootstrap.
        confidence: Of the interval.
        samples: Of the bootstrap; each is a regression of some 20 ms.

    Raises:
        UserError: ``difficulties`` is not that file.
    """
    if not is_canonical(list(dict.fromkeys(row.instruction for row in rows))):
        return LengthControlled(None, None, None, NOT_CANONICAL)
    if difficulties is None:
        return LengthControlled(None, None, None, f"AlpacaEval's {DIFFICULTIES} is not here")
    import numpy as np
    import pandas as pd

    from mini_lima.statistics import percentile_interval

    pair = ["instruction", "output_1", "output_2", "generator_1", "generator_2"]
    table = pd.DataFrame([{c: getattr(row, c) for c in [*pair, "preference"]} for row in rows])
    table["preference"] = table["preference"].astype(float)
    frame = table.groupby(pair, sort=False, dropna=False, as_index=False).mean()
    if frame["instruction"].duplicated().any():
        return LengthControlled(None, None, None, "not defined for several answers to a question")
    if frame["preference"].nunique() < 2:
        return LengthControlled(None, None, None, "every verdict is the same")
    with _reading(difficulties) as library:
        found = library.get_length_controlled_winrate(
            frame.copy(), glm_name=MODEL, save_weights_dir=None, is_warn_extreme_changes=False
        )["length_controlled_winrate"]
        settings = library.GLM_INFO[MODEL]
        regularisation = _regularisation(library, frame, settings)
        draws = np.random.default_rng(seed).integers(len(frame), size=(samples, len(frame)))
        resampled = np.array(
            [_refitted(library, frame.iloc[drawn], settings, regularisation) for drawn in draws]
        )
    low, high = percentile_interval(resampled, len(frame), confidence)
    return LengthControlled(float(found), low, high, None)


def _regularisation(library: Any, frame: Any, settings: Mapping[str, Any]) -> float:
    """Return the strength that the library's cross-validation picks for ``frame``."""
    data, weights, _ = _design(library, frame, settings)
    fitted = library.fit_LogisticRegressionCV(
        data, "preference", sample_weight=weights, **settings["kwargs"]
    )
    return float(fitted.C_[0])


def _refitted(library: Any, frame: Any, settings: Mapping[str, Any], strength: float) -> float:
    data, weights, at_equal_length = _design(library, frame, settings)
    fitted = library.fit_LogisticRegressionCV(
        data, "preference", sample_weight=weights, n_splits=0, C=strength
    )
    return 100 * float(fitted.predict_proba(at_equal_length)[:, 1].mean())


def _design(library: Any, frame: Any, settings: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return the library's training rows that have a verdict, their weights, and its test rows."""
    data, at_equal_length, weights = library._get_featurized_data(
        frame, settings["formula"], settings["regularize_to_baseline_lambda"]
    )
    judged = data["preference"].notna()
    return data[judged], weights[judged], at_equal_length


@contextmanager
def _reading(difficulties: Path) -> Iterator[Any]:
    """Yield the library's module, with ``difficulties`` in place of its download."""
    check_is_text(difficulties)  # pandas would unpack it, whatever it holds
    with undisturbed():
        import sklearn
        from alpaca_eval.metrics import glm_winrate

        download = glm_winrate.hf_hub_download
        glm_winrate.hf_hub_download = lambda *_, **__: str(difficulties)
        try:
            with sklearn.config_context():  # which the library changes for the whole process
                yield glm_winrate
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{difficulties} is not AlpacaEval's {DIFFICULTIES}: {error}"
            ) from error
        finally:
            glm_winrate.hf_hub_download = download
