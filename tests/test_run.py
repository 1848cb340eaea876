"""The command line, as a person meets it: processes of their own, in a folder of their own."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chat.server import FakeOpenAI, refusal
from tests.composing import CONF, ROOT

CREDENTIALS = ("OPENAI_API_KEY", "WANDB_API_KEY", "NETRC", "HF_TOKEN")
SEARCH = ["hydra/sweeper=win_rate", "experiment=embedded"]
ON_SLURM = ["hydra/launcher=slurm", "experiment=embedded"]
NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9"}


def run(folder, *arguments, **variables):
    """Run it in ``folder``, as somebody who has logged in nowhere, on a machine without a GPU."""
    environment = {key: value for key, value in os.environ.items() if key not in CREDENTIALS}
    environment |= {"HOME": str(folder), "HF_HOME": str(folder / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    environment |= variables
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", [[], ["--multirun", "sft.seed=1,2"]], ids=["run", "multirun"])
def test_a_mistake_ends_with_one_line_and_leaves_nothing(mode, tmp_path):
    ended = run(tmp_path, *mode, "sft.epoch=3")
    assert ended.returncode == 2
    assert ended.stdout == ""
    [line] = ended.stderr.splitlines()
    assert "sft.epochs" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "experiment=embedded", "sft.global_batch_size=8,7"], "sft.global_batch_size=7"),
        (["experiment=grid", "grid.models='qwen-tiny,nope'"], "model=nope"),
        (["-m", *SEARCH, "optimizer.lr=interval(-1,1e-2)"], "optimizer.lr=-1"),
        (ON_SLURM, "hydra/launcher=slurm submits the cells of a sweep: add --multirun"),
    ],
)
def test_a_fault_of_one_cell_is_found_before_the_first_one_runs(arguments, named, tmp_path):
    ended = run(tmp_path, *arguments)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


def test_jobs_are_sent_from_machines_of_a_cluster(tmp_path):
    pytest.importorskip("submitit", reason="pip install -e '.[slurm]'")
    ended = run(tmp_path, "-m", *ON_SLURM, PATH="/nowhere")
    assert ended.returncode == 1
    assert "srun" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_grid_lists_what_is_missing_once_for_all_its_cells(tmp_path):
    nothing = tmp_path / "empty"
    nothing.mkdir()
    ended = run(tmp_path, "experiment=grid", PATH=str(nothing), **NO_HUB)
    assert ended.returncode == 2
    for lacking in (
        "Qwen/Qwen1.5-0.5B",
        "Qwen/Qwen1.5-1.8B",
        "alpaca_eval_gpt4_baseline.json",
        "the teacher's key",
        "the annotator's key",
        "CUDA GPU",
        "a C++ compiler",
        "Weights & Biases login",
        "experiment=embedded runs anywhere",
    ):
        assert ended.stderr.count(lacking) == 1
    assert "Connection refused" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Error executing job" not in ended.stderr
    cells = sorted(path.name for path in (tmp_path / "outputs" / "grid").iterdir() if path.is_dir())
    assert cells == [
        f"{model}-{data}" for model in ("qwen-0.5b", "qwen-1.8b") for data in ("improved", "naive")
    ]


def test_secrets_are_sent_and_written_nowhere_whatever_a_server_repeats(tmp_path):
    key, place = "sk-test-7f3a9c1e5b8d2046", "hunter2-Z9k4"

    def repeat(call):
        login = base64.b64encode(f"user:{key}".encode()).decode()
        return refusal(401, "no", f"{call.path} {call.headers['authorization']} {login} \x1b[2J")

    with FakeOpenAI(repeat) as server:
        host = server.base_url.removesuffix("/v1")
        ended = run(
            tmp_path,
            "experiment=embedded",
            "teacher=openai",
            f"teacher.base_url='{host}/${{oc.env:PLACE}}/v1'",
            "tracking.entity='${oc.env:OPENAI_API_KEY}'",
            "hydra.verbose=true",
            OPENAI_API_KEY=key,
            PLACE=place,
        )
    assert ended.returncode == 2
    assert server.calls[0].headers["authorization"] == f"Bearer {key}"
    assert server.calls[0].path == f"/{place}/v1/chat/completions"
    assert "check the key in OPENAI_API_KEY" in ended.stderr
    files = [tmp_path / file for file in files_in(tmp_path)]
    assert any(file.name == "cell.json" for file in files)
    said = {"output": ended.stdout + ended.stderr}
    said |= {str(file): file.read_bytes().decode("latin-1") for file in files}
    for secret in (key, place, "\x1b[2J", base64.b64encode(b"user:sk-test").decode()):
        assert [where for where, text in said.items() if secret in where + text] == []


def test_a_plan_lists_the_stages_of_every_cell_and_what_they_lack_and_leaves_nothing(tmp_path):
    fixed = ["evaluation.max_new_tokens=192", "sft.global_batch_size=32", "annotator=chatgpt"]
    swept = ["optimizer.lr=1e-5,2e-5"]
    command = ["-m", "experiment=embedded", *fixed, *swept, "plan=true"]
    ended = run(tmp_path, *command, OPENAI_API_KEY="")
    assert ended.returncode == 0
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    stages = {line[1].partition(" ")[0] for line in lines if line[0] == "to do"}
    assert stages >= {"data", "sft", "outputs", "annotations", "result", "tracking"}
    assert ended.stdout.count("OPENAI_API_KEY") == 1
    named = [line.partition(": ")[2] for line in ended.stdout.splitlines() if "# Cell" in line]
    begins = [f"qwen-tiny-improved+optimizer.lr={rate}+" for rate in ("1e-05", "2e-05")]
    assert [name[: len(begin)] for name, begin in zip(named, begins, strict=True)] == begins
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_nobody_can_read_is_made_all_the_same(tmp_path):
    command = f"exec {sys.executable} {ROOT / 'run.py'} experiment=embedded plan=true >&-"
    environment = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_help_shows_every_option_and_commands_to_start_from(tmp_path):
    ended = run(tmp_path, "--help")
    assert ended.returncode == 0
    for path in CONF.glob("*/*.yaml"):
        [line] = [
            each for each in ended.stdout.splitlines() if each.startswith(f"{path.parent.name}: ")
        ]
        assert path.stem in line.partition(": ")[2].split(", ")
    examples = [line for line in ended.stdout.splitlines() if line.startswith("  ")]
    assert len(examples) == 3
    assert len(ended.stdout.splitlines()) <= 30


def test_it_runs_from_any_folder_by_the_script_of_the_sweep(tmp_path):
    program = Path(ROOT, "sweep.sh")
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(program), "experiment=embedded", "data=nave"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "data=nave: no such option" in ended.stderr
