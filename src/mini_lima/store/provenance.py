"""Where a result came from: what one wants to know later and what must not change its identity."""

import functools
import inspect
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any


def provenance(
    function: Callable[..., None], packages: Sequence[str], started: datetime, finished: datetime
) -> dict[str, Any]:
    """Describe the circumstances of one execution.

    ``peak_rss_bytes`` is the kernel's high-water mark since the process started, so it also covers
    earlier work of the same process; ``children`` is the largest single child that has ended.

    Args:
        function: What was run; its source file says which repository's commit to look up.
        packages: Distributions whose versions are noted, None for one that is not installed.
        started: Beginning, aware.
        finished: End, aware.
    """
    source = inspect.getsourcefile(function)
    return {
        "function": f"{function.__module__}.{function.__qualname__}",
        "git": git_state(Path(source)) if source else None,
        "packages": {name: _version(name) for name in packages},
        "started": started.isoformat(timespec="milliseconds"),
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "peak_rss_bytes": {
            "self": _peak(resource.RUSAGE_SELF),
            "children": _peak(resource.RUSAGE_CHILDREN),
        },
    }


@functools.cache
def git_state(source: Path) -> dict[str, Any] | None:
    """Return commit and dirty flag of the repository that tracks ``source``, or None.

    A file that is only *inside* a repository, such as a package installed into an environment
    there, says nothing about its commit. Looked up once: later commits are not what is running.
    """
    git = ["git", "--no-optional-locks", "-C", str(source.parent)]
    try:
        _output([*git, "ls-files", "--error-unmatch", source.name])
        commit = _output([*git, "rev-parse", "HEAD"])
        changes = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _peak(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit
