"""What a plan says must be what the run then does."""

import pytest

from mini_lima import pipeline
from mini_lima.experiment import plan_table
from mini_lima.experiment.plan import Plan
from mini_lima.store.stages import Stage, Store, walk
from tests.chat.server import Answer, FakeOpenAI
from tests.composing import configured
from tests.data.teachers import Teacher

PRICES = "{input: 1, output: 10}"
SEEDS = 24


@pytest.fixture
def laid_out(tmp_path, monkeypatch):
    """Lay out a cell with a live teacher and judge; returns its stages by label."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    def lay_out(server, *overrides):
        config = configured(
            *("experiment=embedded", "teacher=openai", "annotator=chatgpt", "tracking=disabled"),
            *(f"store={tmp_path / 'store'}", "data.least_used=0"),
            *(
                f"{chat}.{key}"
                for chat in ("teacher", "annotator.chat")
                for key in (
                    f"base_url={server.base_url}",
                    f"prices={PRICES}",
                    "max_retries=0",
                )
            ),
            *overrides,
        )
        stages = walk(pipeline.build_cell(config, {}).last)
        return stages, Store(tmp_path / "store")

    return lay_out


def planned(stages, store, budget=None):
    plan = Plan()
    plan.budget_usd = budget
    plan.add("cell", stages, store)
    calls = {row.stage.label: row.calls for row in plan.rows.values() if row.calls}
    return plan, calls


def test_the_calls_of_a_plan_are_those_that_are_then_made_and_their_cost_is_within_its_range(
    laid_out,
):
    with FakeOpenAI(Teacher()) as server:
        stages, store = laid_out(server, "data.steps.self_instruct.filters.near_duplicate=false")
        plan, calls = planned(stages, store)
        most = SEEDS // 6 + SEEDS + SEEDS
        assert calls["self_instruct"].requests == most
        assert calls["lengthen"].requests == SEEDS * (1 + 2) + SEEDS * 5
        assert plan.total().usd_high > plan.total().usd_low > 0

        naive = next(stage for stage in stages if stage.label == "self_instruct")
        store.build(naive)
        assert len(server.calls) == most
        _, now = planned(stages, store)
        assert "self_instruct" not in now, "it is done"
        improved = next(stage for stage in stages if stage.label == "lengthen")
        store.build(improved)
        assert len(server.calls) - most == now["lengthen"].requests


def test_what_is_answered_already_is_not_planned_again(laid_out):
    with FakeOpenAI(Teacher(new=lambda asked: Answer(503))) as server:
        stages, store = laid_out(server, "data.steps.self_instruct.filters.near_duplicate=false")
        before = planned(stages, store)[1]["self_instruct"].requests
        naive = next(stage for stage in stages if stage.label == "self_instruct")
        with pytest.raises(Exception, match="answered and kept"):
            store.build(naive)
        assert planned(stages, store)[1]["self_instruct"].requests == before - SEEDS // 6 - SEEDS


@pytest.mark.parametrize(
    ("budget", "said"), [(1000, "is enough"), (0.0001, "cannot be enough"), (0.8, "may not")]
)
def test_a_plan_says_whether_the_budget_is_enough(laid_out, budget, said):
    with FakeOpenAI(Teacher()) as server:
        plan, _ = planned(*laid_out(server), budget=budget)
    assert said in plan_table.notes(plan)[-1]


def noted(output_dir, of=""):
    pass


def test_a_plan_names_the_cells_that_share_a_stage(tmp_path):
    plan, store = Plan(), Store(tmp_path)
    for cell in "abcde":
        some = [] if cell == "c" else ["some"]
        names = ["all", *some, cell]
        plan.add(cell, [Stage("work", name, noted, {"of": name}) for name in names], store)
    users = {line[1]: line[2] for line in plan_table.lines(plan)}
    assert users["work all"] == "5 of 5"
    assert users["work some"] == "4 of 5: 1–2, 4–5"
    assert users["work c"] == "1 of 5: 3"
    assert plan_table.notes(plan)[:5] == [
        f"Cell {number}: {cell}" for number, cell in enumerate("abcde", 1)
    ]


def test_without_any_earlier_run_tokens_are_guessed_and_no_time_is(tmp_path):
    config = configured(
        "experiment=embedded", "data=naive", "tracking=disabled", f"store={tmp_path / 'store'}"
    )
    plan = Plan()
    plan.add("cell", walk(pipeline.build_cell(config, {}).last), Store(tmp_path / "store"))
    [sft] = [row for row in plan.rows.values() if row.stage.name == "sft"]
    assert 3 * 10_000 < sft.tokens.value < 3 * 40_000  # three epochs of some 190 examples
    assert plan_table.lines(plan)[-1][4] == "not known"
