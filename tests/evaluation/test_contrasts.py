"""Differences between cells: what is asked, what comes of it, and what is left out."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mini_lima.errors import UserError
from mini_lima.evaluation.contrasts import of_scores, of_verdicts
from mini_lima.evaluation.declared_contrasts import parse
from mini_lima.evaluation.measuring import Scores, Unit
from mini_lima.statistics import holm
from tests.evaluation.asked import contrasts, found
from tests.statistics.rows import row

few = {"seed": 0, "samples": 300}
ARMS = ("baseline", "naive", "improved")


def rows(preferences):
    """A verdict on each of the instructions 0, 1, … in one order, of a cell with one seed."""
    return [[row(k, preference, first=True) for k, preference in enumerate(preferences)]]


def drawn(rng, n, *shares):
    return [rows((1 + (rng.uniform(size=n) < share)).tolist()) for share in shares]


def grid(rng, n=200, **shares):
    """Both models' cells; ``shares`` are the win rates of (baseline, naive, improved)."""
    return {
        (model, arm): own
        for model, rates in shares.items()
        for arm, own in zip(ARMS, drawn(rng, n, *rates), strict=True)
    }


def named(found):
    return {contrast.name: contrast for contrast in found}


def test_the_grid_is_asked_every_question_once():
    cells = grid(np.random.default_rng(0), 30, small=(0.5,) * 3, large=(0.5,) * 3)
    found = contrasts(cells, **few)
    assert [(c.kind, c.name) for c in found] == [
        ("sft", "small: naive − baseline"),
        ("sft", "small: improved − baseline"),
        ("sft", "large: naive − baseline"),
        ("sft", "large: improved − baseline"),
        ("data", "small: improved − naive"),
        ("data", "large: improved − naive"),
        ("interaction", "(improved − naive): small − large"),
    ]
    assert [c.p_holm for c in found] == pytest.approx(holm([c.p_value for c in found]))
    json.dumps([asdict(c) for c in found], allow_nan=False)


def test_what_is_there_is_found_and_what_is_not_is_not():
    cells = grid(np.random.default_rng(1), 400, small=(0.3, 0.3, 0.6), large=(0.5, 0.2, 0.2))
    found = named(contrasts(cells, **few))
    assert found["small: naive − baseline"].verdict == "cannot tell"
    assert found["small: improved − naive"].verdict == "better"
    assert found["large: naive − baseline"].verdict == "worse"
    interaction = found["(improved − naive): small − large"]
    assert interaction.verdict == "better"
    assert interaction.low < 30 < interaction.high
    unsure = found["large: improved − naive"]
    assert unsure.words.startswith("cannot tell: ")
    assert f"{unsure.detectable:.1f} points" in unsure.words


def test_by_hand():
    found = named(
        contrasts(
            {
                ("m", "baseline"): rows([1, 1, 2, None, 1]),
                ("m", "naive"): rows([2, 1, 2, 2, 1.5]),
            },
            **few,
        )
    )["m: naive − baseline"]
    assert (found.difference, found.n) == (100 * 1.5 / 4, 4)
    assert found.p_value == 0.5  # two differences above 0: two of four signs do as well
    assert (found.lowest, found.highest) == (100 * 1.5 / 5, 100 * 2.5 / 5)


def test_a_contrast_is_left_out_for_what_its_own_cells_do_not_share_and_the_others_are_made():
    cells = grid(np.random.default_rng(0), 20, a=(0.5,) * 3, b=(0.5,) * 3, c=(0.5,) * 3)
    for arm in ARMS:
        cells["c", arm] = [cells["c", arm][0][:10]]
    settings = {cell: {"orders": "random" if cell[0] == "b" else "both"} for cell in cells}
    told = found([of_verdicts("judge", cells, settings=settings)], cells, **few)
    assert len(told.contrasts) == 3 * 3
    reasons = {each.name: each.reason for each in told.left_out}
    assert list(reasons) == [f"(improved − naive): {pair}" for pair in ("a − b", "a − c", "b − c")]
    a_b, a_c, b_c = reasons.values()
    assert "orders: both and random" in a_b
    assert "c improved was asked 10 instructions and a improved 20, 10 of them the same" in a_c
    assert "orders" in b_c


def test_only_what_is_declared_is_asked_if_anything_is():
    cells = {
        ("m", arm): rows([1 + (k % n == 0) for k in range(40)]) for n, arm in enumerate(ARMS, 2)
    }
    asked = ["naive - baseline", "(improved - naive) - (naive - baseline)", "other - naive"]
    one, second = contrasts(cells, declared=asked, **few)
    assert (one.name, one.family, one.kind) == ("m: naive − baseline", 2, "sft")
    assert (second.name, second.kind) == (
        "m: (improved − naive) − (naive − baseline)",
        "interaction",
    )
    assert second.terms == {"improved": 1, "naive": -2, "baseline": 1}
    by_name = {c.name: c.difference for c in contrasts(cells, **few)}
    effects = by_name["m: improved − naive"], by_name["m: naive − baseline"]
    assert second.difference == pytest.approx(effects[0] - effects[1])


def test_what_is_no_contrast_is_refused_in_a_line():
    for text in ("", "naive", "a-b", "a - b - c", "(a - b)", "a - a", "(a - b) - (a - b)", "a -"):
        with pytest.raises(UserError, match=r"^contrasts: [^\n]*$"):
            parse(text)
    with pytest.raises(UserError, match=r"is the same as a - c: write that"):
        parse("(a - b) - (c - b)")


preferences = st.lists(st.sampled_from([1, 1.5, 2, None]), min_size=6, max_size=6)


@settings(max_examples=20)
@given(cells=st.tuples(preferences, preferences, preferences), data=st.data())
def test_swap_permutation_and_duplication(cells, data):
    order = data.draw(st.permutations(range(6)))
    base, naive, improved = cells
    assume(any(None not in pair for pair in zip(naive, improved, strict=True)))

    def data_effect(naive, improved):
        found = contrasts({("m", "naive"): naive, ("m", "improved"): improved}, **few)
        (only,) = found
        return only

    found = data_effect(rows(naive), rows(improved))
    swapped = data_effect(rows(improved), rows(naive))
    assert swapped.p_value == found.p_value
    assert swapped.difference == pytest.approx(-found.difference)
    assert swapped.lowest == pytest.approx(-found.highest)
    shuffled = data_effect([[rows(naive)[0][k] for k in order]], rows(improved))
    twice = data_effect([rows(naive)[0] * 2], [rows(improved)[0] * 3])
    for other in (shuffled, twice):
        assert other.difference == pytest.approx(found.difference)
        assert (other.n, other.p_value) == (found.n, found.p_value)
    three = {("m", m): rows(c) for m, c in zip(ARMS, (base, naive, improved), strict=True)}
    slack = 1e-9
    for contrast in contrasts(three, **few):
        assert contrast.lowest - slack <= contrast.highest
        assert contrast.low is None or contrast.low <= contrast.difference + slack
        assert contrast.high is None or contrast.difference <= contrast.high + slack


def scored(values, failed=()):
    """A row of scores.jsonl on each of the instructions 0, 1, …"""
    return [
        [
            Scores(str(k), 0, {"words": value}, ["words"] if k in failed else [], [])
            for k, value in enumerate(values)
        ]
    ]


def test_a_metric_goes_through_the_same_contrasts_in_its_own_unit_and_direction():
    longer = [20.0 + k % 3 for k in range(40)]
    cells, verdicts = {("m", "baseline"): scored([10.0] * 40), ("m", "naive"): scored(longer)}, {}
    for better in ("higher", "lower", None):
        measure = of_scores("words", Unit("words", better), cells)
        (contrast,) = found([measure], cells, **few).contrasts
        assert contrast.difference == pytest.approx(np.mean(longer) - 10)
        verdicts[better] = contrast.verdict
    assert verdicts == {"higher": "better", "lower": "worse", None: "higher"}
    cells = {
        ("m", "baseline"): scored([1.0, None, 1.0, None], failed=(1,)),
        ("m", "naive"): scored([1.0, 0.0, 0.0, None]),
    }
    measure = of_scores("words", Unit("percent", "higher"), cells)
    (contrast,) = found([measure], cells, **few).contrasts
    assert (contrast.difference, contrast.n) == (-50, 2)
    # The one that failed could have been anything; the last instruction plays no part.
    assert (contrast.lowest, contrast.highest) == pytest.approx((-200 / 3, -100 / 3))


def test_what_was_trained_on_is_taken_from_all_cells_alike():
    cells = {("m", arm): rows([1, 1, 2, 1, 1]) for arm in ARMS}
    cells["m", "improved"] = rows([2, 2, 2, 1, 1])
    told = found([of_verdicts("judge", cells)], cells, hits={"improved": {"0", "1"}}, **few)
    clean = {c.name.partition(": ")[2]: c.without_hits for c in told.contrasts}
    assert clean.pop("naive − baseline") is None
    assert {(each.difference, each.n) for each in clean.values()} == {(0, 3)}


def test_failures_can_undo_a_verdict_and_what_has_none_is_not_compared():
    cells = {
        ("m", "baseline"): rows([1] * 30 + [None] * 70),
        ("m", "naive"): rows([2] * 30 + [1] * 70),
    }
    (only,) = contrasts(cells, **few)
    assert (only.verdict, only.lowest) == ("better", -40)
    assert "failed could undo it" in only.words
    assert contrasts(cells | {("m", "baseline"): rows([None] * 3)}, **few) == []
    assert contrasts({("m", "naive"): cells["m", "naive"]}, **few) == []
