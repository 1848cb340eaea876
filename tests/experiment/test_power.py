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
    Retraining,
    designs,
    family_size,
    noise_of_annotator,
    noise_of_folders,
)
from mini_lima.results import BASELINE
from mini_lima.statistics import detectable, sign_flip_p
from tests.statistics.known_judges import Judge


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
        "--prices 1 1 --tokens -1 3",
        f"--prices 1 1 --tokens 1 {'9' * 400}",
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


def test_the_smallest_difference_it_names_is_found_four_times_in_five():
    n, judge = 400, Judge(0.25, 0.55, 0.2)
    # Two models share what makes an instruction hard: with both orders only repeats differ.
    noise = Noise(0.0, 0.0, 2 * judge.variances[2], "a simulated judge")
    _, design = designs(noise, n=n, repeats=[2])
    rng, found = np.random.default_rng(0), []
    for seed in range(300):
        shares = judge.shares(rng, n)
        b = judge.verdicts(rng, shares, repeats=2)
        a = judge.verdicts(rng, shares + design.difference / 100, repeats=2)
        differences = np.nanmean(a.by_order(a.instructions) - b.by_order(b.instructions), axis=1)
        found.append(sign_flip_p(differences, seed=seed, samples=200) <= 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


def test_instructions_orders_repeats_and_seeds_are_paid_for_and_gained():
    assert detectable(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)
    assert detectable(2.0, family=7) == pytest.approx(2 * (2.690110 + 0.841621), abs=1e-4)
    noise = Noise(instructions=0.1, orders=0.05, repeats=0.2, source="")
    found = {(d.orders, d.repeats): d for d in designs(noise, n=100, repeats=[1, 2])}
    for (orders, repeats), variance in {("one", 1): 0.35, ("both", 2): 0.15}.items():
        design, error = found[orders, repeats], 100 * (variance / 100) ** 0.5
        assert design.difference == pytest.approx(detectable(error))
        assert design.in_family == pytest.approx(detectable(error, family=7))
        assert design.interaction == pytest.approx(detectable(error * 2**0.5, family=7))
    assert [d.verdicts for d in found.values()] == [600, 1200, 1200, 2400]
    priced = designs(noise, n=100, repeats=[1], models=1, usd_per_verdict=0.01)
    assert [d.usd for d in priced] == [3.0, 6.0]
    few, many = (
        designs(noise, n=100, repeats=[1], retraining=Retraining(seeds, 2.0))[1] for seeds in (2, 5)
    )
    once = found["both", 1]
    assert once.difference < many.difference < few.difference
    assert (once.verdicts, few.verdicts) == (100 * 2 * 6, 100 * 2 * 10)


def test_a_family_is_as_large_as_the_questions_that_a_grid_asks():
    for arms, models in ((1, 1), (1, 3), (2, 2), (3, 2), (6, 3)):
        columns = [f"arm {number}" for number in range(arms)]
        cells = [(f"model {row}", arm) for row in range(models) for arm in (BASELINE, *columns)]
        assert family_size(arms, models) == len(questions(cells, [*combinations(columns, 2)]))


def test_noise_is_measured_on_folders(tmp_path):
    judge, rng = Judge(), np.random.default_rng(1)
    shares = judge.shares(rng, 1000)
    one, other = (
        folder(tmp_path / name, judge.verdicts(rng, shares, repeats=2)) for name in ("a", "b")
    )
    alone, paired = noise_of_folders([one]), noise_of_folders([one, other])
    found = (alone.instructions, alone.orders, alone.repeats)
    assert found == pytest.approx([2 * part for part in judge.variances], abs=0.04)
    assert (paired.instructions, paired.orders) == pytest.approx((0, 0), abs=0.02)
    assert paired.repeats == pytest.approx(2 * judge.variances[2], abs=0.02)
