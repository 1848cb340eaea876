"""How much of a win rate is length, by three views."""

import json
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mini_lima.errors import UserError
from mini_lima.evaluation import length as lc
from mini_lima.evaluation.length import length_controlled, lengths
from mini_lima.evaluation.library import undisturbed
from tests.statistics.rows import row as verdict

few = {"seed": 0, "samples": 10}
N = 805


def row(instruction, reference, model, preference=1.0):
    outputs = {"output_1": reference, "output_2": model}
    names = {"generator_1": "reference", "generator_2": "model"}
    return verdict(instruction, preference, **outputs, **names)


def test_lengths_are_of_pairs_and_matched_by_their_ratio():
    pairs = [("a" * 10, "b" * 12), ("a" * 10, "b" * 13), ("a" * 8, "b" * 7), ("", "")]
    rows = [row(str(k), *pair, 1 + k % 2) for k, pair in enumerate(pairs)]
    found = lengths([*rows, replace(rows[0], preference=None)], ratio=1.25, **few)
    assert (found.average, found.median) == (8, 9.5)
    assert (found.average_reference, found.median_reference) == (7, 9)
    assert (found.n, found.n_matched) == (4, 3)
    assert (found.win_rate_matched.n_total, found.win_rate_matched.n_failed) == (3, 1)
    assert found.win_rate_matched.win_rate == pytest.approx(100 / 3)
    with pytest.raises(ValueError, match=r"within a factor 0\.9"):
        lengths(rows, ratio=0.9, **few)


@pytest.fixture(scope="module")
def canonical():
    """Another list of 805 instructions, taken for AlpacaEval's; verdicts that like length."""
    rng = random.Random(0)
    rows = []
    for k in range(N):
        short, long = rng.randrange(50, 200), rng.randrange(50, 200)
        wins = rng.random() < 1 / (1 + np.exp((short - long) / 40))
        preference = None if k % 100 == 7 else 1 + (0.9 if wins else 0.2)
        rows.append(row(f"instruction {k}", "a" * short, "b" * long, preference))
    listed = json.dumps([r.instruction for r in rows])
    before, lc.CANONICAL_SHA256 = (
        lc.CANONICAL_SHA256,
        lc.hashlib.sha256(listed.encode()).hexdigest(),
    )
    yield rows
    lc.CANONICAL_SHA256 = before


@pytest.fixture(scope="module")
def difficulties(tmp_path_factory):
    """A file like the library's df_gamed.csv: each instruction judged for two gamed models."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=N)
    frames = []
    for model, shift in (("verbose", 1), ("concise", -1)):
        delta = rng.normal(shift, 1, size=N)
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "index": range(N),
                    "preference": 1 / (1 + np.exp(-np.tanh(delta) - 0.5 * difficulty)),
                    "instruction_difficulty": difficulty,
                    "std_delta_len": delta,
                    "not_gamed_baseline": False,
                }
            )
        )
    path = tmp_path_factory.mktemp("hub") / "df_gamed.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


def test_the_length_controlled_win_rate_is_the_librarys(canonical, difficulties, monkeypatch):
    with undisturbed():
        from alpaca_eval.metrics import glm_winrate

        monkeypatch.setattr(glm_winrate, "hf_hub_download", lambda **_: str(difficulties))
        theirs = glm_winrate.get_length_controlled_winrate(
            pd.DataFrame([vars(each) for each in canonical]), save_weights_dir=None
        )
    found = length_controlled(canonical, difficulties, **few)
    assert found.win_rate == pytest.approx(theirs["length_controlled_winrate"], abs=1e-9)
    assert found.low < found.win_rate < found.high
    assert found.undefined is None
    assert 2 < found.high - found.low < 12


def test_for_any_other_list_or_file_the_length_controlled_win_rate_is_not_defined(
    canonical, difficulties, tmp_path
):
    turned = [canonical[1], canonical[0], *canonical[2:]]
    for rows in (canonical[:-1], turned, [*canonical, row("one more", "a", "b")]):
        found = length_controlled(rows, difficulties, **few)
        assert (found.win_rate, found.low, found.undefined) == (None, None, lc.NOT_CANONICAL)
    twice = [*canonical, row("instruction 3", "another", "answer")]
    assert length_controlled(twice, difficulties, **few).win_rate is None
    assert length_controlled(canonical, None, **few).win_rate is None
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"other\.csv is not AlpacaEval's"):
        length_controlled(canonical, tmp_path / "other.csv", **few)


def test_longest_gives_each_pair_one_verdict():
    rows = [row("i", "aa", "b", 2), row("i", "aa", "b", 1), row("j", "a", "bb"), row("k", "a", "b")]
    found = lc.under_longest(rows)
    assert [(r.instruction, r.preference) for r in found] == [("i", 1), ("j", 2), ("k", 1.5)]
