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
LONGEST = (
    "test_grid.py",
    "experiment/test_slurm.py",
    "sft/test_resuming.py",
    "sft/test_optimizers.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: what runs side by side ends at about the same time."""
    first = {file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda i: first.get(i.path.relative_to(HERE).as_posix(), len(first)))
