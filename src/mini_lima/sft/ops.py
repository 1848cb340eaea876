"""DeepSpeed's C++ extensions, compiled once per machine and shared by all runs.

DeepSpeed compiles them the first time an engine needs them, for minutes and without a word, and
asks the compiler again in every process after that. The library's own lock around it outlives a
process that is killed and makes everyone after it wait for ever. So it is done here: beforehand,
under a lock of ours, and said; a worker then takes the compiled files as they are (`load`). Whoever
holds our lock knows that a lock of the library's is such a leftover.
"""

import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.store.lock import locked

log = logging.getLogger(__name__)

OPS = {
    "ShareMemCommBuilder": "deepspeed_shm_comm",
    "CPUAdamBuilder": "cpu_adam",
    "CPULionBuilder": "cpu_lion",
    "FusedLionBuilder": "fused_lion",
    "CPUAdagradBuilder": "cpu_adagrad",
}
"""DeepSpeed's name of each builder, and of the extension that it makes."""


def missing_tools() -> list[str]:
    """Return what a compilation lacks, each with what to install; empty if it is ready to start."""
    lacking = []
    if not shutil.which(os.environ.get("CXX", "c++")):
        lacking.append("a C++ compiler (c++): apt install g++, or conda install gxx")
    if not shutil.which("ninja", path=_path()):
        lacking.append("ninja: pip install ninja")
    return lacking


def compiled_ops(device: str, builders: Iterable[str]) -> dict[str, str]:
    """Compile what is not compiled yet and return the environment variables that workers need.

    The first call on a machine compiles; calls at the same time wait for it.

    Args:
        device: ``cpu`` or ``cuda``.
        builders: Keys of `OPS`; `Choice.builders` says what is needed.

    Raises:
        UserError: no compiler, or the compilation failed (its output is in the log).
    """
    folder = _folder(device)
    environment = {"TORCH_EXTENSIONS_DIR": str(folder), "PATH": _path()}

    def compile_one(builder: str) -> None:
        _compile(builder, {**os.environ, **environment, "DS_ACCELERATOR": device})

    build_once(folder, builders, compile_one)
    return environment


def build_once(folder: Path, builders: Iterable[str], build: Callable[[str], None]) -> None:
    """Call ``build`` for each of the builders that nobody has finished yet in ``folder``.

    Raises:
        UserError: there is something to build, and no compiler.
    """
    to_do = [builder for builder in builders if not _mark(folder, builder).exists()]
    if not to_do:
        return
    if lacking := missing_tools():
        raise UserError("DeepSpeed compiles C++ on first use and lacks " + "; ".join(lacking))
    with locked(folder / "lock", "DeepSpeed's C++ extensions"):
        for builder in to_do:
            if not _mark(folder, builder).exists():
                (folder / OPS[builder] / "lock").unlink(missing_ok=True)
                build(builder)
                _mark(folder, builder).touch()


def load(device: str, builders: Iterable[str]) -> None:
    """Give DeepSpeed, in a worker, the extensions that `compiled_ops` has compiled."""
    import torch  # noqa: F401 - the extensions link against its libraries
    from deepspeed.ops.op_builder.builder import OpBuilder

    for builder in builders:
        name = OPS[builder]
        spec = importlib.util.spec_from_file_location(name, _folder(device) / name / f"{name}.so")
        assert spec is not None
        assert spec.loader is not None
        extension = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(extension)
        OpBuilder._loaded_ops[name] = extension


def _compile(builder: str, environment: dict[str, str]) -> None:
    log.info("compiling DeepSpeed's %s: once per machine, a minute or two …", builder)
    program = f"from deepspeed.ops.op_builder import {builder} as b; b().load(verbose=False)"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    log.debug("%s\n%s", finished.stdout, finished.stderr)
    if finished.returncode:
        reason = next((line for line in finished.stderr.splitlines() if "error:" in line), "")
        raise UserError(f"DeepSpeed's {builder} does not compile here: {reason or 'see the log'}")


def _mark(folder: Path, builder: str) -> Path:
    return folder / f"{builder}.compiled"


def _folder(device: str) -> Path:
    """Where the extensions are: one folder for everything that they depend on."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    libraries = f"torch{version('torch')}-deepspeed{version('deepspeed')}"
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return cache / "mini-lima" / "extensions" / f"{libraries}-{python}-{device}-{_processor()}"


def _processor() -> str:
    """The kind of CPU: what is compiled for one dies of an illegal instruction on another.

    The nodes of a cluster often differ while they share their users' home.
    """
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    able = features[0] if features else platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(able.encode()).hexdigest()[:8]}"


def _path() -> str:
    """PATH with the environment's own programs, where pip puts ninja."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
