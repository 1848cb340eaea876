import json
import re

import numpy as np
import pytest

from mini_lima.cli import main
from mini_lima.errors import UserError
from mini_lima.experiment.power import (
    noise_of_annotator,
)
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
