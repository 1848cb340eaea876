"""Results and records of cells, made up: what is not given is ordinary."""

from dataclasses import replace

from mini_lima.results import (
    BASELINE,
    Agreement,
    CellRecord,
    Consistency,
    DataSet,
    Health,
    Judged,
    Judgement,
    LengthControlled,
    Measurement,
    PairedDifference,
    Result,
    SameLength,
    Training,
    VarianceSplit,
)

NAIVE = {"self_instruct": {"pairs_per_prompt": 6}}
STEPS = {"naive": NAIVE, "improved": NAIVE | {"lengthen": {"prompt": "4"}}}
RECIPE = {"optimizer.lr": 1e-5, "evaluation.max_new_tokens": 100, "annotator.orders": "both"}
NOTHING = PairedDifference(None, None, None, 0)


def judged(win_rate=8.08, generator="small-baseline", annotator="judge-1", **changes):
    known = win_rate is not None
    made = Judged(
        win_rate=win_rate,
        standard_error=2.5 if known else None,
        low=win_rate - 5 if known else None,
        high=win_rate + 5 if known else None,
        n_total=46,
        n_failed=2,
        low_if_failures_lose=7.0,
        high_if_failures_win=12.0,
        generator=generator,
        reference="ref-1",
        annotator=annotator,
        judge={"name": annotator},
        orders="both",
        repeats=1,
        incomplete=False,
        consistency=Consistency(47.0, 23, 8.0, 23, 39.0, 30.0, 48.0, 40.0, 23, 10.0, None, 0, ()),
        variance=VarianceSplit(0.1, 0.1, None, 24),
        same_length=SameLength(None, None, None, None, 0, 0, None, None, ratio=1.25, n_pairs=0),
        length_controlled=LengthControlled(21.25, 20.0, 22.5, None),
        failures={"no verdict in the reply": 2},
        avg_length=123.0,
        avg_length_reference=150.0,
    )
    return replace(made, **changes)


def health(n=24, cut=3, warnings=()):
    return Health(n, {"cut_at_limit": cut, "empty": 0}, 120.0, 30.0, list(warnings))


def judgement(baseline=8.08, sft=14.55, key="annotator", agreement=None, model="small", **changes):
    name = changes.get("annotator", "judge-1")
    return Judgement(
        key=key,
        name=name,
        baseline=judged(baseline, f"{model}-baseline", **changes),
        sft=judged(sft, model, **changes),
        agreement=agreement,
    )


def result(model="small", arm="naive", *, judges=None, parameters=1, seed=0, metrics=(), **changes):
    judges = [judgement(model=model)] if judges is None else judges
    sides = ((BASELINE, None, "baseline"), (arm, seed, "sft"))
    rows = [
        Measurement(
            *(model, own, number, judge.measure, "percent", found.win_rate, found.low, found.high),
            *(found.n_total, found.n_failed, "higher", True),
        )
        for judge in judges
        for own, number, which in sides
        for found in [getattr(judge, which)]
    ]
    rows += [
        Measurement(model, own, number, name, unit, value, value - 1, value + 1, 24, 0)
        for name, unit, values in metrics
        for (own, number, _), value in zip(sides, values, strict=True)
    ]
    differences = {judge.measure: PairedDifference(6.47, -1.25, 14.2, 38) for judge in judges}
    differences |= {
        name: PairedDifference(values[1] - values[0], -1.0, 9.0, 24) for name, _, values in metrics
    }
    made = Result(
        model=model,
        arm=arm,
        confidence=0.95,
        bootstrap_samples=200,
        seed=0,
        data=DataSet(16, 120.5),
        training=Training(parameters, 16, 10, 900, 5.0, 0.5),
        health={"baseline": health(), "sft": health()},
        judges=judges,
        measurements=rows,
        differences=differences,
    )
    return replace(made, **changes)


def cell(model="small", arm="naive", *, seed=0, overrides=(), recipe=RECIPE, **changes):
    found = changes.pop("result", None) or result(model, arm, seed=seed)
    made = CellRecord(
        model=model,
        arm=arm,
        seed=seed,
        overrides=[f"model={model}", f"data={arm}", *overrides],
        config={"model": {"name": model, "weights": "pretrained"}, "sft": {"seed": seed}},
        status="finished",
        exit_code=0,
        recipe=dict(recipe),
        steps=STEPS.get(arm, NAIVE | {arm: {"ratio": 0.5}}),
        fingerprint=f"{model} {arm} {seed} {sorted(dict(recipe).items())}",
        result=found,
        folder=f"{model}-{arm}",
        sweep="sweep",
    )
    return replace(made, **changes)


def unfinished(status, reason=None, **about):
    """A cell that has no result."""
    return replace(cell(**about), status=status, exit_code=1, reason=reason, result=None)


AGREEMENT = Agreement(("judge-1", "judge-2"), 81.5, 0.25, 46)
