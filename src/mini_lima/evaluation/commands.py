"""The commands of evaluation: ``mini-lima audit`` and ``mini-lima power``."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.errors import UserError
from mini_lima.files import write_text

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
    from mini_lima.audit.document import as_document
    from mini_lima.audit.folder import read_folder
    from mini_lima.audit.page import as_page
    from mini_lima.audit.several import spread
    from mini_lima.audit.single import audit
    from mini_lima.audit.text import as_text
    from mini_lima.evaluation.length_controlled import difficulties_in_hub_cache

    folders = [read_folder(path, options.model) for path in options.folders]
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


def add_power(commands: "Commands") -> None:
    """Add ``mini-lima power``."""
    parser = commands.add_parser(
        "power",
        help="say what differences a design can find, and its cost, before spending",
        description="For a grid of models × (baseline and arms), the smallest difference in win "
        "rate that would be found four times in five. The more arms, the more contrasts each "
        "p-value is corrected for: each arm with the baseline, each two arms, and these between "
        "models.",
    )
    parser.add_argument("--n", type=int, default=805, help="instructions (default: 805)")
    parser.add_argument("--models", type=int, default=2, help="of the grid (default: 2)")
    parser.add_argument(
        "--arms", type=int, default=2, help="data sets beside the baseline (default: 2)"
    )
    parser.add_argument(
        "--repeats", type=int, nargs="+", default=[1, 2, 4], help="to try (default: 1 2 4)"
    )
    parser.add_argument(
        "--annotator",
        default="chatgpt",
        help="whose noise to take from AlpacaEval's table (default: chatgpt)",
    )
    parser.add_argument(
        "--win-rate", type=float, default=25, help="expected, in percent (default: 25)"
    )
    parser.add_argument(
        "--measured",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="result folders of one model, or of two, to measure the noise on instead",
    )
    parser.add_argument(
        "--prices",
        type=float,
        nargs=2,
        metavar=("INPUT", "OUTPUT"),
        help="of the annotator, in dollars per million tokens",
    )
    parser.add_argument(
        "--tokens",
        type=int,
        nargs=2,
        metavar=("INPUT", "OUTPUT"),
        help="of a verdict (default: 1120 5, as a run with chatgpt took)",
    )
    parser.add_argument("--seeds", type=int, help="trainings of each tuned model; needs --seed-sd")
    parser.add_argument(
        "--seed-sd",
        type=float,
        metavar="POINTS",
        help="standard deviation of win rates between training seeds, from an earlier sweep",
    )
    parser.set_defaults(run=_power)


def _power(options: argparse.Namespace) -> str:
    from mini_lima.evaluation import power
    from mini_lima.evaluation.judge_variance import noise_of_annotator, noise_of_folders

    if options.measured:
        noise = noise_of_folders(options.measured)
    else:
        noise = noise_of_annotator(options.annotator, options.win_rate)
    price = None
    if options.prices:
        tokens = options.tokens or power.TOKENS
        price = sum(p * t for p, t in zip(options.prices, tokens, strict=True)) / 1e6
    if (options.seeds is None) != (options.seed_sd is None):
        raise UserError("give both --seeds and --seed-sd, or neither")
    several = options.seeds is not None
    return power.table(
        noise,
        n=options.n,
        repeats=options.repeats,
        models=options.models,
        arms=options.arms,
        retraining=power.Retraining(options.seeds, options.seed_sd) if several else None,
        usd_per_verdict=price,
    )
