"""Compiling once. The locking is tested with a builder that costs nothing (build_job.py)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mini_lima.errors import UserError
from mini_lima.sft.ops import OPS, build_once, compiled_ops, load, missing_tools
from tests.sft.attempts import Attempts

JOB = Path(__file__).with_name("build_job.py")
BOTH = ["ShareMemCommBuilder", "CPUAdamBuilder"]


class Machine:
    """A folder for the extensions, the record of what was built, and processes that build."""

    def __init__(self, root: Path) -> None:
        self.folder, self.calls = root / "extensions", root / "calls"
        self.processes: list[Any] = []

    def built(self) -> list[str]:
        return self.calls.read_text().split()

    def start(self, until: str) -> Any:
        process = subprocess.Popen(
            [sys.executable, JOB, self.folder, self.calls],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert any(until in line for line in process.stdout)
        return process


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.processes:
        process.kill()
        process.communicate()


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with neither a compiler nor ninja, not even beside its Python."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))


def touch(builder: str) -> None:
    """Be a build that has nothing to do."""


def test_two_processes_at_once_build_everything_once(machine: Machine) -> None:
    first = machine.start(until="building")
    second = machine.start(until="waiting for pid")

    assert first.communicate("\n\n")[0].endswith("done\n")
    assert second.communicate()[0] == "done\n"
    assert machine.built() == BOTH


def test_a_killed_build_is_taken_over_in_spite_of_the_lock_it_leaves(machine: Machine) -> None:
    first = machine.start(until="building")
    second = machine.start(until="waiting for pid")
    first.kill()

    assert (machine.folder / OPS[BOTH[0]] / "lock").exists()
    assert second.communicate("\n\n")[0].endswith("done\n")
    assert machine.built() == [BOTH[0], *BOTH]


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    def fail(builder: str) -> None:
        raise UserError("does not compile here")

    with pytest.raises(UserError, match="does not compile"):
        build_once(tmp_path, BOTH, fail)

    built: list[str] = []
    build_once(tmp_path, BOTH, built.append)
    assert built == BOTH


def test_what_is_built_is_neither_built_again_nor_needs_a_compiler(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    build_once(tmp_path, BOTH, touch)
    request.getfixturevalue("no_tools")

    built: list[str] = []
    build_once(tmp_path, BOTH, built.append)
    assert built == []


def test_a_machine_without_compiler_and_ninja_is_told_both_before_anything_is_built(
    no_tools: None, tmp_path: Path
) -> None:
    folder = tmp_path / "extensions"
    with pytest.raises(UserError, match=r"c\+\+.*apt install g\+\+.*ninja.*pip install ninja"):
        build_once(folder, BOTH, touch)

    assert len(missing_tools()) == 2
    assert not folder.exists()


def use_compiled(cache: Path) -> None:
    os.environ.update(XDG_CACHE_HOME=str(cache), DS_ACCELERATOR="cpu")
    import torch
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    load("cpu", ["CPUAdamBuilder"])
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    DeepSpeedCPUAdam([weight], lr=0.5).step()
    assert torch.allclose(weight, torch.full([3], 0.5), atol=1e-3)


def test_a_worker_takes_the_compiled_files_whatever_lock_was_left_beside_them(
    tmp_path: Path, attempts: Attempts
) -> None:
    compiled = Path(compiled_ops("cpu", BOTH)["TORCH_EXTENSIONS_DIR"])
    copied = tmp_path / "mini-lima" / "extensions" / compiled.name
    shutil.copytree(compiled, copied)
    for name in OPS.values():
        if (copied / name).exists():
            (copied / name / "lock").touch()

    worker = attempts.context.Process(target=use_compiled, args=(tmp_path,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
