"""The evaluation set that ships: schema, variety, and references that pass their own checks."""

import json
from pathlib import Path

import pytest

import mini_lima
from mini_lima.data.rouge import alike

ASSETS = Path(mini_lima.__file__).parent / "assets"
ROWS = json.loads((ASSETS / "evaluation_set.json").read_text(encoding="utf-8"))
CHECKED = [row for row in ROWS if "instruction_id_list" in row]
ALPACA_EVAL = {"instruction", "output", "generator", "dataset"}
IFEVAL = {"instruction_id_list", "kwargs"}


def test_rows_are_in_the_schemas_of_alpaca_eval_and_ifeval():
    assert len(ROWS) >= 128
    assert len(CHECKED) >= 64
    for row in ROWS:
        assert set(row) - IFEVAL == ALPACA_EVAL
        assert row["instruction"].strip()
        assert row["output"].strip()
    for row in CHECKED:
        assert row["instruction_id_list"]
        assert len(row["kwargs"]) == len(row["instruction_id_list"])


def test_no_instruction_is_nearly_another_one_or_a_seed_task():
    seeds = (ASSETS / "seed_tasks.jsonl").read_text(encoding="utf-8").splitlines()
    others = [json.loads(line)["instruction"] for line in seeds]
    for row in ROWS:
        assert alike(row["instruction"], others) is None
        others.append(row["instruction"])


def test_references_do_what_their_instructions_ask():
    checks = pytest.importorskip("mini_lima.evaluation.instruction_checks")
    failed = [
        (row["instruction"], check.kind)
        for row in CHECKED
        for check in checks.read_checks(row)
        if not check.holds(row["output"])
    ]
    assert failed == []
