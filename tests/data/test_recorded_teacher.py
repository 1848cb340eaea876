"""The shipped cassette answers both methods whole, as `conf/` lays them out."""

from collections import Counter
from pathlib import Path

import pytest

from mini_lima.data.examples import Example, read_examples
from mini_lima.pipeline import build_cell
from mini_lima.store.stages import Store, walk
from tests.composing import configured
from tests.data.conftest import DataSet


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DataSet]:
    root = tmp_path_factory.mktemp("recorded")
    config = configured("experiment=embedded", "data=improved", f"store={root}")
    store = Store(root)
    (improved,) = (
        s for s in walk(build_cell(config, {}).last) if (s.name, s.label) == ("data", "lengthen")
    )
    folders = {"improved": store.build(improved), "naive": store.path(improved.inputs["data"])}
    return {name: DataSet(path, root / "responses.sqlite") for name, path in folders.items()}


def test_it_answers_the_whole_of_both_methods(built: dict[str, DataSet]) -> None:
    assert Counter(each.source for each in built["naive"].examples) == {
        "seed": 24,
        "prompt 2": 48,
        "prompt 3": 119,
    }
    assert Counter(each.source for each in built["improved"].examples) == {"lengthen": 186}
    rejected = {reject["asked_for"] for reject in built["improved"].rejects}
    ids = [each.id for each in built["naive"].examples]
    assert [each.id for each in built["improved"].examples] == [
        id for id in ids if id not in rejected
    ]
    assert len(set(ids)) == 191


def test_its_few_imperfections_are_all_accounted_for(built: dict[str, DataSet]) -> None:
    assert built["naive"].reasons == {
        "prompt 1: more tasks than wanted": 4,
        "prompt 3: 1 of 5 instances missing": 1,
        "prompt 3: wrong_number": 1,
    }
    assert built["improved"].reasons == {"lengthen: scaffold": 5}
    assert all(reject["text"].startswith("Output:") for reject in built["improved"].rejects)


def test_sixty_seed_tasks_are_answered_whole_too_from_a_recording_of_their_own(
    tmp_path: Path,
) -> None:
    config = configured(
        *("experiment=embedded", "data=improved", f"store={tmp_path}"),
        "data.seeds=embedded:seed_tasks_60.jsonl",
        "teacher.cassette=embedded:recorded_teacher_60.jsonl",
    )
    stages = walk(build_cell(config, {}).last)
    improved = next(s for s in stages if (s.name, s.label) == ("data", "lengthen"))
    made = read_examples(Store(tmp_path).build(improved))
    naive = read_examples(Store(tmp_path).path(improved.inputs["data"]))
    assert (len(naive), len(made)) == (478, 470)


def test_the_arms_that_ship_differ_in_what_they_are_compared_for(built: dict[str, DataSet]) -> None:
    root = built["improved"].folder.parents[1]
    naive, improved = (
        {e.id: e.output for e in built[arm].examples} for arm in ("naive", "improved")
    )

    def made(arm: str) -> list[Example]:
        config = configured("experiment=embedded", f"data={arm}", f"store={root}")
        [*_, last] = [s for s in walk(build_cell(config, {}).last) if s.name == "data"]
        return read_examples(Store(root).build(last))

    cut = made("improved_cut")
    assert len(cut) > 0.95 * len(improved)
    for each in cut:
        assert improved[each.id].startswith(each.output)
        assert len(each.output) <= len(naive[each.id])
    mixed = made("improved_mixed")
    assert len(mixed) == len(improved)
    assert sum(not each.earlier for each in mixed) == pytest.approx(len(mixed) / 2, abs=0.5)
