"""What tells cells apart: values that change results, from the stages of real configurations."""

from mini_lima import pipeline
from mini_lima.experiment.recipe import one_step_apart, recipe_of, steps_of
from tests.composing import configured


def made_by(tmp_path, *overrides):
    config = configured("experiment=embedded", f"store={tmp_path / 'store'}", *overrides)
    cell = pipeline.build_cell(config, {})
    return recipe_of(cell.parts, cell.judges), steps_of(cell.parts["data"])


def test_a_value_counts_and_not_how_it_was_written_nor_what_changes_nothing(tmp_path):
    plain, _ = made_by(tmp_path, "optimizer.lr=0.0001")
    same = ["optimizer.lr=1e-4", "evaluation.batch_size=3", "launch.threads=1", "seed=7"]
    assert made_by(tmp_path, *same, "data=naive")[0] == plain
    assert plain["optimizer.lr"] == 1e-4
    other, _ = made_by(tmp_path, "optimizer.lr=0.0001", "evaluation.max_new_tokens=9")
    assert {key for key in plain if plain[key] != other[key]} == {"evaluation.max_new_tokens"}


def test_arms_are_told_apart_by_their_steps(tmp_path):
    _, naive = made_by(tmp_path, "data=naive")
    _, improved = made_by(tmp_path, "data=improved")
    assert list(naive) == ["self_instruct"]
    assert list(improved) == ["self_instruct", "lengthen"]
    assert naive["self_instruct"] == improved["self_instruct"]
    assert one_step_apart(naive, improved)
    assert one_step_apart(improved, naive)
    _, changed = made_by(tmp_path, "data=naive", "data.steps.self_instruct.pairs_per_prompt=3")
    assert one_step_apart(naive, changed)
    assert not one_step_apart(improved, changed)
    assert not one_step_apart(naive, naive)
