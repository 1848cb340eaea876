"""Who may import whom: what keeps each part small enough to be understood on its own."""

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "mini_lima"
MODULES = sorted(SOURCE.rglob("*.py"))
STAGE_PACKAGES = ("data", "sft", "evaluation", "report")
ABOVE_THE_STAGES = (
    "store.stages",
    "store.index",
    "pipeline",
    "config",
    "experiment",
    "config.sources",
)
ONLY_IN = {
    "hydra": ("config/entry.py", "config/mistakes.py", "experiment/callback.py"),
    "omegaconf": ("config/entry.py", "config/mistakes.py", "experiment/callback.py"),
    "openai": ("chat/",),
    "httpx2": ("chat/",),
    "wandb": ("report/wandb_run.py",),
    "wandb_workspaces": ("report/workspace.py",),
    "alpaca_eval": ("evaluation/", "audit/"),
    "sacrebleu": ("evaluation/metrics.py",),
    "jinja2": ("report/html.py", "sft/saving.py"),
    "matplotlib": ("data/card.py", "report/charts.py"),
    "langdetect": ("evaluation/instruction_checks.py",),
    "deepspeed": ("sft/",),
    "peft": ("sft/lora.py",),
    "datasets": ("config/sources.py",),
    "pyarrow": ("files/tables.py",),
}
HEAVY = (
    "torch transformers deepspeed peft alpaca_eval wandb openai httpx2 numpy pandas rich datasets pyarrow"
    " scipy sklearn jinja2 matplotlib huggingface_hub requests hydra omegaconf sacrebleu langdetect"
)


@cache
def imports(path):
    """All that a module imports, at its top or inside a function, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively, which this scan does not follow"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name, *packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def where(path):
    return path.relative_to(SOURCE).as_posix()


def file_of(name):
    """The file of one of our modules, which ``name`` is or is something in."""
    parts = name.split(".")[1:]
    for length in range(len(parts), -1, -1):
        at = SOURCE.joinpath(*parts[:length])
        for candidate in (at.with_suffix(".py"), at / "__init__.py"):
            if candidate.is_file():
                return candidate
    raise AssertionError(f"no file for {name}")


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_one_part_alone(library):
    knowing = [where(path) for path in MODULES if any(within(n, library) for n in imports(path))]
    assert knowing, "it is imported nowhere: does the scan still work?"
    assert [path for path in knowing if not path.startswith(ONLY_IN[library])] == []


@pytest.mark.parametrize("package", STAGE_PACKAGES)
def test_stages_know_neither_what_is_above_them_nor_one_another(package):
    others = [each for each in STAGE_PACKAGES if each != package]
    forbidden = [f"mini_lima.{each}" for each in (*ABOVE_THE_STAGES, *others)]
    found = {
        (where(path), name)
        for path in (SOURCE / package).rglob("*.py")
        for name in imports(path)
        if within(name, *forbidden)
    }
    assert found == set()


def test_no_rooms_import_each_other_in_a_circle():
    rooms = defaultdict(set)
    for path in MODULES:
        room = where(path).partition("/")[0].removesuffix(".py")
        read = {name.split(".")[1] for name in imports(path) if name.startswith("mini_lima.")}
        rooms[room] |= read - {room}
    TopologicalSorter(rooms).prepare()  # a CycleError names them


def test_the_store_of_stages_knows_nothing_of_the_project():
    below = ("errors", "files", "store", "text")
    ours = {
        name
        for path in (SOURCE / "store").glob("*.py")
        for name in imports(path)
        if within(name, "mini_lima")
    }
    assert [name for name in ours if name.split(".")[1] not in below] == []


def test_statistics_are_pure_and_an_audit_is_nobody_s_part():
    read = {n for path in (SOURCE / "statistics").glob("*.py") for n in imports(path)}
    ours = {name.split(".")[1] for name in read if within(name, "mini_lima")}
    assert ours <= {"statistics", "results", "errors"}
    knowing = [where(p) for p in MODULES if any(within(n, "mini_lima.audit") for n in imports(p))]
    outside = [path for path in knowing if not path.startswith("audit/")]
    assert outside == ["cli.py", "experiment/power.py"], "it reads folders for power"


@pytest.mark.parametrize(
    "module",
    ["sft/training.py", "evaluation/generation.py", "evaluation/served.py", "workers/launch.py"],
)
def test_worker_processes_never_come_near_the_configuration(module):
    seen, waiting = set(), [SOURCE / module]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        ours = {file_of(name) for name in imports(path) if within(name, "mini_lima")}
        waiting += ours - seen
    assert len(seen) > 1
    assert [where(path) for path in seen if where(path).startswith(("config/", "pipeline"))] == []


def test_the_page_of_the_pipeline_loads_nothing_heavy():
    program = (
        "import sys, mini_lima.pipeline, mini_lima.experiment.cell;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "mini_lima" in loaded
    assert sorted(set(loaded) & set(HEAVY.split())) == []
