"""The arms that ship, made of the recorded replies: what they are compared for is what they differ in."""

from collections.abc import Callable
from statistics import fmean

import pytest

from mini_lima import pipeline
from mini_lima.data.examples import Example, read_examples
from mini_lima.data.mixing import PREFIX
from mini_lima.data.subsets import token_counts
from mini_lima.store.stages import Store, walk
from tests.composing import configured

Make = Callable[[str], list[Example]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    root = tmp_path_factory.mktemp("store")

    def make(arm: str) -> list[Example]:
        config = configured("experiment=embedded", f"data={arm}", f"store={root}")
        stages = walk(pipeline.build_cell(config, {}).last)
        [*_, last] = [stage for stage in stages if stage.name == "data"]
        return read_examples(Store(root).build(last))

    return make


def mean_length(examples: list[Example]) -> float:
    return fmean(len(each.output) for each in examples)


def test_cut_back_outputs_begin_as_improved_ones_and_are_as_long_as_naive_ones(made: Make) -> None:
    naive, improved = ({e.id: e.output for e in made(arm)} for arm in ("naive", "improved"))
    cut = made("improved_cut")
    assert len(cut) > 0.95 * len(improved)
    for each in cut:
        assert improved[each.id].startswith(each.output)
        assert len(each.output) <= len(naive[each.id])
        assert [was.output for was in each.earlier] == [naive[each.id], improved[each.id]]
    assert mean_length(cut) > 0.9 * fmean(len(naive[each.id]) for each in cut)


def test_the_halves_differ_in_length_alone(made: Make) -> None:
    halves = [made(f"improved_{which}") for which in ("shortest", "random", "longest")]
    assert len({len(half) for half in halves}) == 1
    lengths = [mean_length(half) for half in halves]
    assert lengths == sorted(lengths)
    assert not {e.id for e in halves[0]} & {e.id for e in halves[2]}


def test_size_and_share_are_those_that_the_file_says(made: Make) -> None:
    naive, improved = made("naive"), made("improved")
    room = sum(token_counts(naive)) - sum(token_counts(made("improved_same_tokens")))
    assert 0 <= room < min(token_counts(improved))
    mixed = made("improved_mixed")
    assert len(mixed) == len(improved)
    as_naive = [each for each in mixed if not each.earlier]
    assert len(as_naive) == pytest.approx(len(mixed) / 2, abs=0.5)
    assert {each.output for each in as_naive} <= {each.output for each in naive}
    assert len({each.id.removeprefix(PREFIX) for each in mixed}) == len(mixed)
    assert {each.id for each in made("improved_clean")} <= {each.id for each in improved}
