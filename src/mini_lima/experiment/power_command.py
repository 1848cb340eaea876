"""The command ``mini-lima power``."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mini_lima.errors import UserError

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add(commands: "Commands") -> None:
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
        type=float,
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
    from mini_lima.experiment import power
    from mini_lima.experiment.power import noise_of_annotator, noise_of_folders

    if options.measured:
        noise = noise_of_folders(options.measured)
    else:
        noise = noise_of_annotator(options.annotator, options.win_rate)
    price = None
    if options.prices:
        tokens = options.tokens or power.TOKENS
        price = sum(p * t for p, t in zip(options.prices, tokens, strict=True)) / 1e6
        if not (all(each >= 0 for each in (*options.prices, *tokens)) and price < math.inf):
            raise UserError("prices and tokens must be 0 or more")
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
