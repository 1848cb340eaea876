"""What a plan says must be what the run then does."""

from unittest.mock import ANY

import pytest
from tests.chat.server import Answer, FakeOpenAI
from tests.composing import configured
from tests.data.teachers import Teacher

from mini_lima import cell, pipeline
from mini_lima.experience import Amount
from mini_lima.files import read_json
from mini_lima.plan import Plan
from mini_lima.report.page.figures import duration
from mini_lima.stages import Store, walk

PRICES = "{input: 1, output: 10}"
SEEDS = 24


@pytest.fixture
def laid_out(tmp_path, monkeypatch):
    """Lay out a cell with a live teacher and judge; returns its stages by label."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    def lay_out(server, *overrides):
        config = configured(
            *("experiment=embedded", "teacher=openai", "annotator=chatgpt", "tracking=disabled"),
            f"store={tmp_path / 'store'}",
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
        stages = walk([pipeline.build_cell(config, {}).last])
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
        stages, store = laid_out(server, "data.filters.near_duplicate=false")
        plan, calls = planned(stages, store)
        most = SEEDS // 6 + SEEDS + SEEDS
        assert calls["naive"].requests == most
        assert calls["improved"].requests == SEEDS * (1 + 2) + SEEDS * 5
        assert plan.total().usd_high > plan.total().usd_low > 0

        naive = next(stage for stage in stages if stage.label == "naive")
        store.build(naive)
        assert len(server.calls) == most
        _, now = planned(stages, store)
        assert "naive" not in now, "it is done"
        improved = next(stage for stage in stages if stage.label == "improved")
        store.build(improved)
        assert len(server.calls) - most == now["improved"].requests


def test_what_is_answered_already_is_not_planned_again(laid_out):
    with FakeOpenAI(Teacher(new=lambda asked: Answer(503))) as server:
        stages, store = laid_out(server, "data.filters.near_duplicate=false")
        before = planned(stages, store)[1]["naive"].requests
        naive = next(stage for stage in stages if stage.label == "naive")
        with pytest.raises(Exception, match="answered and kept"):
            store.build(naive)
        assert planned(stages, store)[1]["naive"].requests == before - SEEDS // 6 - SEEDS


@pytest.mark.parametrize(
    ("budget", "said"), [(1000, "is enough"), (0.0001, "cannot be enough"), (0.8, "may not")]
)
def test_a_plan_says_whether_the_budget_is_enough(laid_out, budget, said):
    with FakeOpenAI(Teacher()) as server:
        plan, _ = planned(*laid_out(server), budget=budget)
    assert said in plan.notes()[-1]


def test_costs_that_are_not_known_are_not_made_up(laid_out):
    with FakeOpenAI(Teacher()) as server:
        stages, store = laid_out(
            server, "teacher.prices={input: null, output: null}", "teacher.model=unheard-of"
        )
        plan, _ = planned(stages, store)
    assert plan.lines()[-1][-1] == "not known"
    assert any("not known" in note for note in plan.notes())


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store with a first, small cell in it, built for real; and how to plan others on it."""

    tmp_path = tmp_path_factory.mktemp("built")

    def lay_out(*overrides):
        config = configured(
            *("experiment=embedded", "tracking=disabled", f"store={tmp_path / 'store'}"),
            *("sft.epochs=1", "evaluation.limit=4", "evaluation.max_new_tokens=8"),
            *("model=qwen-tiny", "data=naive", *overrides),
        )
        return config, walk([pipeline.build_cell(config, {}).last])

    config, stages = lay_out()
    assert cell.run(config, {"sft": {"seed": 0}}, [], tmp_path / "cell") == 0
    store = Store(tmp_path / "store")

    def plan(*overrides):
        found = Plan()
        found.add("cell", lay_out(*overrides)[1], store)
        return found, {row.stage.name: row for row in found.rows.values() if not row.done}

    return plan, store, {stage.name: stage for stage in stages}


def test_what_earlier_runs_took_tells_tokens_and_time_of_the_next(built):
    plan, store, first = built
    summary = read_json(store.path(first["sft"]) / "summary.json")
    took = read_json(store.path(first["sft"]) / "stage.json")["provenance"]["seconds"]

    found, rows = plan("seed=1")
    assert set(rows) == {"sft", "outputs", "annotations", "result"}
    assert rows["sft"].tokens == Amount(summary["tokens"])
    assert rows["sft"].seconds.value == pytest.approx(took)
    assert found.lines()[-1][3:5] == (f"{summary['tokens'] / 1000:,.0f}k", ANY)
    assert all(row.seconds.value > 0 for row in rows.values())
    total = sum(row.seconds.value for row in rows.values())
    assert found.lines()[-1][4] == duration(total)

    twice = plan("seed=1", "sft.epochs=2")[1]["sft"]
    assert twice.tokens == Amount(2 * summary["tokens"])
    assert twice.seconds.value == pytest.approx(2 * took)
    longer = plan("seed=1", "evaluation.limit=8")[1]
    assert longer["outputs"].seconds.value == pytest.approx(2 * rows["outputs"].seconds.value)


def test_data_that_are_still_to_be_made_are_forecast_and_other_work_has_no_time(built):
    plan, store, first = built
    tokens = read_json(store.path(first["sft"]) / "summary.json")["tokens"]

    found, rows = plan("data=improved")
    assert rows["sft"].tokens == Amount(pytest.approx(tokens, rel=0.01), at_least=True)
    assert "≥" in found.lines()[-1][3]

    # Less data of the same kind, not made: as many examples as there can be, about as long.
    fewer = plan("data.instances_per_new_task=2")[1]["sft"].tokens
    assert 0.4 * tokens < fewer.value < 0.9 * tokens
    assert not fewer.at_least

    for other in ("model=qwen-mini", "deepspeed=zero1", "launch.processes=2"):
        found, rows = plan(other)
        assert rows["sft"].seconds is None, other
        assert (
            "not known"
            in {line[1]: line for line in found.lines()}[f"sft {rows['sft'].stage.label}"][4]
        )
        assert any("time of sft" in note for note in found.notes())
    assert found.lines()[-1][4].startswith("≥ ")


def test_without_any_earlier_run_tokens_are_guessed_and_no_time_is(tmp_path):
    config = configured(
        "experiment=embedded", "data=naive", "tracking=disabled", f"store={tmp_path / 'store'}"
    )
    plan = Plan()
    plan.add("cell", walk([pipeline.build_cell(config, {}).last]), Store(tmp_path / "store"))
    [sft] = [row for row in plan.rows.values() if row.stage.name == "sft"]
    assert 3 * 10_000 < sft.tokens.value < 3 * 40_000  # three epochs of some 190 examples
    assert plan.lines()[-1][4] == "not known"
