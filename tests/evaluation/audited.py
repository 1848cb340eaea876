"""Audits of folders, as tests ask for them."""

import json

from mini_lima.evaluation.audit.findings import findings
from mini_lima.evaluation.audit.folder import read_folder
from mini_lima.evaluation.audit.single import audit


def report(folder, **options):
    return audit(read_folder(folder, **options), samples=200)


def said(found, level=None):
    return " | ".join(f.text for f in findings(found) if level in (None, f.level))


def edit(folder, name, change):
    """Let ``change`` alter the rows of a JSON file of ``folder`` in place, or return others."""
    path = folder / name
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(change(rows) or rows))
