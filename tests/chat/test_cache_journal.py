"""The journal of the response cache on file systems of one machine and of several."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from mini_lima.chat import ResponseCache
from mini_lima.chat import cache as response_cache
from mini_lima.chat.cache import file_system

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
server:/my\\040data /my\\040data lustre rw,flock 0 0
tmpfs /home/me/fast tmpfs rw 0 0
none /twice overlay rw 0 0
server:/twice /twice nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/cache.sqlite", "ext4"),
        ("/home/me/cache.sqlite", "nfs4"),
        ("/homes/me/cache.sqlite", "ext4"),
        ("/home/me/fast/cache.sqlite", "tmpfs"),
        ("/my data/cache.sqlite", "lustre"),
        ("/twice/cache.sqlite", "nfs"),
    ],
)
def test_a_path_is_on_the_file_system_that_is_mounted_nearest(path, kind):
    assert file_system(Path(path), MOUNTS) == kind


def test_nothing_is_said_where_no_mounts_are_known():
    assert file_system(Path("/home"), "") == ""


def test_a_cache_is_for_several_machines_as_soon_as_it_may_be_and_stays_so(tmp_path, monkeypatch):
    path, mounts = tmp_path / "cache.sqlite", tmp_path / "mounts"
    monkeypatch.setattr(response_cache, "MOUNTS", mounts)

    def journal_when_opened_on(kind: str) -> str:
        mounts.write_text(f"x / {kind} rw 0 0\n")
        ResponseCache(path, "e").close()
        with contextlib.closing(sqlite3.connect(path)) as database:
            return str(database.execute("PRAGMA journal_mode").fetchone()[0])

    kinds = ("ext4", "nfs4", "xfs", "fuse.sshfs")
    assert [journal_when_opened_on(kind) for kind in kinds] == ["wal", "delete", "delete", "delete"]
