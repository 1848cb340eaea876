"""The command ``mini-lima audit``."""

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.errors import UserError
from mini_lima.files import check_is_text, write_text

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_audit(commands: "Commands") -> None:
    """Add ``mini-lima audit``."""
    parser = commands.add_parser(
        "audit",
        help="say what the win rate of a finished AlpacaEval run is worth",
        description="Read result folders of AlpacaEval (annotations.json, leaderboard.csv and the "
        "outputs), made here or anywhere: recompute the win rate, reconstruct who was shown "
        "first, and report position bias, missing verdicts, mixed back-ends and ill answers. "
        "Several folders of the same outputs are tested for having had one judge.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="a result folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write an HTML page too")
    parser.add_argument("--model", help="which, where a folder has verdicts on several")
    parser.add_argument(
        "--difficulties",
        type=Path,
        metavar="FILE",
        help="AlpacaEval's df_gamed.csv, for the length-controlled win rate (default: the hub's "
        "cache, if it is there)",
    )
    parser.set_defaults(run=_audit)


def _audit(options: argparse.Namespace) -> str:
    from mini_lima.audit.findings import as_document, as_text
    from mini_lima.audit.folder import read_folder
    from mini_lima.audit.page import as_page
    from mini_lima.audit.several import spread
    from mini_lima.audit.single import audit
    from mini_lima.evaluation.length import difficulties_in_hub_cache

    if options.difficulties:
        check_is_text(options.difficulties)
    folders, passed_over = [], []
    for path in options.folders:
        try:
            folders.append(read_folder(path, options.model))
        except UserError as error:
            passed_over.append(str(error))
    if not folders:
        raise UserError("\n".join(passed_over))
    for line in passed_over:
        log.warning("passed over: %s", line)
    together = spread(folders) if len(folders) > 1 else None
    difficulties = options.difficulties or difficulties_in_hub_cache()
    audits = [audit(folder, difficulties) for folder in folders]
    if options.page:
        try:
            write_text(options.page, as_page(audits, together))
        except OSError as error:
            raise UserError(f"the page cannot be written to {options.page}: {error}") from error
    if options.json:
        return json.dumps(as_document(audits, together), indent=2, allow_nan=False)
    return as_text(audits, together)
