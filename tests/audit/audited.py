"""Audits of folders, as tests ask for them."""

import json

import pytest

from mini_lima.audit.findings import findings
from mini_lima.audit.folder import read_folder
from mini_lima.audit.single import audit
from tests.audit.folders import by_the_library

N = 150
EVIL = '<script>alert("&")</script>'
"""The model's name in `runs`."""


def folders(runs, *names):
    return [read_folder(runs / name) for name in names]


def report(folder, **options):
    return audit(read_folder(folder, **options), samples=200)


def said(found, level=None):
    return " | ".join(f.text for f in findings(found) if level in (None, f.level))


def edit(folder, name, change):
    """Let ``change`` alter the rows of a JSON file of ``folder`` in place, or return others."""
    path = folder / name
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows) or rows))


def agrees_with_the_library(folder, found):
    theirs = by_the_library(folder)
    assert found.found.win_rate == pytest.approx(theirs["win_rate"], abs=1e-9)
    assert found.found.n_total == theirs["n_total"]
    assert [s.figure for s in found.stated if not s.agrees] == []
    if found.n_instructions == found.found.n_total + found.found.n_failed:
        error = theirs["standard_error"]
        assert found.found.standard_error == pytest.approx(error, abs=1e-9)


def in_rows(change):
    return lambda folder: edit(folder, "annotations.json", lambda rows: [change(r) for r in rows])


def preference_as(change):
    return in_rows(lambda row: {**row, "preference": change(row["preference"])})
