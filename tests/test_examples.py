"""The study of one's own under examples/, as docs/extending.md runs it: nothing of ours is edited."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mini_lima.files import read_json, read_jsonl

ROOT = Path(__file__).parent.parent
SMALL = ("evaluation.limit=8", "evaluation.max_new_tokens=16", "sft.epochs=1")
HALVED = "halved − naive"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, ROOT / "run.py", "--config-dir", ROOT / "examples/conf"]
    places = [f"store={folder / 'store'}", f"hydra.sweep.dir={folder / 'sweep'}"]
    ended = subprocess.run(
        [*command, "experiment=halving", *SMALL, *places],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return folder / "sweep"


def test_the_arm_is_a_column_with_its_contrasts_and_its_metric(sweep: Path) -> None:
    report = (sweep / "report.md").read_text(encoding="utf-8")
    assert "| halved |" in report.split("\n")[0]
    assert HALVED in report
    assert "exclamation_marks" in report
    assert "judged by plain" in report


def test_the_page_shows_them(sweep: Path) -> None:
    page = (sweep / "report.html").read_text(encoding="utf-8")
    for shown in ("halved", HALVED, "exclamation_marks", "plain"):
        assert shown in page


def test_the_offline_run_of_weights_and_biases_has_them(sweep: Path) -> None:
    tables = read_json(sweep / "tracking/tables.json")
    rows = tables["contrasts"]["rows"]
    names = {row[tables["contrasts"]["columns"].index("name")] for row in rows}
    assert any(HALVED in name for name in names)
    assert "exclamation_marks" in json.dumps(tables)
    assert list((sweep / "tracking/wandb").glob("offline-run-*"))


def test_the_examples_are_halved_and_say_what_they_were(sweep: Path) -> None:
    [record] = sweep.glob("qwen-tiny-halved*/cell.json")
    cell = read_json(record)
    [folder] = [path for name, path in cell["stages"].items() if name.startswith("data halve")]
    for example in read_jsonl(Path(folder, "examples.jsonl")):
        was = example["earlier"][-1]["output"] if example["earlier"] else example["output"]
        assert len(example["output"].split()) == max(1, round(0.5 * len(was.split())))
