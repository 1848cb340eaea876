import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mini_lima.store.provenance import git_state, provenance


def git(folder: Path, *arguments: str) -> str:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", folder, *name, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    file = tmp_path / "code.py"
    file.write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "one")
    git_state.cache_clear()
    return file


def test_commit_of_a_clean_and_of_a_changed_tree(source: Path) -> None:
    commit = git(source.parent, "rev-parse", "HEAD")
    assert git_state(source) == {"commit": commit, "dirty": False}
    git_state.cache_clear()
    source.write_text("2\n")
    assert git_state(source) == {"commit": commit, "dirty": True}


def test_without_git_the_rest_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    git_state.cache_clear()
    monkeypatch.setenv("PATH", "")
    now = datetime.now(UTC)
    found = provenance(git, ["pytest", "no-such-distribution"], now, now)
    assert found["git"] is None
    assert found["packages"] == {"pytest": pytest.__version__, "no-such-distribution": None}
    assert found["peak_rss_bytes"]["self"] > 2**20
