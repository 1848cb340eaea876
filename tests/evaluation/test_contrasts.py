import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mini_lima.errors import UserError
from mini_lima.evaluation.contrasts import contrasts
from mini_lima.evaluation.length import under_longest
from mini_lima.evaluation.statistics import holm

few = {"seed": 0, "samples": 300}
METHODS = ("baseline", "naive", "improved")


def rows(preferences, *, first=True, annotator="judge"):
    """A verdict on each of the instructions 0, 1, … in one order."""
    return [
        {
            "instruction": str(k),
            "model_first": first,
            "annotator": annotator,
            "preference": preference,
        }
        for k, preference in enumerate(preferences)
    ]


def drawn(rng, n, *shares):
    return [rows((1 + (rng.uniform(size=n) < share)).tolist()) for share in shares]


def grid(rng, n=200, **shares):
    """Both models' cells; ``shares`` are the win rates of (baseline, naive, improved)."""
    return {
        (model, method): found
        for model, rates in shares.items()
        for method, found in zip(METHODS, drawn(rng, n, *rates), strict=True)
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


def test_what_is_not_there_is_not_asked():
    cells = grid(np.random.default_rng(0), 30, small=(0.5,) * 3, large=(0.5,) * 3)
    del cells["large", "naive"]
    assert [c.kind for c in contrasts(cells, **few)] == ["sft", "sft", "sft", "data"]
    assert contrasts({}, **few) == []
    assert contrasts({("small", "naive"): cells["small", "naive"]}, **few) == []


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


def test_failures_can_undo_a_verdict_and_it_says_so():
    cells = {
        ("m", "baseline"): rows([1] * 30 + [None] * 70),
        ("m", "naive"): rows([2] * 30 + [1] * 70),
    }
    (found,) = contrasts(cells, **few)
    assert (found.verdict, found.lowest) == ("better", -40)
    assert "failed could undo it" in found.words


def test_equal_cells_differ_in_nothing():
    cells = {("m", "baseline"): rows([1, 2] * 20), ("m", "naive"): rows([1, 2] * 20)}
    (found,) = contrasts(cells, **few)
    assert (found.difference, found.p_value, found.verdict) == (0, 1, "cannot tell")
    assert found.detectable is None


def test_a_cell_without_any_verdict_decides_nothing():
    (found,) = contrasts(
        {("m", "baseline"): rows([None] * 3), ("m", "naive"): rows([2] * 3)}, **few
    )
    assert (found.difference, found.n, found.verdict) == (None, 0, "cannot tell")


def test_each_annotator_that_judged_all_cells_has_a_family():
    both = [*rows([1, 2, 1]), *rows([2, 2, 2], annotator="other")]
    found = contrasts({("m", "baseline"): both, ("m", "naive"): both}, **few)
    assert [c.annotator for c in found] == ["judge", "other"]
    one = contrasts({("m", "baseline"): both, ("m", "naive"): rows([1, 2, 1])}, **few)
    assert [c.annotator for c in one] == ["judge"]


def test_cells_of_different_sets_cannot_be_compared():
    with pytest.raises(UserError, match="m naive was judged on 2 instructions and m baseline on 3"):
        contrasts({("m", "baseline"): rows([1] * 3), ("m", "naive"): rows([1] * 2)}, **few)


def test_length_alone_goes_through_the_same_contrasts():
    def answered(length):
        return [
            {**row, "output_1": "a" * 10, "output_2": "b" * (length + k % 3)}
            for k, row in enumerate(rows([1] * 40))
        ]

    cells = {("m", "baseline"): answered(4), ("m", "improved"): answered(20)}
    (asked,) = contrasts(cells, **few)
    (alone,) = contrasts({cell: under_longest(found) for cell, found in cells.items()}, **few)
    assert (asked.difference, alone.difference) == (0, 100)
    assert (alone.annotator, alone.verdict) == ("longest", "better")


preferences = st.lists(st.sampled_from([1, 1.5, 2, None]), min_size=6, max_size=6)


@settings(deadline=None, max_examples=40)
@given(cells=st.tuples(preferences, preferences, preferences), data=st.data())
def test_swap_permutation_and_duplication(cells, data):
    order = data.draw(st.permutations(range(6)))
    base, naive, improved = cells

    def data_effect(naive, improved):
        found = contrasts({("m", "naive"): naive, ("m", "improved"): improved}, **few)
        (only,) = found
        return only

    found = data_effect(rows(naive), rows(improved))
    swapped = data_effect(rows(improved), rows(naive))
    assert swapped.p_value == found.p_value
    if found.difference is not None:
        assert swapped.difference == pytest.approx(-found.difference)
        assert swapped.lowest == pytest.approx(-found.highest)
    shuffled = data_effect([rows(naive)[k] for k in order], rows(improved))
    twice = data_effect(rows(naive) * 2, rows(improved) * 3)
    for other in (shuffled, twice):
        assert other.difference == pytest.approx(found.difference)
        assert (other.n, other.p_value) == (found.n, found.p_value)
    three = {("m", m): rows(c) for m, c in zip(METHODS, (base, naive, improved), strict=True)}
    for contrast in contrasts(three, **few):
        if contrast.difference is not None:
            slack = 1e-9
            assert contrast.lowest - slack <= contrast.highest
            assert contrast.low is None or contrast.low <= contrast.difference + slack
            assert contrast.high is None or contrast.difference <= contrast.high + slack
