"""``mini-lima dashboard``: the comparison workspace of a Weights & Biases project."""

import argparse
import json
from importlib.util import find_spec

from mini_lima.errors import UserError
from mini_lima.report import wandb_process
from mini_lima.report.login import missing_login


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``dashboard`` to the command line."""
    parser = commands.add_parser(
        "dashboard",
        help="make the workspace that compares the runs of a Weights & Biases project",
        description="Make a workspace, or bring it up to date: win rates with their intervals, "
        "contrasts, win rate against length, run comparer, parallel coordinates and loss curves.",
    )
    parser.add_argument("project", help="PROJECT, or ENTITY/PROJECT for that of a team")
    parser.set_defaults(run=_dashboard)


def _dashboard(options: argparse.Namespace) -> str:
    return make(options.project)


def make(project: str) -> str:
    """Make the workspace of ``project``; return its address, and what could not be made.

    Raises:
        UserError: The package, a login, the network or the project is missing.
    """
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "the dashboard needs wandb-workspaces: pip install -c constraints.txt -e '.[dashboard]'"
        )
    if lacking := missing_login():
        raise UserError(f"the dashboard needs {lacking}")
    try:
        return wandb_process.send(
            json.dumps({"dashboard": project}).encode() + b"\n", seconds=wandb_process.SECONDS
        )
    except wandb_process.NotTracked as error:
        raise UserError(
            f"no dashboard of {project}: {error}; check the network, WANDB_BASE_URL if you have set"
            " it, and that the project is there (the first run that is tracked makes it)"
        ) from error
