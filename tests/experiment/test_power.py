import json
import re
from itertools import combinations

import numpy as np
import pytest

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.evaluation.contrasts import questions
from mini_lima.experiment.power import (
    Noise,
    designs,
    family_size,
    noise_of_annotator,
    noise_of_folders,
)
from mini_lima.results import BASELINE
from mini_lima.statistics import (
    detectable,
    paired_difference,
    sign_flip_p,
)
from tests.statistics.known_judges import Judge


def noise_of(judge):
    """Of two models that share what makes an instruction hard: only orders and repeats differ."""
    _, _, repeats = judge.variances
    return Noise(0.0, 0.0, 2 * repeats, "a simulated judge")


@pytest.mark.parametrize(("orders", "repeats", "bias"), [((1, 0), 2, 0.2)])
def test_the_smallest_difference_it_names_is_found_four_times_in_five(orders, repeats, bias):
    n, judge = 400, Judge(0.25, 0.55, bias)
    (design,) = [
        d
        for d in designs(noise_of(judge), n=n, repeats=[repeats])
        if d.orders == ("both" if len(orders) == 2 else "one")
    ]
    rng, found = np.random.default_rng(0), []
    for seed in range(400):
        shares = judge.shares(rng, n)
        b = judge.verdicts(rng, shares, orders=orders, repeats=repeats)
        a = judge.verdicts(rng, shares + design.difference / 100, orders=orders, repeats=repeats)
        differences = np.nanmean(a.by_order(a.instructions) - b.by_order(b.instructions), axis=1)
        found.append(sign_flip_p(differences, seed=seed, samples=400) <= 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(("arms", "models"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 2), (6, 3)])
def test_a_family_is_as_large_as_the_questions_that_a_grid_asks(arms, models):
    columns = [f"arm {number}" for number in range(arms)]
    cells = [(f"model {row}", arm) for row in range(models) for arm in (BASELINE, *columns)]
    asked = questions(cells, [*combinations(columns, 2)])
    assert family_size(arms, models) == len(asked)
    noise = Noise(instructions=0.1, orders=0.05, repeats=0.2, source="")
    design, _ = designs(noise, n=100, repeats=[1], models=models, arms=arms)
    alone = detectable(100 * (0.35 / 100) ** 0.5)
    wanted = detectable(100 * (0.35 / 100) ** 0.5, family=len(asked))
    assert (design.difference, design.in_family) == pytest.approx((alone, wanted))
    assert design.verdicts == 100 * models * (1 + arms)
    interactions = any(each.kind == "interaction" for each in asked)
    assert (design.interaction is not None) is interactions


def test_the_librarys_table_of_annotators_is_read():
    noise = noise_of_annotator("chatgpt", 50)
    assert noise.instructions + noise.repeats == pytest.approx(0.5)
    assert noise.repeats / 0.5 == pytest.approx(2 * 0.34054591087228026)
    assert noise_of_annotator("alpaca_eval_gpt4_fn", 50).repeats < noise.repeats
    with pytest.raises(UserError, match="no variance of an annotator 'nobody': choose one of"):
        noise_of_annotator("nobody", 50)
    with pytest.raises(UserError, match="between 0 and 100"):
        noise_of_annotator("chatgpt", 0)


def folder(path, verdicts):
    path.mkdir()
    rows = [
        {
            "instruction": verdicts.instructions[i],
            "model_first": bool(first),
            "preference": None if np.isnan(win) else 1 + win,
        }
        for i, first, win in zip(
            verdicts.instruction, verdicts.model_first, verdicts.win, strict=True
        )
    ]
    (path / "annotations.json").write_text(json.dumps(rows))
    return path


def test_measured_noise_foretells_the_error_of_the_next_run(tmp_path):
    judge, rng = Judge(), np.random.default_rng(2)
    measured = [
        folder(tmp_path / name, judge.verdicts(rng, judge.shares(rng, 2000))) for name in ("a", "b")
    ]
    foretold = designs(noise_of_folders(measured), n=200, repeats=[1])[1].difference
    differences = []
    for seed in range(200):
        a, b = (judge.verdicts(rng, judge.shares(rng, 200)) for _ in range(2))
        differences.append(paired_difference(a, b, seed=seed, samples=1).difference)
    assert foretold == pytest.approx(detectable(np.std(differences)), rel=0.15)


def test_the_command_prints_a_table(capsys, tmp_path):
    assert main(["power", "--repeats", "1", "3", "--prices", "0.5", "1.5"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"both +3 +28,980 +\d\.\d +\d\.\d +\d\.\d +16\.45", told)
    verdicts = Judge().verdicts(np.random.default_rng(0), np.full(50, 0.4))
    assert main(["power", "--measured", str(folder(tmp_path / "run", verdicts))]) == 0
    assert "measured on 50 instructions; not measured: repeats" in capsys.readouterr().out


def test_a_mistake_is_one_line(capsys):
    for mistake in (
        "--n 0",
        "--repeats 0",
        "--models -1",
        "--arms 0",
        "--win-rate 100",
        "--annotator nobody",
        "--prices -1 1",
        "--measured nowhere",
        "--measured a b c",
        "--seeds 3",
        "--seed-sd 1.5",
        "--seeds 1 --seed-sd 1.5",
        "--seeds 3 --seed-sd -1",
    ):
        assert main(["power", *mistake.split()]) == 2, mistake
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1), mistake
