import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported: its threads would spin while they wait, which beside other processes
# (a test's own workers, say) makes everything many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# A machine may be busy: how long an example takes is no property of the code. And no run fails by
# the luck of its draw: --hypothesis-profile=others looks for what the usual examples do not find.
timeless = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("others", timeless)
settings.register_profile("usual", timeless, derandomize=True)
settings.load_profile("usual")

HERE = Path(__file__).parent
LONGEST = ("test_grid.py", "sft", "experiment/test_slurm.py", "workers/test_launch.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; a file, or a folder with one costly fixture, goes to one process."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    groups = {}
    for item in items:
        file = item.path.relative_to(HERE).as_posix()
        groups[item] = "sft" if file.startswith("sft/") else file
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    last = len(LONGEST)
    items.sort(key=lambda i: LONGEST.index(groups[i]) if groups[i] in LONGEST else last)
