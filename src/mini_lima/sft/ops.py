"""DeepSpeed's C++ extensions, compiled once per machine and shared by all runs.

DeepSpeed compiles them the first time an engine needs them, for minutes and without a word. Here it
is done beforehand, under a lock, and said. The folder is our own, because the library's own locks
outlive a killed compilation and make everyone after it wait for ever: whoever holds our lock knows
that such a leftover is one.
"""

import logging
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from mini_lima.errors import UserError
from mini_lima.lock import locked

log = logging.getLogger(__name__)

def missing_tools() -> list[str]:
    """Return what a compilation lacks, each with what to install; empty if it is ready to start."""
    lacking = []
    if not shutil.which(os.environ.get("CXX", "c++")):
        lacking.append("a C++ compiler (c++): apt install g++, or conda install gxx")
    if not shutil.which("ninja", path=_path()):
        lacking.append("ninja: pip install ninja")
    return lacking


def compiled_ops(device: str, *, offload_optimizer: bool) -> dict[str, str]:
    """Return the environment variables under which DeepSpeed finds its compiled extensions.

    The first call on a machine compiles them; calls at the same time wait for it.

    Raises:
        UserError: no compiler, or the compilation failed (its output is in the log).
    """
    folder = _folder()
    environment = {"TORCH_EXTENSIONS_DIR": str(folder), "PATH": _path()}
    builders = ["CPUAdamBuilder" if offload_optimizer else "FusedAdamBuilder"]
    if device == "cpu":
        builders.insert(0, "ShareMemCommBuilder")
    if all(_done(folder, builder) for builder in builders):
        return environment
    if lacking := missing_tools():
        raise UserError("DeepSpeed compiles C++ on first use and lacks " + "; ".join(lacking))
    with locked(folder / "lock", "DeepSpeed's C++ extensions"):
        for builder in builders:
            if not _done(folder, builder):
                _compile(builder, folder, device, environment)
    return environment


def _compile(builder: str, folder: Path, device: str, environment: dict[str, str]) -> None:
    log.info("compiling DeepSpeed's %s: once per machine, a minute or two …", builder)
    for leftover in folder.glob("*/lock"):
        leftover.unlink()
    program = f"from deepspeed.ops.op_builder import {builder} as b; b().load(verbose=False)"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment, "DS_ACCELERATOR": device},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    log.debug("%s\n%s", finished.stdout, finished.stderr)
    if finished.returncode:
        reason = next((line for line in finished.stderr.splitlines() if "error:" in line), "")
        raise UserError(f"DeepSpeed's {builder} does not compile here: {reason or 'see the log'}")
    _mark(folder, builder).touch()


def _done(folder: Path, builder: str) -> bool:
    return _mark(folder, builder).exists()


def _mark(folder: Path, builder: str) -> Path:
    return folder / f"{builder}.compiled"


def _folder() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    exact = f"torch{version('torch')}-deepspeed{version('deepspeed')}-{python}"
    return cache / "mini-lima" / "extensions" / exact


def _path() -> str:
    """PATH with the environment's own programs, where pip puts ninja."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
